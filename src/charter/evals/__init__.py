"""What measures a model, behind `ports.Benchmark`."""
