"""The leaderboard: ratings with rank intervals, online Elo, facts about each model and its measures, in one table.

Votes of people and of judges are never mixed in silence: a board says whose votes it counts (`human`, `judge`, or `all`
when somebody asked for the mix). Models without votes are listed without a rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from paragone.arena.elo import fit_elo
from paragone.arena.ratings import ALL_RATERS, Ratings
from paragone.arena.store import Store
from paragone.arena.votes import Cells
from paragone.data.errors import InputError, NotIdentifiable, UsageError
from paragone.data.records import GeneratorCard, VoterKind

SCHEMA = "paragone.leaderboard/1"
ELO_INTERVAL_VOTES = 50_000  # up to so many votes a board shows Elo's interval, which takes about 10 µs a vote
PRIOR_SD = 400.0  # rating points; only where the votes alone leave a rating without bound
Voters = Literal["human", "judge", "all"]
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
CARD_COLUMNS = ("licence", "open_weights", "usd_per_image")


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

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return leaderboard_document(
            self.frame,
            self.ratings,
            voters=self.voters,
            elo=self.elo,
            protocols=self.measures.protocols,
            warnings=self.warnings,
        )


def store_leaderboard(store: Store, *, voters: Voters, method: str = "bradley-terry") -> Leaderboard:
    """The board of a store; raises `NotIdentifiable` when the votes determine no ratings even with a weak prior."""
    if method not in METHODS:
        raise UsageError(f"method={method!r}: use one of {', '.join(METHODS)}")
    kind = None if voters == "all" else VoterKind(voters)
    counts = store.pair_counts(kind)
    ratings = elo = None
    warnings: list[str] = []
    if len(counts):
        votes = store.votes(kind)
        elo = fit_elo(votes, ci="bootstrap" if len(votes) <= ELO_INTERVAL_VOTES else "none")
        ratings = elo if method == "elo" else fit_or_prior(method, Cells.from_counts(counts))
        if ratings.parameters.get("prior") is not None:
            warnings.append(f"ratings are drawn together by a prior (standard deviation {PRIOR_SD:.0f} points)")
        warnings += ratings.warnings
    measures = measures_by_model(store.metric_results())
    frame = build_leaderboard(ratings, elo=elo, cards=store.generators(), measures=measures.frame)
    return Leaderboard(voters, frame, ratings, elo, measures, (*warnings, *measures.warnings))


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
) -> pd.DataFrame:
    """One row a model: `RATING_COLUMNS`, `CARD_COLUMNS`, and one column for each column of `measures` (index: model).

    Rated models come first, best first; then those without votes, by name, with a missing rank and 0 votes. Missing
    numbers are NaN or <NA>. `win_rate` is in [0, 1]; `usd_per_image` is a float.
    """
    table = {card.name: card for card in cards}
    frame = _rating_rows(ratings, set(table) | set(() if measures is None else measures.index))
    columns = {"elo": "rating", "elo_lower": "rating_lower", "elo_upper": "rating_upper"}
    points = pd.DataFrame() if elo is None else elo.to_frame().set_index("model")
    for column, source in columns.items():
        known_points = points[source].to_dict() if source in points else {}
        frame[column] = [float(known_points.get(model, math.nan)) for model in frame["model"]]
    known = [table.get(model, GeneratorCard(model)) for model in frame["model"]]
    frame["licence"] = pd.array([card.licence for card in known], dtype="str")
    frame["open_weights"] = pd.array([card.open_weights for card in known], dtype="boolean")
    prices = [card.usd_per_image for card in known]
    frame["usd_per_image"] = [math.nan if price is None else float(price) for price in prices]
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
