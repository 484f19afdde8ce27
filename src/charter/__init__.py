"""charter: constitution-driven alignment of language models, measured."""

__version__ = "0.1.0"
