"""The arena's tables (SQLAlchemy Core), the same for SQLite and PostgreSQL. Facts are only ever added.

Types (SQLite's are STRICT) and CHECKs keep wrong values and unknown words out; triggers keep votes, what was said of
them, judge calls and attempts as they were written. Votes are chained: each row's `digest` covers its content and the
row before. `vote_state` and `pair_counts` are derived in the same transaction, and ratings are computed from them.
`migrations/` leads an older database here.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from sqlalchemy import (
    DOUBLE_PRECISION,
    REAL,
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    insert,
)
from sqlalchemy.types import TypeEngine

from paragone.arena.chain import EventKind
from paragone.data.records import PriceUnit, ProvenanceState, Status, Task, VoterKind, Winner

VERSION = 3  # the number of the last revision in migrations/versions
APPLICATION_ID = 0x70617261  # "para": what `file` and we know a paragone database by

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


# Names sort by their bytes in both databases, whatever the language of the server.
TEXT = Text().with_variant(Text(collation="C"), "postgresql")
REAL64: TypeEngine[float] = REAL().with_variant(DOUBLE_PRECISION(), "postgresql")
INTEGER64 = Integer().with_variant(BigInteger(), "postgresql")


def _one_of(column: str, words: type[StrEnum]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(str(word)) for word in words)})", name=column)


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, TEXT, nullable=null)


def _reference(name: str, target: str, *, null: bool = False) -> Column[str]:
    return Column(name, TEXT, ForeignKey(target), nullable=null)


schema_info = Table("schema_info", metadata, Column("version", Integer, primary_key=True), sqlite_strict=True)

generators = Table(
    "generators",
    metadata,
    Column("name", TEXT, primary_key=True),
    _text("description"),
    _text("family"),
    Column("open_weights", Integer, CheckConstraint("open_weights IN (0, 1)", name="open_weights"), nullable=True),
    _text("licence", null=True),
    _text("report_url", null=True),
    _text("released", null=True),
    _text("usd_per_image", null=True),  # a decimal number in words: money is never a float
    _text("version", null=True),
    _text("provider", null=True),
    Column("parameters", INTEGER64, CheckConstraint("parameters > 0", name="parameters")),
    Column("space", TEXT, CheckConstraint("space IN ('pixel', 'latent')", name="space")),
    _text("text_encoder", null=True),
    CheckConstraint("length(name) > 0", name="name"),
    sqlite_strict=True,
)

prices = Table(
    "prices",
    metadata,
    Column("model", TEXT, ForeignKey("generators.name"), primary_key=True),
    Column("unit", TEXT, primary_key=True),
    Column("valid_from", TEXT, primary_key=True),  # ISO 8601 date
    _text("usd"),  # a decimal number in words
    _text("source", null=True),
    _one_of("unit", PriceUnit),
    sqlite_strict=True,
)

prompts = Table(
    "prompts",
    metadata,
    Column("id", TEXT, primary_key=True),
    _text("text"),
    _text("task"),
    _text("tags"),  # JSON list
    _text("source", null=True),
    _text("mask", null=True),
    _one_of("task", Task),
    sqlite_strict=True,
)

samples = Table(
    "samples",
    metadata,
    Column("id", TEXT, primary_key=True),
    _text("sha256"),
    _text("path"),  # relative to the project folder, forward slashes
    _reference("prompt_id", "prompts.id"),
    _reference("model", "generators.name"),
    Column("seed", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("latency_s", REAL64),
    _text("cost_usd", null=True),
    Column("frames", Integer, CheckConstraint("frames > 0", name="frames")),
    Column("fps", REAL64, CheckConstraint("fps > 0", name="fps")),
    UniqueConstraint("model", "prompt_id", "seed"),
    CheckConstraint("length(sha256) = 64", name="sha256"),
    CheckConstraint("path NOT LIKE '/%'", name="path"),
    CheckConstraint("width > 0 AND height > 0", name="size"),
    Index(None, "prompt_id", "model"),
    sqlite_strict=True,
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", TEXT, primary_key=True),  # over all the rest
    _reference("model", "generators.name"),
    _reference("prompt_id", "prompts.id"),
    Column("seed", Integer, nullable=False),
    _text("status"),
    _text("message"),
    Column("latency_s", REAL64),
    _text("cost_usd", null=True),  # a decimal number in words
    _reference("sample_id", "samples.id", null=True),
    _text("created_at", null=True),
    _one_of("status", Status),
    CheckConstraint("sample_id IS NULL OR status = 'ok'", name="sample_when_ok"),
    Index(None, "model"),
    sqlite_strict=True,
)

provenance = Table(
    "provenance",
    metadata,
    Column("sha256", TEXT, primary_key=True),  # of a file, which several samples may share
    _text("state"),
    _text("source_type", null=True),
    _text("document"),  # all that was found, as JSON
    CheckConstraint("length(sha256) = 64", name="sha256"),
    _one_of("state", ProvenanceState),
    sqlite_strict=True,
)

safety_scores = Table(
    "safety_scores",
    metadata,
    Column("sample_id", TEXT, ForeignKey("samples.id"), primary_key=True),
    Column("classifier", TEXT, primary_key=True),
    Column("score", REAL64, nullable=False),
    Column("threshold", REAL64, nullable=False),  # a sample that reaches it is flagged
    _text("label"),
    sqlite_strict=True,
)

battles = Table(
    "battles",
    metadata,
    Column("id", TEXT, primary_key=True),
    _reference("prompt_id", "prompts.id"),
    _reference("model_a", "generators.name"),  # the side shown as A: this is the side order
    _reference("model_b", "generators.name"),
    _reference("sample_a", "samples.id", null=True),  # none where votes were imported without pictures
    _reference("sample_b", "samples.id", null=True),
    Column("token_sha256", TEXT, unique=True),  # people's battles only; the token itself is never stored
    _text("voter", null=True),  # who it was issued to
    _text("issued_at", null=True),
    _text("shown_at", null=True),
    _text("consumed_at", null=True),
    Column("propensity", REAL64, CheckConstraint("propensity > 0 AND propensity <= 1", name="propensity")),
    _text("policy", null=True),
    CheckConstraint("model_a <> model_b", name="two_models"),
    CheckConstraint("consumed_at IS NULL OR token_sha256 IS NOT NULL", name="consumed"),
    CheckConstraint("(sample_a IS NULL) = (sample_b IS NULL)", name="samples"),
    sqlite_strict=True,
)

votes = Table(
    "votes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),  # the order of votes
    _reference("battle_id", "battles.id"),
    _text("prompt_id"),  # as the battle has them: a board is one pass over this table
    _text("model_a"),
    _text("model_b"),
    _text("criterion"),
    _text("winner"),
    _text("voter"),
    _text("voter_kind"),
    Column("dwell_ms", Integer, CheckConstraint("dwell_ms >= 0", name="dwell_ms")),
    _text("created_at"),
    _text("digest"),  # sha256 of this vote, its battle, and the digest of the row before
    UniqueConstraint("battle_id", "criterion", "voter"),
    _one_of("winner", Winner),
    _one_of("voter_kind", VoterKind),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)
# A battle is shown to one person once, whatever their name; several judges may decide the same battle.
Index(
    "uq_votes_human_battle",
    votes.c.battle_id,
    votes.c.criterion,
    unique=True,
    sqlite_where=votes.c.voter_kind == VoterKind.HUMAN,
    postgresql_where=votes.c.voter_kind == VoterKind.HUMAN,
)

Index(None, votes.c.voter)

vote_events = Table(
    "vote_events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("vote_id", Integer, ForeignKey("votes.id"), nullable=False, index=True),
    _text("kind"),
    _text("winner", null=True),  # what the vote is corrected to
    _text("rule"),  # what found it: a check, or "by hand"
    _text("reason"),
    _text("actor"),
    _text("created_at"),
    _text("digest"),  # as of votes, a chain of its own
    CheckConstraint("(winner IS NOT NULL) = (kind = 'correct')", name="winner_when_corrected"),
    _one_of("kind", EventKind),
    _one_of("winner", Winner),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)

vote_state = Table(  # derived: only votes that something was said of have a row
    "vote_state",
    metadata,
    Column("vote_id", Integer, ForeignKey("votes.id"), primary_key=True, autoincrement=False),
    Column("flags", Integer, nullable=False),
    Column("excluded", Integer, CheckConstraint("excluded IN (0, 1)", name="excluded"), nullable=False),
    _text("winner", null=True),
    _one_of("winner", Winner),
    sqlite_strict=True,
)

judge_calls = Table(
    "judge_calls",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _reference("battle_id", "battles.id"),
    _text("judge"),
    Column("attempt", Integer, CheckConstraint("attempt > 0", name="attempt"), nullable=False),
    _text("side_order"),
    _text("status"),
    _text("winner", null=True),  # read in the battle's own order of sides, also for the exchanged call
    _text("reason"),
    Column("score_a", REAL64),
    Column("score_b", REAL64),
    _text("created_at"),
    _text("cost_usd", null=True),  # a decimal number in words
    _text("document", null=True),  # how the verdict came about, as JSON: model, template, request, raw replies
    UniqueConstraint("judge", "battle_id", "attempt", "side_order"),
    CheckConstraint("side_order IN ('ab', 'ba')", name="side_order"),
    CheckConstraint("(winner IS NULL) = (status <> 'ok')", name="winner_when_ok"),
    _one_of("winner", Winner),
    _one_of("status", Status),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)

metric_results = Table(
    "metric_results",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _reference("model", "generators.name"),
    _text("metric"),
    _text("signature"),
    Column("value", REAL64, nullable=False),
    Column("standard_error", REAL64),
    Column("ci_low", REAL64),
    Column("ci_high", REAL64),
    Column("higher_is_better", Integer, CheckConstraint("higher_is_better IN (0, 1)", name="higher"), nullable=False),
    Column("n_generated", Integer, nullable=False),
    Column("n_reference", Integer),
    _text("extractor", null=True),
    _text("protocol"),
    Column("seed", Integer),
    _text("version"),
    _text("document"),  # the whole MetricResult as JSON
    UniqueConstraint("model", "metric", "signature"),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)

pair_counts = Table(
    "pair_counts",
    metadata,
    Column("model_a", TEXT, ForeignKey("generators.name"), primary_key=True),
    Column("model_b", TEXT, ForeignKey("generators.name"), primary_key=True),
    Column("winner", TEXT, primary_key=True),
    Column("voter_kind", TEXT, primary_key=True),
    Column("criterion", TEXT, primary_key=True),
    Column("count", Integer, CheckConstraint("count >= 0", name="count"), nullable=False),
    _one_of("winner", Winner),
    _one_of("voter_kind", VoterKind),
    sqlite_strict=True,
)


rating_snapshots = Table(
    "rating_snapshots",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _text("voters"),
    _text("method"),
    Column("last_vote", Integer, nullable=False),  # votes and events up to these ids are in it
    Column("last_event", Integer, nullable=False),
    _text("head"),  # digest of the last vote: names the votes themselves
    _text("document"),  # the leaderboard as canonical JSON
    _text("created_at"),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)

APPEND_ONLY = (votes.name, vote_events.name, judge_calls.name, rating_snapshots.name, attempts.name)


def create_tables(connection: Connection) -> None:
    """Make all tables in an empty database, and write down the version of this schema."""
    metadata.create_all(connection)
    for statement in guards(connection.dialect.name, APPEND_ONLY):
        connection.exec_driver_sql(statement)
    connection.execute(insert(schema_info).values(version=VERSION))
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")


def guards(dialect: str, tables: tuple[str, ...]) -> Iterator[str]:
    """Statements that make triggers which refuse to change or delete a row of `tables`."""
    if dialect == "sqlite":
        for table in tables:
            for change in ("UPDATE", "DELETE"):
                yield (
                    f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{table} are append-only'); END"
                )
        return
    yield (
        "CREATE OR REPLACE FUNCTION paragone_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' are append-only'; END $$"
    )
    for table in tables:
        for change, each in (("UPDATE OR DELETE", "ROW"), ("TRUNCATE", "STATEMENT")):
            name = f"{table}_no_{'change' if each == 'ROW' else 'truncate'}"
            yield (
                f"CREATE TRIGGER {name} BEFORE {change} ON {table} "
                f"FOR EACH {each} EXECUTE FUNCTION paragone_append_only()"
            )
