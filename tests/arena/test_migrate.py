"""Older databases become what a new one is, with all their votes, or stay what they were."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

import paragone.arena.migrations
from paragone.arena import schema
from paragone.arena.migrate import run_steps, upgrade
from paragone.arena.store import Store
from paragone.arena.store_engine import database_target
from paragone.data import Attempt, InputError, Status
from paragone.data.records import SafetyScore

VERSION_1 = """
INSERT INTO generators VALUES ('a', '', '', NULL, 'MIT', NULL, NULL, '0.04'), ('b', '', '', 1, NULL, NULL, NULL, NULL);
INSERT INTO prompts VALUES ('p', 'a bear', 'text-to-image', '[]', NULL);
INSERT INTO samples VALUES ('sa', '{}', 'a.png', 'p', 'a', 0, 8, 8, NULL, NULL);
INSERT INTO samples VALUES ('sb', '{}', 'b.png', 'p', 'b', 0, 8, 8, NULL, NULL);
INSERT INTO battles (id, prompt_id, model_a, model_b, sample_a, sample_b)
  VALUES ('b1', 'p', 'a', 'b', 'sa', 'sb'), ('b2', 'p', 'b', 'a', 'sb', 'sa');
INSERT INTO votes (battle_id, criterion, winner, voter, voter_kind, dwell_ms, created_at)
  VALUES ('b1', 'overall', 'model_a', 'eve', 'human', 900, '2026-01-01T00:00:00.000Z'),
         ('b2', 'overall', 'tie', 'ruler', 'judge', NULL, '2026-01-02T00:00:00.000Z');
INSERT INTO pair_counts VALUES ('a', 'b', 'model_a', 'human', 'overall', 1), ('b', 'a', 'tie', 'judge', 'overall', 1);
""".format("0" * 64, "1" * 64)


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    target = database_target(database_url)
    if isinstance(target, Path):
        target.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(f"sqlite:///{target}" if isinstance(target, Path) else target)
    with engine.connect() as opened:
        yield opened
    engine.dispose()


def steps_to(connection: Connection, revision: str) -> None:
    """Run the steps from nothing to one revision."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "paragone.arena:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def make_version_1(connection: Connection) -> None:
    """A database as the first schema had it: made whole, so Alembic knows nothing of it."""
    steps_to(connection, "0001")
    connection.execute(text("DROP TABLE alembic_version"))
    for statement in VERSION_1.split(";\n"):
        if statement.strip():
            connection.exec_driver_sql(statement)


def layout(connection: Connection) -> dict[str, str]:
    """SQLite's own words for every table, index and trigger, blanks aside."""
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {
        name: "".join(sql.replace('"', "").split()) for name, sql in rows if not name.startswith(("alembic", "sqlite_"))
    }


def test_all_steps_lead_to_the_tables_of_the_code(connection: Connection) -> None:
    run_steps(connection, 0)
    context = MigrationContext.configure(connection, opts={"compare_server_default": True})
    assert compare_metadata(context, schema.metadata) == []
    assert connection.execute(text("SELECT version FROM schema_info")).scalar_one() == schema.VERSION


def test_in_sqlite_to_the_letter(tmp_path: Path) -> None:
    made, migrated = (create_engine(f"sqlite:///{tmp_path / name}") for name in ("made.db", "migrated.db"))
    with made.begin() as one, migrated.begin() as two:
        schema.create_tables(one)
        run_steps(two, 0)
        whole, stepped = layout(one), layout(two)
        assert set(whole) == set(stepped)
        for name in set(whole) - {"generators", "votes"}:  # columns that came later stand elsewhere in the text
            assert stepped[name] == whole[name]
        pragma = "PRAGMA application_id"
        assert one.exec_driver_sql(pragma).scalar_one() == two.exec_driver_sql(pragma).scalar_one()
    made.dispose()
    migrated.dispose()


def test_the_last_step_is_the_version_of_the_code() -> None:
    scripts = ScriptDirectory(str(Path(paragone.arena.migrations.__file__).parent))
    assert scripts.get_heads() == [f"{schema.VERSION:04d}"]


def test_votes_of_the_first_schema_live_on(connection: Connection, database_url: str) -> None:
    make_version_1(connection)
    connection.commit()
    with pytest.raises(InputError, match=r"schema version 1.*doctor --upgrade"):
        Store(database_url)
    done = upgrade(database_url)
    assert (done.before, done.after) == (1, schema.VERSION)
    with Store(database_url) as store:
        assert store.verify() == []
        votes = store.votes()
        assert votes[["model_a", "model_b", "winner", "voter", "dwell_ms"]].iloc[0].tolist() == [
            "a",
            "b",
            "model_a",
            "eve",
            900,
        ]
        assert list(votes["id"]) == [1, 2]
        assert store.generators()[0].licence == "MIT"
        store.add_generators(store.generators())
        store.add_prompts(store.prompts())  # a mask that is not there is the same as none
        store.add_attempts([Attempt("a", "p", 0, Status.OK, sample_id="sa"), Attempt("b", "p", 0, Status.REFUSED)])
        store.add_safety_scores([SafetyScore("sa", "mean", 0.5, 0.5)])
        with pytest.raises(Exception, match="append-only"), store._database.write() as writing:
            writing.exec_driver_sql("UPDATE attempts SET status = 'error'")
        assert store.pair_counts()["count"].tolist() == [1, 1]
        assert store.name
        with pytest.raises(Exception, match="append-only"), store._database.write() as writing:
            writing.exec_driver_sql("DELETE FROM votes")
    assert upgrade(database_url).after == schema.VERSION  # and again: nothing to do
    if store.path is not None:
        assert done.backup is not None
        with sqlite3.connect(done.backup) as copy:
            assert copy.execute("SELECT version FROM schema_info").fetchone() == (1,)
            assert copy.execute("SELECT count(*) FROM votes").fetchone() == (2,)
        copy.close()


def test_a_step_that_fails_changes_nothing(connection: Connection, database_url: str) -> None:
    make_version_1(connection)
    connection.execute(text("CREATE TABLE vote_events (id INTEGER)"))  # in the way of the second step
    connection.commit()
    with pytest.raises(InputError, match="vote_events"):
        upgrade(database_url)
    assert connection.execute(text("SELECT version FROM schema_info")).scalar_one() == 1
    assert connection.execute(text("SELECT count(*) FROM votes")).scalar_one() == 2
    with pytest.raises(Exception, match="append-only"), connection.begin_nested():
        connection.execute(text("DELETE FROM votes"))
