"""Data in: sources, curation, detectors, instructing; and exports."""
