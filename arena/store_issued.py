"""A battle by its token: what the voter to whom it was issued may still look at; and a sample by its name."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from paragone.arena.schema import battles, prompts, samples
from paragone.arena.store import Store
from paragone.arena.store_rows import read_battle, read_prompt, read_sample
from paragone.arena.store_votes import IssuedBattle
from paragone.data.records import Sample


def issued_battle(store: Store, token: str, *, voter: str, within_s: float) -> IssuedBattle | None:
    """The battle that was issued to this voter under this token in the last `within_s` seconds, voted on or not."""
    oldest = (datetime.now(UTC) - timedelta(seconds=within_s)).isoformat(timespec="milliseconds")
    digest = hashlib.sha256(token.encode()).hexdigest()  # all that is stored of a token
    mine = select(battles).where(battles.c.token_sha256 == digest, battles.c.voter == voter)
    with store._database.read() as connection:
        row = connection.execute(mine).one_or_none()
        if row is None or row.issued_at.replace("Z", "+00:00") < oldest:
            return None
        prompt = connection.execute(select(prompts).where(prompts.c.id == row.prompt_id)).one()
        a, b = (
            read_sample(connection.execute(select(samples).where(samples.c.id == sample)).one())
            for sample in (row.sample_a, row.sample_b)
        )
    return IssuedBattle(token, read_battle(row), read_prompt(prompt), a, b, row.propensity)


def stored_sample(store: Store, name: str) -> Sample | None:
    """The sample with this id."""
    with store._database.read() as connection:
        row = connection.execute(select(samples).where(samples.c.id == name)).one_or_none()
    return None if row is None else read_sample(row)
