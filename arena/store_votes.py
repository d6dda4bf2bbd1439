"""The votes' own transactions: issuing a battle, spending its token on one vote, and recording what judges said.

Each function works inside a transaction that `Store` opened, so a vote, its battle and its pair count are stored
together or not at all.
"""

from __future__ import annotations

import hashlib
import json
import random
import secrets
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, and_, case, func, insert, select, update

from paragone.arena.chain import GENESIS, VOTE_FACTS, link
from paragone.arena.dialects import insert_into
from paragone.arena.schema import battles, judge_calls, pair_counts, prompts, samples, vote_state, votes
from paragone.arena.store_cursor import rows_of
from paragone.arena.store_rows import Values, battle_values, read_battle, read_prompt, read_sample
from paragone.arena.vote_events import count_cells
from paragone.data.errors import InputError, VoteRefused
from paragone.data.records import Battle, Judgement, Prompt, Sample, Status, Verdict, Vote, VoterKind

if TYPE_CHECKING:  # scipy is loaded when a battle is drawn: who only stores votes does not wait for it
    from paragone.arena.matchmaking import Cell, Pair

CRITERION = "overall"
REFRESH = 100  # the pairs' propensities are computed anew when the votes have grown by one in so many
_PROPENSITIES = "paragone.propensities"
_TRANSIENT = (Status.ERROR, Status.TIMEOUT)  # a judge's call that ended so may be made again


@dataclass(frozen=True, slots=True)
class IssuedBattle:
    """A battle for one person. Whoever holds the token may vote on it, once."""

    token: str
    battle: Battle
    prompt: Prompt
    sample_a: Sample
    sample_b: Sample
    propensity: float


def draw_battle(connection: Connection, rng: random.Random) -> tuple[Battle, float]:
    """A battle between two models that share a prompt, and the probability that their pair had; sides are drawn too."""
    from paragone.arena.matchmaking import draw_pair

    propensities = _propensities(connection)
    if not propensities:
        raise InputError("no two models have samples of the same prompt, so there is no battle to show; add samples")
    pair = draw_pair(propensities, rng)
    first, second = _draw_samples(connection, pair, rng)
    a, b = (first, second) if rng.random() < 0.5 else (second, first)
    battle = Battle(secrets.token_hex(16), a.prompt_id, a.model, b.model, a.id, b.id)
    return battle, propensities[pair]


def _propensities(connection: Connection) -> dict[Pair, float]:
    """The probability of each pair, kept with the connection until there are samples, or 1 % of votes, more."""
    from paragone.arena.matchmaking import informative_propensities

    last_vote: int = connection.execute(select(func.coalesce(func.max(votes.c.id), 0))).scalar_one()
    n_samples: int = connection.execute(select(func.count()).select_from(samples)).scalar_one()
    known: tuple[int, int, dict[Pair, float]] | None = connection.info.get(_PROPENSITIES)
    if known is not None and known[1] == n_samples and last_vote - known[0] <= known[0] // REFRESH:
        return known[2]
    propensities = informative_propensities(_pairs_to_show(connection), _cells_of_people(connection))
    connection.info[_PROPENSITIES] = last_vote, n_samples, propensities
    return propensities


def _pairs_to_show(connection: Connection) -> list[Pair]:
    """The pairs of models that share a prompt."""
    prompts_of: dict[str, set[str]] = defaultdict(set)
    for model, prompt in connection.execute(select(samples.c.model, samples.c.prompt_id).distinct()):
        prompts_of[model].add(prompt)
    pairs = combinations(sorted(prompts_of), 2)
    return [(one, two) for one, two in pairs if not prompts_of[one].isdisjoint(prompts_of[two])]


def _cells_of_people(connection: Connection) -> dict[Cell, int]:
    """Votes of people by model_a, model_b and winner."""
    cell = pair_counts.c
    keys = (cell.model_a, cell.model_b, cell.winner)
    query = select(*keys, func.sum(cell.count)).where(cell.voter_kind == VoterKind.HUMAN).group_by(*keys)
    return {(model_a, model_b, winner): n for model_a, model_b, winner, n in connection.execute(query)}


def _draw_samples(connection: Connection, pair: Pair, rng: random.Random) -> tuple[Sample, Sample]:
    """One sample of each model for a shared prompt, drawn uniformly; of the same seed where the two share one."""
    sample = samples.c
    by_prompt: dict[str, dict[str, list[tuple[int, str]]]] = defaultdict(lambda: defaultdict(list))
    query = select(sample.prompt_id, sample.model, sample.seed, sample.id).where(sample.model.in_(pair))
    for prompt, model, seed, name in rows_of(connection, query.order_by(sample.prompt_id, sample.seed)):
        by_prompt[prompt][model].append((seed, name))
    mine, theirs = rng.choice([(m[pair[0]], m[pair[1]]) for m in by_prompt.values() if len(m) == 2])
    seeds = sorted({seed for seed, _ in mine} & {seed for seed, _ in theirs})
    if seeds:
        drawn = rng.choice(seeds)
        names = [next(name for seed, name in side if seed == drawn) for side in (mine, theirs)]
    else:
        names = [rng.choice(side)[1] for side in (mine, theirs)]
    found = {row.id: read_sample(row) for row in connection.execute(select(samples).where(sample.id.in_(names)))}
    return found[names[0]], found[names[1]]


