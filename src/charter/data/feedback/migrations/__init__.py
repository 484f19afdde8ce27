"""The migrations of the feedback table, for Alembic."""
