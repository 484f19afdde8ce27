"""Constitutions: ordered principles with a version and a parent."""
