"""The table of feedback, as the latest migration leaves it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Identity, Integer, MetaData, String, Table, Text

LOCK_NUMBER = 0x63686172746572
"""The advisory lock of PostgreSQL under which the table is changed: ``charter`` in ASCII."""

FEEDBACK = Table(
    "feedback",
    MetaData(),
    Column("number", BigInteger().with_variant(Integer(), "sqlite"), Identity(), primary_key=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("sender", Text(), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("consent", String(20), nullable=False),
    Column("said", Text(), nullable=True),
    Column("digest", String(64), nullable=False),
    Column("masked", Text(), nullable=False),
    Column("received", String(40), nullable=False),
    Column("erased", String(40), nullable=False),
)
"""``said``: what was said, as canonical JSON, and ``digest`` its SHA-256; null and empty once it was erased. The user,
the model and the language stand in it alone, so that nothing of them stays behind."""
