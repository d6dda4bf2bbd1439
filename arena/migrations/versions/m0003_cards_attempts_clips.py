"""More on a generator's card, masks, clips; attempts, what files say of their origin, and safety scores get tables."""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    DOUBLE_PRECISION,
    REAL,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.types import TypeEngine

from paragone.arena.schema import guards

revision = "0003"
down_revision = "0002"

COLUMNS = (  # table, column, its type in SQLite and in PostgreSQL, what its values must be
    ("generators", "parameters", "INTEGER", "BIGINT", "parameters > 0"),
    ("generators", "space", "TEXT", 'TEXT COLLATE "C"', "space IN ('pixel', 'latent')"),
    ("generators", "text_encoder", "TEXT", 'TEXT COLLATE "C"', ""),
    ("prompts", "mask", "TEXT", 'TEXT COLLATE "C"', ""),
    ("samples", "frames", "INTEGER", "INTEGER", "frames > 0"),
    ("samples", "fps", "REAL", "DOUBLE PRECISION", "fps > 0"),
)
STATUSES = "('ok', 'refused', 'filtered', 'invalid', 'error', 'timeout')"
STATES = "('absent', 'valid-untrusted', 'trusted', 'invalid', 'unreadable', 'not-checked')"
TEXT = Text().with_variant(Text(collation="C"), "postgresql")
REAL64: TypeEngine[float] = REAL().with_variant(DOUBLE_PRECISION(), "postgresql")


def upgrade() -> None:
    """From 0002."""
    connection = op.get_bind()
    for table, column, lite, postgres, rule in COLUMNS:
        type_ = lite if connection.dialect.name == "sqlite" else postgres
        check = f" CONSTRAINT ck_{table}_{column} CHECK ({rule})" if rule else ""
        connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {column} {type_}{check}")
    tables = _new_tables()
    new = [table for table in tables.sorted_tables if table.name not in ("generators", "prompts", "samples")]
    tables.create_all(connection, tables=new, checkfirst=False)
    for statement in guards(connection.dialect.name, ("attempts",)):
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql("UPDATE schema_info SET version = 3")


def _new_tables() -> MetaData:
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    for name, key in (("generators", "name"), ("prompts", "id"), ("samples", "id")):
        Table(name, metadata, Column(key, TEXT, primary_key=True))

    def word(name: str, *, null: bool = False) -> Column[str]:
        return Column(name, TEXT, nullable=null)

    Table(
        "attempts",
        metadata,
        Column("id", TEXT, primary_key=True),
        Column("model", TEXT, ForeignKey("generators.name"), nullable=False),
        Column("prompt_id", TEXT, ForeignKey("prompts.id"), nullable=False),
        Column("seed", Integer, nullable=False),
        word("status"),
        word("message"),
        Column("latency_s", REAL64),
        word("cost_usd", null=True),
        Column("sample_id", TEXT, ForeignKey("samples.id")),
        word("created_at", null=True),
        CheckConstraint(f"status IN {STATUSES}", name="status"),
        CheckConstraint("sample_id IS NULL OR status = 'ok'", name="sample_when_ok"),
        Index(None, "model"),
        sqlite_strict=True,
    )
    Table(
        "provenance",
        metadata,
        Column("sha256", TEXT, primary_key=True),
        word("state"),
        word("source_type", null=True),
        word("document"),
        CheckConstraint("length(sha256) = 64", name="sha256"),
        CheckConstraint(f"state IN {STATES}", name="state"),
        sqlite_strict=True,
    )
    Table(
        "safety_scores",
        metadata,
        Column("sample_id", TEXT, ForeignKey("samples.id"), primary_key=True),
        Column("classifier", TEXT, primary_key=True),
        Column("score", REAL64, nullable=False),
        Column("threshold", REAL64, nullable=False),
        word("label"),
        sqlite_strict=True,
    )
    return metadata
