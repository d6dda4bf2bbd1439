"""What `paragone rate` fits, by which options; one that would do nothing is refused before a vote is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from paragone.data.errors import ParagoneError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from paragone.arena.ratings import Ratings

Anchor = tuple[str, float] | None
Interval = Literal["none", "sandwich", "bootstrap", "profile"]

# The names of ALL_RATERS, which need not be imported for --help, and the intervals that each has.
INTERVALS: dict[str, tuple[Interval, ...]] = {
    "elo": ("none", "bootstrap"),
    "bradley-terry": ("none", "sandwich", "bootstrap", "profile"),
    "davidson": ("none", "sandwich", "bootstrap", "profile"),
    "rao-kupper": ("none", "sandwich", "bootstrap", "profile"),
    "contextual": ("none", "sandwich", "bootstrap"),
    "crowd-bt": ("none", "sandwich"),
}
METHODS = tuple(INTERVALS)
FLAGS = ("duplicate", "fast", "burst", "constant-side", "always-tie", "outlier")  # of vote_quality, without "golden"
QUALITY = ("battle", "prompt", "created_at", "seconds", "reaction_ms", "dwell_ms", "shown_at", "consumed_at")


@dataclass(frozen=True, slots=True)
class Plan:
    """The options of a fit."""

    method: str | None  # None: what the other options ask for
    ci: Interval | None
    bootstrap: int | None
    seed: int | None
    anchor: Anchor
    k: float | None
    by: str | None
    pool: bool
    cluster: str | None
    both_bad: Literal["tie", "drop"]
    prior: float | None
    covariates: tuple[str, ...]
    side: bool
    voter: str | None
    joint: str | None
    explain: str | None
    history: bool  # whether Elo's history is drawn

    def __post_init__(self) -> None:
        self._check_boards()
        allowed = INTERVALS[self.rater]
        if self.ci is not None and self.ci not in allowed:
            kinds = [kind for kind in allowed if kind != "none"]
            raise UsageError(
                f"--ci {self.ci}: {self.rater} has {' and '.join(kinds)} intervals only; use --ci {kinds[0]}"
            )
        elo = self.rater == "elo"
        idle = {
            "--k": self.k is not None and not (elo or self.history),
            "--cluster": self.cluster is not None
            and (self.rater in ("elo", "crowd-bt") or self.pool or self.ci in ("none", "profile")),
            "--prior": self.prior is not None and (elo or self.joint is not None),
            "--bootstrap": self.bootstrap is not None and self.ci != "bootstrap",
            "--seed": self.seed is not None and self.ci != "bootstrap",
            "--covariate": bool(self.covariates) and self.rater != "contextual",
            "--side": self.side and self.rater != "contextual",
            "--voter": self.voter is not None and self.rater != "crowd-bt",
        }
        for option, useless in idle.items():
            if useless:
                chosen = f"--method {self.rater}" + (f" --ci {self.ci}" if self.ci else "")
                chosen += " --pool" if self.pool else " --joint" if self.joint else ""
                raise UsageError(
                    f"{option} does nothing with {chosen}; leave it out, or choose another --method or --ci"
                )

    def _check_boards(self) -> None:
        if self.pool and self.by is None:
            raise UsageError("--pool: say which boards share what they know; use --by COLUMN --pool")
        if self.explain is not None and self.by is not None:
            raise UsageError("--explain tells of one board; leave --by out")
        for option, chosen in (("--pool", self.pool), ("--joint", self.joint), ("--explain", self.explain)):
            if chosen and self.rater != "bradley-terry":
                raise UsageError(f"{option} is for Bradley-Terry ratings, not for --method {self.rater}")
        if self.pool and self.joint is not None:
            raise UsageError("--pool and --joint cannot be combined; choose one")
        if (self.pool and self.ci not in (None, "none")) or (self.joint and self.ci is not None):
            option = "--pool" if self.pool else "--joint"
            raise UsageError(f"--ci {self.ci} does nothing with {option}, which has intervals of its own; leave it out")

    @property
    def rater(self) -> str:
        """The method, or the one that --covariate, --side or --voter ask for."""
        if self.method is not None:
            return self.method
        if self.covariates or self.side:
            return "contextual"
        return "crowd-bt" if self.voter is not None else "bradley-terry"

    def columns(self, path: Path) -> tuple[list[str], list[str]]:
        """The columns to read: those that must be there, and those that are welcome."""
        voter = (self.voter or "voter") if self.rater == "crowd-bt" else None
        extra = [name for name in (self.by, self.cluster, voter, self.joint) if name is not None]
        if self.covariates:
            from paragone.arena.covariates import covariate_columns
            from paragone.arena.vote_files import vote_columns

            extra += covariate_columns(self.covariates, vote_columns(path))
        optional = ["weight"]
        if self.rater == "elo" or self.history:
            optional.append("created_at")
        if self.joint is not None:
            optional += ["battle", "prompt"]
        if self.explain is not None:
            optional += ["voter", "prompt"]
        return list(dict.fromkeys(extra)), optional

    def boards(self, votes: pd.DataFrame, source: str) -> dict[str, tuple[Ratings, pd.DataFrame]]:
        """Ratings and votes of each value of `by`; without `by` there is one board, called ""."""
        groups = _split(votes, self.by, source)
        if self.pool:
            return self._pooled(votes, groups, source)
        fitted = {}
        for value, group in groups.items():
            try:
                fitted[value] = (self.fit(group), group)
            except ParagoneError as error:
                where = f"{source}: {self.by} = {value}" if self.by else source
                raise type(error)(f"{where}: {error}") from error
        return fitted

    def _pooled(
        self, votes: pd.DataFrame, groups: dict[str, pd.DataFrame], source: str
    ) -> dict[str, tuple[Ratings, pd.DataFrame]]:
        from paragone.arena.categories import fit_categories

        try:
            ratings = fit_categories(
                votes.assign(**{cast("str", self.by): votes[self.by].map(str)}),
                by=cast("str", self.by),
                ci="none" if self.ci == "none" else "posterior",
                anchor=self.anchor,
                both_bad=self.both_bad,
                prior=self.prior,
            )
        except ParagoneError as error:
            raise type(error)(f"{source}: {error}") from error
        return {value: (board, groups[value]) for value, board in ratings.items()}

    def fit(self, votes: pd.DataFrame) -> Ratings:
        """The ratings of one board."""
        if self.joint is not None:
            from paragone.arena.joint import fit_joint

            return fit_joint(votes, kind=self.joint, cluster=self.cluster, anchor=self.anchor, both_bad=self.both_bad)
        fit = {"elo": self._elo, "contextual": self._contextual, "crowd-bt": self._crowd}.get(self.rater)
        return fit(votes) if fit else self._outcome_model(votes)

    def _elo(self, votes: pd.DataFrame) -> Ratings:
        from paragone.arena.elo import fit_elo

        return fit_elo(
            votes,
            k=4.0 if self.k is None else self.k,
            both_bad=self.both_bad,
            anchor=self.anchor,
            ci="bootstrap" if self.ci == "bootstrap" else "none",
            bootstrap=self.bootstrap or 200,
            seed=self.seed or 0,
        )

    def _contextual(self, votes: pd.DataFrame) -> Ratings:
        from paragone.arena.contextual import fit_contextual

        return fit_contextual(
            votes,
            covariates=self.covariates,
            side=self.side,
            ci=cast("Literal['none', 'sandwich', 'bootstrap']", self.ci or "sandwich"),
            bootstrap=self.bootstrap or 1000,
            seed=self.seed or 0,
            cluster=self.cluster,
            anchor=self.anchor,
            both_bad=self.both_bad,
            prior=self.prior,
        )

    def _crowd(self, votes: pd.DataFrame) -> Ratings:
        from paragone.arena.crowd import fit_crowd

        return fit_crowd(
            votes,
            voter=self.voter or "voter",
            ci="none" if self.ci == "none" else "sandwich",
            anchor=self.anchor,
            both_bad=self.both_bad,
            prior=self.prior,
        )

    def _outcome_model(self, votes: pd.DataFrame) -> Ratings:
        from paragone.arena.ratings import ALL_RATERS

        return ALL_RATERS[self.rater].fit(
            votes,
            ci=self.ci or "sandwich",
            bootstrap=self.bootstrap or 1000,
            seed=self.seed or 0,
            cluster=self.cluster,
            anchor=self.anchor,
            both_bad=self.both_bad,
            prior=self.prior,
        )


def read_table(path: Path, plan: Plan, *, quality: bool) -> pd.DataFrame:
    """The votes of a file, with the columns that the plan needs and, for `quality`, those that flags are read from."""
    from paragone.arena.vote_files import read_votes
    from paragone.arena.votes import code_clusters

    extra, welcome = plan.columns(path)
    if quality:
        extra, welcome = [*extra, "voter"], [*welcome, *QUALITY]
    table = read_votes(path, extra=extra, optional=dict.fromkeys(welcome))
    if plan.cluster is not None:
        code_clusters(table, plan.cluster, source=str(path))
    return table


@dataclass(frozen=True, slots=True, eq=False)
class Screened:
    """Votes without those that somebody did not want, and all flags that there were."""

    votes: pd.DataFrame
    flags: pd.DataFrame
    note: str
    more: dict[str, Any]  # for the JSON document


def screen(votes: pd.DataFrame, exclude: tuple[str, ...], source: str) -> Screened:
    """Flag votes, and leave out those with a flag of `exclude`; one that could not be looked for is an error."""
    from paragone.arena.vote_quality import flag_votes, flagged

    flags = flag_votes(votes)
    names = FLAGS if "all" in exclude else exclude
    not_run = {name: why for name, why in flags.attrs["not_run"].items() if name in FLAGS}
    for name in exclude:
        if name in not_run:
            raise UsageError(f"{source}: --exclude-flagged {name}: {not_run[name]}")
    excluded = [name for name in FLAGS if name in names and name not in not_run]
    out = flagged(votes, flags, exclude=excluded)
    found = {name: int((flags["flag"] == name).sum()) for name in FLAGS if name not in not_run}
    n_out = int(out.sum())
    counts = ", ".join(f"{count} {name}" for name, count in found.items())
    note = f"flags: {counts}; {n_out:,} of {len(votes):,} votes are left out"
    if not_run:
        note += f" (not looked for: {', '.join(not_run)})"
    if n_out == len(votes):
        raise UsageError(f"{source}: every vote is flagged; exclude fewer flags")
    kept = votes[~out].reset_index(drop=True)
    kept.attrs = dict(votes.attrs)
    flags = flags.assign(row=flags["row"] + 1)  # rows count votes from 1
    more = {"found": found, "not_run": not_run, "excluded": excluded, "n_excluded": n_out}
    return Screened(kept, flags, note, {"flags": more})


def _split(table: pd.DataFrame, by: str | None, source: str) -> dict[str, pd.DataFrame]:
    from paragone.arena.votes import code_clusters

    if by is None:
        return {"": table}
    code_clusters(table, by, source=source)
    groups = table.groupby(table[by].map(str), sort=True)
    return {str(value): votes.reset_index(drop=True) for value, votes in groups}
