"""Similarity of texts: near-duplicates, splits and the filter around gate and held-out."""
