"""The leaderboard: ratings with rank intervals, online Elo, facts about each model and its measures, in one table.

Votes of people and of judges are never mixed in silence: a board says whose votes it counts (`human`, `judge`, or `all`
when somebody asked for the mix). Models without votes are listed without a rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from paragone.arena.costs import COST_COLUMNS, bill_notes, bills, model_costs, today
from paragone.arena.deliveries import REQUEST_COLUMNS, differential_refusal, request_outcomes, request_table
from paragone.arena.elo import ORDER_MATTERS, fit_elo
from paragone.arena.joint import fit_joint
from paragone.arena.likelihood import islands
from paragone.arena.ratings import ALL_RATERS, Ratings
from paragone.arena.running import BASE, INITIAL, SCALE, K
from paragone.arena.store import Store
from paragone.arena.store_agreement import picture_votes
from paragone.arena.votes import Cells, fold
from paragone.data.errors import InputError, NotIdentifiable, UsageError
from paragone.data.records import GeneratorCard, Sample, VoterKind, Winner

SCHEMA = "paragone.leaderboard/1"
ELO_INTERVAL_VOTES = 50_000  # up to so many votes a board shows Elo's interval, which takes about 10 µs a vote
PRIOR_SD = 400.0  # rating points; only where the votes alone leave a rating without bound
Voters = Literal["human", "judge", "all", "joint"]
VOTERS: tuple[Voters, ...] = get_args(Voters)
METHODS = ("bradley-terry", "davidson", "elo")

RATING_COLUMNS = (
    "rank",
    "rank_lower",
    "rank_upper",
    "model",
    "rating",
    "rating_lower",
    "rating_upper",
    "elo",
    "elo_lower",
    "elo_upper",
    "n_votes",
    "win_rate",
)
CARD_WORDS = ("licence", "provider", "version", "family", "space", "text_encoder", "released", "report_url")
CARD_COLUMNS = (*CARD_WORDS, "open_weights", "parameters", *REQUEST_COLUMNS, *COST_COLUMNS)
COUNTS = tuple(name for name in REQUEST_COLUMNS if name.startswith("n_"))


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """One column for each metric, models as rows, and which protocol each column is of."""

    frame: pd.DataFrame  # index: model
    protocols: dict[str, dict[str, Any]]  # metric -> signature, higher_is_better
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Leaderboard:
    """A board with what it was made from."""

    voters: Voters
    frame: pd.DataFrame
    ratings: Ratings | None  # None: no votes yet
    elo: Ratings | None
    measures: Measures
    warnings: tuple[str, ...]
    category: Mapping[str, str] = field(default_factory=dict)  # tag, task: what the prompts were restricted to
    refusals: str = ""  # how models differ in what they decline, when they do; among the warnings, too

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return leaderboard_document(
            self.frame,
            self.ratings,
            voters=self.voters,
            elo=self.elo,
            protocols=self.measures.protocols,
            warnings=self.warnings,
            category=self.category,
        )


@dataclass(frozen=True, slots=True)
class Categories:
    """What the prompts of a store's votes can be told apart by."""

    tasks: tuple[str, ...]
    tags: tuple[str, ...]


