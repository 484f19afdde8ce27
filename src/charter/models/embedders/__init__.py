"""What places texts by their meaning, behind ``ports.Embedder``."""
