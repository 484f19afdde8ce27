"""The embedded default: tiny worlds with planted flaws, and language models built from scratch on them."""
