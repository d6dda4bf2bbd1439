"""The tables of the first schema. A migration is a record of what was: it does not follow later changes of the code."""

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
    UniqueConstraint,
)
from sqlalchemy.types import TypeEngine

from paragone.arena.schema import guards

revision = "0001"
down_revision = None

WINNERS = ("model_a", "model_b", "tie", "both_bad")
STATUSES = ("ok", "refused", "filtered", "invalid", "error", "timeout")
TASKS = ("text-to-image", "image-editing", "text-to-video", "image-to-video")
VOTER_KINDS = ("human", "judge")
TEXT = Text().with_variant(Text(collation="C"), "postgresql")
REAL64: TypeEngine[float] = REAL().with_variant(DOUBLE_PRECISION(), "postgresql")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _one_of(column: str, words: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(map(repr, words))})", name=column)


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, TEXT, nullable=null)


def _reference(name: str, target: str) -> Column[str]:
    return Column(name, TEXT, ForeignKey(target), nullable=False)


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
    CheckConstraint("length(name) > 0", name="name"),
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
    _one_of("task", TASKS),
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
    UniqueConstraint("model", "prompt_id", "seed"),
    CheckConstraint("length(sha256) = 64", name="sha256"),
    CheckConstraint("path NOT LIKE '/%'", name="path"),
    CheckConstraint("width > 0 AND height > 0", name="size"),
    Index(None, "prompt_id", "model"),
    sqlite_strict=True,
)

battles = Table(
    "battles",
    metadata,
    Column("id", TEXT, primary_key=True),
    _reference("prompt_id", "prompts.id"),
    _reference("model_a", "generators.name"),  # the side shown as A: this is the side order
    _reference("model_b", "generators.name"),
    _reference("sample_a", "samples.id"),
    _reference("sample_b", "samples.id"),
    Column("token_sha256", TEXT, unique=True),  # people's battles only; the token itself is never stored
    _text("voter", null=True),  # who it was issued to
    _text("issued_at", null=True),
    _text("shown_at", null=True),
    _text("consumed_at", null=True),
    Column("propensity", REAL64, CheckConstraint("propensity > 0 AND propensity <= 1", name="propensity")),
    _text("policy", null=True),
    CheckConstraint("model_a <> model_b", name="two_models"),
    CheckConstraint("consumed_at IS NULL OR token_sha256 IS NOT NULL", name="consumed"),
    sqlite_strict=True,
)

votes = Table(
    "votes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),  # the order of votes
    _reference("battle_id", "battles.id"),
    _text("criterion"),
    _text("winner"),
    _text("voter"),
    _text("voter_kind"),
    Column("dwell_ms", Integer, CheckConstraint("dwell_ms >= 0", name="dwell_ms")),
    _text("created_at"),
    UniqueConstraint("battle_id", "criterion", "voter"),
    _one_of("winner", WINNERS),
    _one_of("voter_kind", VOTER_KINDS),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)
# A battle is shown to one person once, whatever their name; several judges may decide the same battle.
Index(
    "uq_votes_human_battle",
    votes.c.battle_id,
    votes.c.criterion,
    unique=True,
    sqlite_where=votes.c.voter_kind == "human",
    postgresql_where=votes.c.voter_kind == "human",
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
    UniqueConstraint("judge", "battle_id", "attempt", "side_order"),
    CheckConstraint("side_order IN ('ab', 'ba')", name="side_order"),
    CheckConstraint("(winner IS NULL) = (status <> 'ok')", name="winner_when_ok"),
    _one_of("winner", WINNERS),
    _one_of("status", STATUSES),
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
    Column("count", Integer, CheckConstraint("count > 0", name="count"), nullable=False),
    _one_of("winner", WINNERS),
    _one_of("voter_kind", VOTER_KINDS),
    sqlite_strict=True,
)


def upgrade() -> None:
    """Make the tables."""
    connection = op.get_bind()
    metadata.create_all(connection, checkfirst=False)
    for statement in guards(connection.dialect.name, ("votes", "judge_calls")):
        connection.exec_driver_sql(statement)
    connection.execute(schema_info.insert().values(version=1))
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA application_id = 1885434465")
