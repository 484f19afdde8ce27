"""What the program does: a use case a module."""
