"""From a spec to objects, and nothing else: models, prompts, benchmarks, tuners and rules of one run."""