def store_leaderboard(
    store: Store,
    *,
    voters: Voters,
    method: str = "bradley-terry",
    tag: str | None = None,
    task: str | None = None,
    day: str | None = None,
    elo_interval: bool = True,
) -> Leaderboard:
    """The board of a store, or of its prompts with a `tag` or of a `task`.

    `voters="joint"` makes the people's ratings sharper by the judges' votes (`fit_joint`). List prices are those that
    hold on `day` (ISO 8601), else today. `elo_interval=False` saves the bootstrap beside the other ratings.
    Raises `NotIdentifiable` when the votes determine no ratings even with a
    weak prior, and `UsageError` for a method, tag or task that is none.
    """
    if method not in METHODS:
        raise UsageError(f"method={method!r}: use one of {', '.join(METHODS)}")
    if voters == "joint" and method != "bradley-terry":
        raise UsageError(f"method={method!r}: a joint board of people and judges has Bradley-Terry ratings")
    wanted = None if tag is None and task is None else _prompts_of(store, tag, task)
    kind = {"human": VoterKind.HUMAN, "judge": VoterKind.JUDGE, "joint": VoterKind.HUMAN}.get(voters)
    ratings, elo = _rate(store, voters, kind, method, wanted, elo_interval=elo_interval or method == "elo")
    warnings: list[str] = []
    if ratings is not None:
        if ratings.parameters.get("prior") is not None:
            warnings.append(f"ratings are drawn together by a prior (standard deviation {PRIOR_SD:.0f} points)")
        warnings += ratings.warnings
    samples, attempts = store.samples(), store.attempts()
    elsewhere = _models_elsewhere(samples, ratings, wanted)
    results = store.metric_results()
    measures = measures_by_model(results[~results["model"].isin(list(elsewhere))])
    costs = model_costs(
        store.prices(), samples, attempts, day=day or today(), bad_shares=_bad_shares(store.pair_counts(kind))
    )
    outcomes = request_outcomes(attempts)
    frame = build_leaderboard(
        ratings,
        elo=elo,
        cards=[card for card in store.generators() if card.name not in elsewhere],
        measures=measures.frame,
        costs=costs,
        requests=request_table(outcomes),
    )
    category = {name: word for name, word in (("tag", tag), ("task", task)) if word is not None}
    differ = differential_refusal(outcomes)
    refusals = "" if differ is None else str(differ)
    warnings += [refusals] * (differ is not None)
    notes = (*warnings, *measures.warnings, *bill_notes(bills(samples, attempts)))
    return Leaderboard(voters, frame, ratings, elo, measures, notes, category, refusals)


def _models_elsewhere(samples: Sequence[Sample], ratings: Ratings | None, wanted: set[str] | None) -> set[str]:
    """Models with samples, none of which answers a prompt of the category, and no votes in it: on another board."""
    if wanted is None:
        return set()
    here = {sample.model for sample in samples if sample.prompt_id in wanted}
    rated = set() if ratings is None else set(ratings.models)
    return {sample.model for sample in samples} - here - rated


def _bad_shares(counts: pd.DataFrame) -> dict[str, float]:
    """The share of each model's votes that called both sides bad."""
    votes: dict[str, int] = {}
    bad: dict[str, int] = {}
    for row in counts.to_dict("records"):
        for model in (row["model_a"], row["model_b"]):
            votes[model] = votes.get(model, 0) + row["count"]
            bad[model] = bad.get(model, 0) + row["count"] * (row["winner"] == Winner.BOTH_BAD)
    return {model: bad[model] / n for model, n in votes.items()}


def _rate(
    store: Store, voters: Voters, kind: VoterKind | None, method: str, wanted: set[str] | None, *, elo_interval: bool
) -> tuple[Ratings | None, Ratings | None]:
    """The ratings of a board and online Elo; None of both without votes."""
    if wanted is None:
        columns, points = store.running.elo(kind)
        rows = columns.counting(kind)
    else:
        columns, on_these = store.running.of_prompts(wanted)
        points, rows = None, columns.counting(kind) & on_these
    n_votes = int(rows.sum())
    if not n_votes:
        return None, None
    coded = columns.coded(rows)
    cells = fold(coded)
    if points is None or (elo_interval and n_votes <= ELO_INTERVAL_VOTES):
        bootstrap = elo_interval and n_votes <= ELO_INTERVAL_VOTES
        elo = fit_elo(columns.frame(rows), ci="bootstrap" if bootstrap else "none")
    else:
        elo = running_elo(cells, points)
    if method == "elo":
        return elo, elo
    if voters != "joint":
        return fit_or_prior(method, cells), elo
    votes = picture_votes(store)
    if wanted is not None:
        votes = votes[votes["prompt"].isin(list(wanted))].reset_index(drop=True)
    return fit_joint(votes, item="item"), elo


def running_elo(cells: Cells, points: Mapping[str, float]) -> Ratings:
    """`fit_elo` of the votes behind `cells`, from the points that a store carries along."""
    parameters = {"k": K, "scale": SCALE, "base": BASE, "initial": INITIAL, "anchor": None, "both_bad": "tie"}
    return Ratings.assemble(
        cells.settle("tie"),
        np.array([points[model] for model in cells.models]),
        method="elo",
        parameters=parameters | {"ties": "half a win each way", "ci": "none"},
        warnings=tuple(filter(None, (ORDER_MATTERS, islands(cells.settle("tie"))))),
    )


def _prompts_of(store: Store, tag: str | None, task: str | None) -> set[str]:
    """The ids of the prompts of a category; raises `UsageError` for one that no prompt is of."""
    prompts = [
        prompt
        for prompt in store.prompts()
        if (tag is None or tag in prompt.tags) and (task is None or prompt.task == task)
    ]
    if not prompts:
        asked = " and ".join(f"{name} {word!r}" for name, word in (("tag", tag), ("task", task)) if word is not None)
        raise UsageError(f"no prompt has {asked}; the store has {_known(store)}")
    return {prompt.id for prompt in prompts}


