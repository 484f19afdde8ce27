"""Pure functions: records in, records out. A stage gets what it needs and reaches no disk, clock or global
randomness."""
