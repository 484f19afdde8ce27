"""Adapters of ``ports.Engine``: scripted (public, for tests and examples), local (transformers) and remote (hosted)."""