def insert_issued(connection: Connection, battle: Battle, *, voter: str, propensity: float) -> IssuedBattle:
    """Store a drawn battle under a fresh token; of the token only its hash is kept."""
    from paragone.arena.matchmaking import POLICY

    token = secrets.token_urlsafe(32)
    issue = {
        "token_sha256": _digest(token),
        "voter": voter,
        "issued_at": now(),
        "propensity": propensity,
        "policy": POLICY,
    }
    connection.execute(insert(battles).values(battle_values(battle) | issue))
    prompt = connection.execute(select(prompts).where(prompts.c.id == battle.prompt_id)).one()
    a, b = (
        read_sample(connection.execute(select(samples).where(samples.c.id == sample)).one())
        for sample in (battle.sample_a, battle.sample_b)
    )
    return IssuedBattle(token, battle, read_prompt(prompt), a, b, propensity)


def mark_shown(connection: Connection, token: str) -> None:
    """Write down when both pictures of a battle were first sent."""
    unseen = and_(battles.c.token_sha256 == _digest(token), battles.c.shown_at.is_(None))
    connection.execute(update(battles).where(unseen).values(shown_at=now()))


def spend_token(connection: Connection, token: str, *, voter: str) -> str:
    """Use up a token and return its battle's id; raises `VoteRefused` on any second use."""
    mine = and_(battles.c.token_sha256 == _digest(token), battles.c.voter == voter)
    used: str | None = connection.execute(
        update(battles).where(mine, battles.c.consumed_at.is_(None)).values(consumed_at=now()).returning(battles.c.id)
    ).scalar_one_or_none()
    if used is not None:
        return used
    if connection.execute(select(battles.c.id).where(mine)).first() is None:
        raise VoteRefused("this battle was not issued to this voter; ask for a new one")
    raise VoteRefused("this battle was voted on before; the first vote counts")


def insert_vote(connection: Connection, vote: Vote) -> None:
    """Add a vote and count it for its pair."""
    insert_votes(connection, [vote], now())


def insert_votes(connection: Connection, new: Sequence[Vote], written_at: str) -> None:
    """Add votes on stored battles to the end of the chain, in order, and count each for its pair."""
    if not new:
        return
    fought = battle_facts(connection, {vote.battle_id for vote in new})
    rows, previous = [], chain_head(connection)
    for vote in new:
        row = {
            "battle_id": vote.battle_id,
            "criterion": CRITERION,
            "winner": str(vote.winner),
            "voter": vote.voter,
            "voter_kind": str(vote.voter_kind),
            "dwell_ms": vote.dwell_ms,
            "created_at": vote.created_at or written_at,
        }
        facts = fought[vote.battle_id]
        previous = link(previous, row | facts, VOTE_FACTS)
        rows.append(row | {name: facts[name] for name in ("prompt_id", "model_a", "model_b")} | {"digest": previous})
    connection.execute(insert(votes), rows)
    sides = {battle: (facts["model_a"], facts["model_b"]) for battle, facts in fought.items()}
    count_cells(
        connection,
        Counter((*sides[vote.battle_id], str(vote.winner), str(vote.voter_kind), CRITERION) for vote in new),
    )


def select_votes(*, excluded: bool) -> Select[Any]:
    """Votes in order with their battles and what was said of them; see `Store.votes`."""
    vote, battle, state = votes.c, battles.c, vote_state.c
    out = func.coalesce(state.excluded, 0)
    query = (
        select(
            vote.model_a,
            vote.model_b,
            func.coalesce(state.winner, vote.winner).label("winner"),
            vote.voter,
            vote.voter_kind,
            vote.prompt_id.label("prompt"),
            vote.created_at,
            vote.battle_id.label("battle"),
            vote.id,
            vote.dwell_ms,
            battle.propensity,
            battle.issued_at,
            battle.shown_at,
            vote.winner.label("given"),
            battle.sample_a,
            battle.sample_b,
            func.coalesce(state.flags, 0).label("flags"),
            out.label("excluded"),
        )
        .select_from(votes.join(battles).outerjoin(vote_state))
        .order_by(vote.id)
    )
    return query if excluded else query.where(out == 0)


def chain_head(connection: Connection) -> str:
    """The digest of the last vote."""
    last = select(votes.c.digest).order_by(votes.c.id.desc()).limit(1)
    return connection.execute(last).scalar_one_or_none() or GENESIS