def _known(store: Store) -> str:
    prompts = store.prompts()
    tags, tasks = sorted({tag for prompt in prompts for tag in prompt.tags}), sorted({str(p.task) for p in prompts})
    return f"the tags {', '.join(tags) or 'none'} and the tasks {', '.join(tasks) or 'none'}"


def board_categories(store: Store) -> Categories:
    """The tasks and tags of the prompts that votes were given on."""
    voted = store.voted_prompts()
    prompts = [prompt for prompt in store.prompts() if prompt.id in voted]
    tags = sorted({tag for prompt in prompts for tag in prompt.tags})
    return Categories(tuple(sorted({str(prompt.task) for prompt in prompts})), tuple(tags))


def kinds_with_votes(store: Store) -> list[Voters]:
    """Whose votes the store holds, the more numerous first."""
    counts = store.counts()
    kinds: tuple[Voters, ...] = ("human", "judge")
    present = [kind for kind in kinds if counts[f"{kind}_votes"]]
    return sorted(present, key=lambda kind: -counts[f"{kind}_votes"])


def fit_or_prior(method: str, cells: Cells) -> Ratings:
    """Ratings without a prior where they exist, else with a weak one; the ratings' own warnings say so and why."""
    try:
        return ALL_RATERS[method].fit(cells)
    except NotIdentifiable:
        return ALL_RATERS[method].fit(cells, prior=PRIOR_SD)


