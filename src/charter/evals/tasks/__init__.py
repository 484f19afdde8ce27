"""Tasks of lm-eval that charter brings."""
