"""What Alembic runs: the migrations, on the connection that it is given, within the transaction that is open there."""

from alembic import context

if hasattr(context, "config"):  # Alembic sets it while it migrates
    context.configure(connection=context.config.attributes["connection"])
    context.run_migrations()
