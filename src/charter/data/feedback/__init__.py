"""Where the feedback of users is kept: a table in SQLite or PostgreSQL, and its migrations."""
