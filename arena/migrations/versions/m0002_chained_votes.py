"""Votes are chained; flags, exclusions and corrections are events; prices and kept boards get tables of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alembic import op
from sqlalchemy import CheckConstraint, Column, Connection, ForeignKey, Integer, MetaData, Table, Text, text

from paragone.arena.chain import GENESIS, link
from paragone.arena.schema import guards

revision = "0002"
down_revision = "0001"

WINNERS = "('model_a', 'model_b', 'tie', 'both_bad')"
TEXT = Text().with_variant(Text(collation="C"), "postgresql")
FACTS = (
    "battle_id", "prompt_id", "model_a", "model_b", "sample_a", "sample_b",
    "criterion", "winner", "voter", "voter_kind", "dwell_ms", "created_at",
)  # fmt: skip
COPIED = ("prompt_id", "model_a", "model_b")  # from a vote's battle


def upgrade() -> None:
    """From 0001."""
    connection = op.get_bind()
    for column in ("version", "provider"):
        op.add_column("generators", Column(column, TEXT))
    for column in ("cost_usd", "document"):
        op.add_column("judge_calls", Column(column, TEXT))
    digests = list(_digests(connection))
    _free_samples(connection)
    if connection.dialect.name == "sqlite":
        _rebuild_votes(connection)
    else:
        connection.exec_driver_sql("DROP TRIGGER votes_no_change ON votes")
        connection.exec_driver_sql("DROP TRIGGER votes_no_truncate ON votes")
        for column in (*COPIED, "digest"):
            connection.exec_driver_sql(f'ALTER TABLE votes ADD COLUMN {column} TEXT COLLATE "C"')
        copies = ", ".join(f"{column} = battles.{column}" for column in COPIED)
        connection.exec_driver_sql(f"UPDATE votes SET {copies} FROM battles WHERE battles.id = battle_id")
    connection.exec_driver_sql("CREATE INDEX ix_votes_voter ON votes (voter)")
    if digests:
        connection.execute(text("UPDATE votes SET digest = :digest WHERE id = :id"), digests)
    if connection.dialect.name == "postgresql":
        for column in (*COPIED, "digest"):
            connection.exec_driver_sql(f"ALTER TABLE votes ALTER COLUMN {column} SET NOT NULL")
    tables = _new_tables()
    new = [table for table in tables.sorted_tables if table.name not in ("generators", "votes")]
    tables.create_all(connection, tables=new, checkfirst=False)
    _recount(connection)
    for statement in guards(connection.dialect.name, ("votes", "vote_events", "rating_snapshots")):
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql("UPDATE schema_info SET version = 2")


def _digests(connection: Connection) -> Iterator[dict[str, Any]]:
    query = (
        "SELECT votes.id, battle_id, prompt_id, model_a, model_b, sample_a, sample_b, criterion, winner, votes.voter, "
        "voter_kind, dwell_ms, created_at FROM votes JOIN battles ON battles.id = battle_id ORDER BY votes.id"
    )
    previous = GENESIS
    for row in connection.exec_driver_sql(query).mappings():
        previous = link(previous, row, FACTS)
        yield {"id": row["id"], "digest": previous}


def _free_samples(connection: Connection) -> None:
    """A battle may be without pictures from now on."""
    rule = "CONSTRAINT ck_battles_samples CHECK ((sample_a IS NULL) = (sample_b IS NULL))"
    run = connection.exec_driver_sql
    if connection.dialect.name == "postgresql":
        for column in ("sample_a", "sample_b"):
            run(f"ALTER TABLE battles ALTER COLUMN {column} DROP NOT NULL")
        run(f"ALTER TABLE battles ADD {rule}")
        return
    # Rows stay as they are, so the table's text may be edited (sqlite.org/lang_altertable.html#otheralter).
    table: str = run("SELECT sql FROM sqlite_master WHERE name = 'battles'").scalar_one()
    for column in ("sample_a", "sample_b"):
        table = table.replace(f"{column} TEXT NOT NULL", f"{column} TEXT")
    table = table.replace("token_sha256 IS NOT NULL)", f"token_sha256 IS NOT NULL), \n\t{rule}")
    if table.count("NOT NULL") != 5 or rule not in table:
        raise RuntimeError(f"the table of battles is not that of the first schema: {table}")
    number = run("PRAGMA schema_version").scalar_one()
    run("PRAGMA writable_schema = ON")
    run("UPDATE sqlite_master SET sql = ? WHERE name = 'battles'", (table,))
    run(f"PRAGMA schema_version = {number + 1}")
    run("PRAGMA writable_schema = OFF")


def _rebuild_votes(connection: Connection) -> None:
    """SQLite cannot add a column that is never null: the table is written anew, with its indexes, without triggers."""
    run = connection.exec_driver_sql
    for change in ("update", "delete"):
        run(f"DROP TRIGGER votes_no_{change}")
    [index] = run("SELECT sql FROM sqlite_master WHERE name = 'uq_votes_human_battle'").scalars().all()
    [table] = run("SELECT sql FROM sqlite_master WHERE name = 'votes'").scalars().all()
    added = {"battle_id TEXT NOT NULL,": COPIED, "created_at TEXT NOT NULL,": ("digest",)}
    if any(table.count(column) != 1 for column in added):
        raise RuntimeError(f"the table of votes is not that of the first schema: {table}")
    run("ALTER TABLE votes RENAME TO votes_1")
    run("DROP INDEX uq_votes_human_battle")
    for column, names in added.items():
        table = table.replace(column, " ".join([column, *(f"{name} TEXT NOT NULL," for name in names)]))
    run(table)
    run(
        "INSERT INTO votes (id, battle_id, prompt_id, model_a, model_b, criterion, winner, voter, voter_kind, "
        "dwell_ms, created_at, digest) SELECT votes_1.id, battle_id, prompt_id, model_a, model_b, criterion, winner, "
        "votes_1.voter, voter_kind, dwell_ms, created_at, '' "
        "FROM votes_1 JOIN battles ON battles.id = battle_id ORDER BY votes_1.id"
    )
    run("DROP TABLE votes_1")
    run(index)


def _new_tables() -> MetaData:
    """What came new, and `pair_counts`, whose counts may now fall to 0."""
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    for name, key in (("generators", Column("name", TEXT)), ("votes", Column("id", Integer))):
        Table(name, metadata, Column(key.name, key.type, primary_key=True))
    strict: dict[str, Any] = {"sqlite_strict": True}
    numbered: dict[str, Any] = strict | {"sqlite_autoincrement": True}

    def id_() -> Column[int]:
        return Column("id", Integer, primary_key=True, autoincrement=True)

    def word(name: str, *, null: bool = False) -> Column[str]:
        return Column(name, TEXT, nullable=null)

    Table(
        "prices",
        metadata,
        Column("model", TEXT, ForeignKey("generators.name"), primary_key=True),
        Column("unit", TEXT, primary_key=True),
        Column("valid_from", TEXT, primary_key=True),
        word("usd"),
        word("source", null=True),
        CheckConstraint("unit IN ('image', 'megapixel', 'second')", name="unit"),
        **strict,
    )
    Table(
        "vote_events",
        metadata,
        id_(),
        Column("vote_id", Integer, ForeignKey("votes.id"), nullable=False, index=True),
        word("kind"),
        word("winner", null=True),
        *(word(name) for name in ("rule", "reason", "actor", "created_at", "digest")),
        CheckConstraint("(winner IS NOT NULL) = (kind = 'correct')", name="winner_when_corrected"),
        CheckConstraint("kind IN ('flag', 'unflag', 'exclude', 'restore', 'correct')", name="kind"),
        CheckConstraint(f"winner IN {WINNERS}", name="winner"),
        **numbered,
    )
    Table(
        "vote_state",
        metadata,
        Column("vote_id", Integer, ForeignKey("votes.id"), primary_key=True, autoincrement=False),
        Column("flags", Integer, nullable=False),
        Column("excluded", Integer, CheckConstraint("excluded IN (0, 1)", name="excluded"), nullable=False),
        word("winner", null=True),
        CheckConstraint(f"winner IN {WINNERS}", name="winner"),
        **strict,
    )
    Table(
        "rating_snapshots",
        metadata,
        id_(),
        word("voters"),
        word("method"),
        Column("last_vote", Integer, nullable=False),
        Column("last_event", Integer, nullable=False),
        *(word(name) for name in ("head", "document", "created_at")),
        **numbered,
    )
    op.drop_table("pair_counts")
    Table(
        "pair_counts",
        metadata,
        Column("model_a", TEXT, ForeignKey("generators.name"), primary_key=True),
        Column("model_b", TEXT, ForeignKey("generators.name"), primary_key=True),
        *(Column(name, TEXT, primary_key=True) for name in ("winner", "voter_kind", "criterion")),
        Column("count", Integer, CheckConstraint("count >= 0", name="count"), nullable=False),
        CheckConstraint(f"winner IN {WINNERS}", name="winner"),
        CheckConstraint("voter_kind IN ('human', 'judge')", name="voter_kind"),
        **strict,
    )
    return metadata


def _recount(connection: Connection) -> None:
    cell = "model_a, model_b, winner, voter_kind, criterion"
    connection.exec_driver_sql(
        f"INSERT INTO pair_counts ({cell}, count) SELECT {cell}, count(*) FROM votes GROUP BY {cell}"
    )
