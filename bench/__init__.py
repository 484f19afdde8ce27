"""Benchmarks: what the demo's time and memory go into."""