def build_leaderboard(
    ratings: Ratings | None,
    *,
    elo: Ratings | None = None,
    cards: Sequence[GeneratorCard] = (),
    measures: pd.DataFrame | None = None,
    costs: pd.DataFrame | None = None,
    requests: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row a model: `RATING_COLUMNS`, `CARD_COLUMNS`, and one column for each column of `measures` (index: model).

    Rated models come first, best first; then those without votes, by name, with a missing rank and 0 votes. Missing
    numbers are NaN or <NA>. `win_rate` is in [0, 1]. `costs` (see `model_costs`) goes before the price on a card;
    `requests` is of `request_table`.
    """
    by_name = {card.name: card for card in cards}
    frame = _rating_rows(ratings, set(by_name) | set(() if measures is None else measures.index))
    columns = {"elo": "rating", "elo_lower": "rating_lower", "elo_upper": "rating_upper"}
    points = pd.DataFrame() if elo is None else elo.to_frame().set_index("model")
    for column, source in columns.items():
        known_points = points[source].to_dict() if source in points else {}
        frame[column] = [float(known_points.get(model, math.nan)) for model in frame["model"]]
    known = [by_name.get(model, GeneratorCard(model)) for model in frame["model"]]
    for column in CARD_WORDS:
        frame[column] = pd.array([getattr(card, column) or None for card in known], dtype="str")
    frame["open_weights"] = pd.array([card.open_weights for card in known], dtype="boolean")
    frame["parameters"] = pd.array([card.parameters for card in known], dtype="Int64")
    for table, names in ((requests, REQUEST_COLUMNS), (costs, COST_COLUMNS)):
        for column in names:
            amounts = table[column].to_dict() if table is not None else {}
            frame[column] = [float(amounts.get(model, math.nan)) for model in frame["model"]]
    frame = frame.astype(dict.fromkeys(COUNTS, "Int64"))
    on_card = [math.nan if card.usd_per_image is None else float(card.usd_per_image) for card in known]
    frame["usd_per_image"] = frame["usd_per_image"].fillna(pd.Series(on_card, dtype=np.float64))
    frame = frame[[*RATING_COLUMNS, *CARD_COLUMNS]]
    if measures is None:
        return frame
    if taken := [name for name in measures.columns if name in frame.columns]:
        raise InputError(f"a metric cannot be called {taken[0]!r}: the leaderboard has a column of that name")
    return frame.join(measures, on="model")


def _rating_rows(ratings: Ratings | None, models: set[str]) -> pd.DataFrame:
    """Rated models in their order, then the others."""
    rated = _no_ratings(()) if ratings is None else ratings.to_frame()
    unrated = _no_ratings(sorted(models - set(rated["model"])))
    if rated.empty or unrated.empty:
        return unrated if rated.empty else rated
    return pd.concat([rated, unrated.astype(rated.dtypes.to_dict() | {"rank": "Int64"})], ignore_index=True)


def _no_ratings(models: Sequence[str]) -> pd.DataFrame:
    missing = np.full(len(models), np.nan)
    ranks = pd.array([pd.NA] * len(models), dtype="Int64")
    return pd.DataFrame(
        {
            "model": pd.array(list(models), dtype="str"),
            "rating": missing,
            "rating_lower": missing,
            "rating_upper": missing,
            "variance": missing,
            "rank": ranks,
            "rank_lower": ranks,
            "rank_upper": ranks,
            "n_votes": np.zeros(len(models), np.int64),
            "win_rate": missing,
        }
    )


def measures_by_model(results: pd.DataFrame) -> Measures:
    """Metric results (as `Store.metric_results` gives them) as one column a metric.

    Numbers of different protocols do not share a column: of several, the one that covers most models is shown, among
    equals the latest, and a warning says so.
    """
    columns: dict[str, pd.Series[float]] = {}
    protocols: dict[str, dict[str, Any]] = {}
    warnings = []
    for metric in dict.fromkeys(results["metric"]):
        rows = results[results["metric"] == metric]
        models = rows.groupby("signature", sort=False)["model"].count()
        last_seen = {signature: position for position, signature in enumerate(rows["signature"])}
        chosen = max(models.index, key=lambda signature: (models[signature], last_seen[signature]))
        if len(models) > 1:
            warnings.append(
                f"{metric} was measured under {len(models)} protocols, which cannot be compared; "
                f"the board shows {chosen} ({models[chosen]} models)"
            )
        shown = rows[rows["signature"] == chosen]
        columns[metric] = shown.set_index("model")["value"]
        protocols[metric] = {"signature": chosen, "higher_is_better": bool(shown["higher_is_better"].iloc[0])}
    frame = pd.DataFrame(columns).sort_index() if columns else pd.DataFrame(index=pd.Index([], dtype="str"))
    return Measures(frame, protocols, tuple(warnings))


def leaderboard_document(
    board: pd.DataFrame,
    ratings: Ratings | None,
    *,
    voters: Voters,
    elo: Ratings | None = None,
    protocols: Mapping[str, Mapping[str, Any]] | None = None,
    warnings: Sequence[str] = (),
    category: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The board as JSON values, schema `paragone.leaderboard/1`: the same votes give the same document.

    No time, no NaN (missing is None), rows in the board's order. `measures` says under which protocol each metric's
    column was measured.
    """
    parameters: dict[str, Any] = {"method": None if ratings is None else ratings.method}
    if ratings is not None:
        parameters["ratings"] = dict(ratings.parameters)
    if elo is not None:
        parameters["elo"] = dict(elo.parameters)
    return {
        "schema": SCHEMA,
        "voters": voters,
        **({"category": dict(category)} if category else {}),
        "n_votes": 0 if ratings is None else ratings.n_votes,
        "models": [{str(k): _plain(v) for k, v in row.items()} for row in board.to_dict("records")],
        "measures": {name: dict(protocol) for name, protocol in (protocols or {}).items()},
        "ratings": None if ratings is None else ratings.to_dict(),
        "parameters": parameters,
        "warnings": list(warnings),
    }


def leaderboard_csv(board: pd.DataFrame) -> str:
    """The board as CSV; text that a spreadsheet would run as a formula is kept from it by an apostrophe in front."""
    safe = board.rename(columns=lambda name: _inert(str(name)))
    for name, dtype in zip(safe.columns, safe.dtypes, strict=True):
        if isinstance(dtype, pd.StringDtype):
            safe[name] = [_inert(value) if isinstance(value, str) else value for value in safe[name]]
    return safe.to_csv(index=False, lineterminator="\n")


def _inert(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def rank_text(row: Mapping[Any, Any]) -> str:
    """The ranks that a row's interval leaves open, "2–4"; without an interval the rank, and without that "–"."""
    if is_missing(row["rank"]):
        return "–"
    lower, upper = row["rank_lower"], row["rank_upper"]
    return str(row["rank"]) if is_missing(lower) or lower == upper else f"{lower}–{upper}"


def is_missing(value: Any) -> bool:
    """Whether a value of a board is None, NaN or <NA>."""
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _plain(value: Any) -> Any:
    if is_missing(value):
        return None
    return value.item() if isinstance(value, np.generic) else value
