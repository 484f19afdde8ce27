"""Methods: each one a straight line of stages, readable aloud."""
