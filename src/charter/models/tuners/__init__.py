"""Adapters of ``ports.Tuner``: lessons, preferences and practice, by TRL."""
