"""Adapters that recognise personal data, secrets and languages by their form, offline and without a model of their own
making."""
