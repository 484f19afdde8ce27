"""What the project claims, measured at full n: one resumable command for each claim, kept in ``docs/evidence``."""