def battle_facts(connection: Connection, battle_ids: set[str]) -> dict[str, Values]:
    """What the digest of a vote covers of its battle."""
    names = ("prompt_id", "model_a", "model_b", "sample_a", "sample_b")
    query = select(battles.c.id, *(battles.c[name] for name in names)).where(battles.c.id.in_(battle_ids))
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in connection.execute(query)}


def judged_battles(
    connection: Connection, judge: str, among: Collection[str] | None = None, *, retried: Collection[Status] = ()
) -> dict[str, tuple[bool, int]]:
    """For each battle that a judge was asked about: whether its last attempt was answered, and that attempt's number.

    `among` limits the answer to these battles. Refusals and invalid answers are answers; an attempt with an error or a
    timeout is not, and may be made again; nor is one that ended in one of the statuses of `retried`.
    """
    failed = case((judge_calls.c.status.in_({*_TRANSIENT, *retried}), judge_calls.c.attempt), else_=0)
    query = (
        select(judge_calls.c.battle_id, func.max(judge_calls.c.attempt), func.max(failed))
        .where(judge_calls.c.judge == judge)
        .group_by(judge_calls.c.battle_id)
    )
    if among is not None:
        query = query.where(judge_calls.c.battle_id.in_(among))
    return {battle_id: (failure < last, last) for battle_id, last, failure in connection.execute(query)}


def insert_judgements(
    connection: Connection, judgements: Iterable[Judgement], *, judge: str, voter: str, retried: Collection[Status] = ()
) -> int:
    """Store battles, calls and votes of those judgements that the judge has not answered yet; returns how many."""
    judgements = list(judgements)
    known = judged_battles(connection, judge, [judgement.battle.id for judgement in judgements], retried=retried)
    fresh = {j.battle.id: j for j in judgements if not known.get(j.battle.id, (False, 0))[0]}
    if not fresh:
        return 0
    _insert_battles(connection, {name: judgement.battle for name, judgement in fresh.items()})
    written_at = now()
    calls = [
        call
        for name, judgement in fresh.items()
        for call in _call_rows(judgement, judge=judge, attempt=known.get(name, (False, 0))[1] + 1, at=written_at)
    ]
    connection.execute(insert(judge_calls), calls)
    decided = [
        Vote(name, judgement.winner, voter, VoterKind.JUDGE)
        for name, judgement in fresh.items()
        if judgement.winner is not None
    ]
    insert_votes(connection, decided, written_at)
    return len(fresh)


def _call_rows(judgement: Judgement, *, judge: str, attempt: int, at: str) -> list[Values]:
    if not 1 <= len(judgement.verdicts) <= 2:
        n = len(judgement.verdicts)
        raise InputError(f"battle {judgement.battle.id}: {n} verdicts; a judgement has one for each order of the sides")
    return [
        {
            "battle_id": judgement.battle.id,
            "judge": judge,
            "attempt": attempt,
            "side_order": side_order,
            "status": str(verdict.status),
            "winner": None if verdict.winner is None else str(verdict.winner),
            "reason": verdict.reason,
            "score_a": None if verdict.scores is None else verdict.scores[0],
            "score_b": None if verdict.scores is None else verdict.scores[1],
            "created_at": at,
            "cost_usd": None if verdict.cost_usd is None else f"{verdict.cost_usd:f}",
            "document": None if not verdict.details else _document(verdict),
        }
        for side_order, verdict in zip(("ab", "ba"), judgement.verdicts, strict=False)
    ]


def _document(verdict: Verdict) -> str:
    return json.dumps(verdict.details, ensure_ascii=False, allow_nan=False, default=str)


def _insert_battles(connection: Connection, new: Mapping[str, Battle]) -> None:
    """Add battles that are not there yet; raises `InputError` when one contradicts the store."""
    wanted = {sample for battle in new.values() for sample in (battle.sample_a, battle.sample_b)}
    query = select(samples.c.id, samples.c.model, samples.c.prompt_id).where(samples.c.id.in_(wanted))
    stored = {sample: (model, prompt) for sample, model, prompt in connection.execute(query)}
    for battle in new.values():
        for sample, model in ((battle.sample_a, battle.model_a), (battle.sample_b, battle.model_b)):
            if stored.get(sample) != (model, battle.prompt_id):
                raise InputError(
                    f"battle {battle.id}: the store has no sample {sample} of {model!r} for prompt "
                    f"{battle.prompt_id!r}; add the samples first"
                )
    connection.execute(
        insert_into(connection, battles).on_conflict_do_nothing(index_elements=["id"]),
        [battle_values(battle) for battle in new.values()],
    )
    for row in connection.execute(select(battles).where(battles.c.id.in_(new))):
        if read_battle(row) != new[row.id]:
            raise InputError(f"battle {row.id}: is stored with other samples or sides; give the new battle its own id")


def now() -> str:
    """The time as votes carry it: ISO 8601, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
