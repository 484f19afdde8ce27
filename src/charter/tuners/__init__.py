"""Adapters of ``ports.Tuner``: supervised fine-tuning."""
