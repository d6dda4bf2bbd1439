"""`paragone rate`: a file of votes becomes ratings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from paragone.data.errors import ParagoneError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from paragone.arena.ratings import Ratings

METHODS = (
    "elo",
    "bradley-terry",
    "davidson",
    "rao-kupper",
)  # the names of ALL_RATERS, which need not be imported for --help


def _parse_anchor(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[str, float] | None:
    """Split MODEL=RATING at the last equals sign: a name may hold others."""
    if text is None:
        return None
    model, _, rating = text.rpartition("=")
    try:
        return (model, float(rating)) if model else _refuse_anchor(text)
    except ValueError:
        return _refuse_anchor(text)


def _refuse_anchor(text: str) -> tuple[str, float]:
    raise UsageError(f"--anchor {text}: write it as MODEL=RATING, such as --anchor my-model=1200")


@click.command()
@click.argument("votes", type=click.Path(path_type=Path))
@click.option("--method", type=click.Choice(METHODS), default="bradley-terry", show_default=True, help="How to rate.")
@click.option(
    "--ci",
    type=click.Choice(["none", "sandwich", "bootstrap"]),
    help="95 % intervals: from the sandwich covariance (default), from the bootstrap, or none (Elo's default).",
)
@click.option("--bootstrap", type=click.IntRange(min=100), metavar="N", help="Bootstrap replicates [default: 1000].")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Of the bootstrap [default: 0].")
@click.option(
    "--anchor", callback=_parse_anchor, metavar="MODEL=RATING", help="Fix one model's rating; else the mean is 1000."
)
@click.option("--k", type=float, metavar="K", help="Elo: the largest change by one vote, in points [default: 4].")
@click.option("--by", metavar="COLUMN", help="One board for each value of this column, such as category.")
@click.option(
    "--cluster", metavar="COLUMN", help="Votes with the same value here (voter, prompt) may depend on each other."
)
@click.option(
    "--both-bad",
    type=click.Choice(["tie", "drop"]),
    default="tie",
    show_default=True,
    help="Count a both_bad vote as a tie, or drop it.",
)
@click.option(
    "--prior", type=float, metavar="SD", help="Gaussian prior on each rating: its standard deviation in points."
)
@click.option("--json", "json_target", metavar="FILE|-", help="Write the ratings as JSON to FILE, or to stdout with -.")
@click.option("--csv", "csv_target", metavar="FILE", help="Write the table as CSV to FILE.")
def rate(
    votes: Path,
    method: Literal["elo", "bradley-terry", "davidson", "rao-kupper"],
    ci: Literal["none", "sandwich", "bootstrap"] | None,
    bootstrap: int | None,
    seed: int | None,
    anchor: tuple[str, float] | None,
    k: float | None,
    by: str | None,
    cluster: str | None,
    both_bad: Literal["tie", "drop"],
    prior: float | None,
    json_target: str | None,
    csv_target: str | None,
) -> None:
    """Turn a file of pairwise votes into ratings with intervals.

    VOTES is a .csv, .jsonl or .parquet file with the columns model_a, model_b and winner (model_a, model_b, tie or
    both_bad), and optionally weight, voter, prompt, category and created_at.
    """
    from paragone.cli.output import check_writable, write_json

    if csv_target == "-":
        raise UsageError("--csv -: name a file; for results on stdout use --json -")
    check_writable(json_target)
    check_writable(csv_target)
    plan = _Plan(method, ci, bootstrap, seed, anchor, k, cluster, both_bad, prior)
    boards = _rate_file(votes, plan, by)
    if json_target:
        write_json(_document(boards, by), json_target)
    if csv_target:
        _write_csv(boards, by, csv_target)
    for value, ratings in boards.items():
        if json_target != "-":
            _print_board(ratings, f"{by} = {value}" if by else "")
        _print_warnings(ratings, f"{by} = {value}: " if by else "")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to fit; options that would do nothing are refused."""

    method: str
    ci: Literal["none", "sandwich", "bootstrap"] | None
    bootstrap: int | None
    seed: int | None
    anchor: tuple[str, float] | None
    k: float | None
    cluster: str | None
    both_bad: Literal["tie", "drop"]
    prior: float | None

    def __post_init__(self) -> None:
        elo = self.method == "elo"
        if elo and self.ci == "sandwich":
            raise UsageError("--ci sandwich: elo has bootstrap intervals only; use --ci bootstrap")
        idle = {
            "--k": self.k is not None and not elo,
            "--cluster": self.cluster is not None and (elo or self.ci == "none"),
            "--prior": self.prior is not None and elo,
            "--bootstrap": self.bootstrap is not None and self.ci != "bootstrap",
            "--seed": self.seed is not None and self.ci != "bootstrap",
        }
        for option, useless in idle.items():
            if useless:
                chosen = f"--method {self.method}" + (f" --ci {self.ci}" if self.ci else "")
                raise UsageError(
                    f"{option} does nothing with {chosen}; leave it out, or choose another --method or --ci"
                )

    def fit(self, votes: pd.DataFrame) -> Ratings:
        """The ratings of one board."""
        from paragone.arena.elo import fit_elo
        from paragone.arena.ratings import ALL_RATERS

        if self.method == "elo":
            return fit_elo(
                votes,
                k=4.0 if self.k is None else self.k,
                both_bad=self.both_bad,
                anchor=self.anchor,
                ci="bootstrap" if self.ci == "bootstrap" else "none",
                bootstrap=self.bootstrap or 200,
                seed=self.seed or 0,
            )
        return ALL_RATERS[self.method].fit(
            votes,
            ci=self.ci or "sandwich",
            bootstrap=self.bootstrap or 1000,
            seed=self.seed or 0,
            cluster=self.cluster,
            anchor=self.anchor,
            both_bad=self.both_bad,
            prior=self.prior,
        )


def _rate_file(path: Path, plan: _Plan, by: str | None) -> dict[str, Ratings]:
    """The ratings of each board by its value of `by`; without `by` there is one, called ""."""
    from paragone.arena.votes import code_clusters, read_votes

    table = read_votes(path, extra=[column for column in (by, plan.cluster) if column is not None])
    if plan.cluster is not None:
        code_clusters(table, plan.cluster, source=str(path))
    boards = {}
    for value, votes in _split(table, by, path).items():
        try:
            boards[value] = plan.fit(votes)
        except ParagoneError as error:
            where = f"{path}: {by} = {value}" if by else str(path)
            raise type(error)(f"{where}: {error}") from error
    return boards


def _split(table: pd.DataFrame, by: str | None, path: Path) -> dict[str, pd.DataFrame]:
    from paragone.arena.votes import code_clusters

    if by is None:
        return {"": table}
    code_clusters(table, by, source=str(path))
    groups = table.groupby(table[by].map(str), sort=True)
    return {str(value): votes.reset_index(drop=True) for value, votes in groups}


def _document(boards: Mapping[str, Ratings], by: str | None) -> dict[str, object]:
    from paragone.arena.ratings import SCHEMA

    if by is None:
        return boards[""].to_dict()
    return {"schema": SCHEMA, "by": by, "groups": {value: ratings.to_dict() for value, ratings in boards.items()}}


def _write_csv(boards: Mapping[str, Ratings], by: str | None, target: str) -> None:
    import pandas as pd

    from paragone.data.files import write_atomically

    frames = []
    for value, ratings in boards.items():
        frame = ratings.to_frame()
        if by is not None:
            frame.insert(0, by, value, allow_duplicates=True)
        frames.append(frame)
    write_atomically(Path(target), pd.concat(frames).to_csv(index=False).encode())


def _print_board(ratings: Ratings, title: str) -> None:
    from rich.markup import escape
    from rich.table import Table

    from paragone.cli.output import stdout

    lower, upper, ranks = ratings.rating_lower, ratings.rating_upper, ratings.rank_interval
    table = Table(box=None, title=escape(_printable(title)) or None, title_justify="left")
    table.add_column("rank", justify="right")
    if ranks is not None:
        table.add_column("ranks", justify="right")
    table.add_column("model", overflow="fold")
    table.add_column("rating", justify="right")
    if lower is not None:
        table.add_column("95 % interval", justify="right")
    table.add_column("votes", justify="right")
    table.add_column("win rate", justify="right")
    for m, model in enumerate(ratings.models):
        cells = [str(ratings.rank[m])]
        if ranks is not None:
            cells.append(f"{ranks[0][m]}–{ranks[1][m]}")
        cells += [escape(_printable(model)), f"{ratings.rating[m]:.1f}"]
        if lower is not None and upper is not None:
            cells.append(f"{lower[m]:.1f} … {upper[m]:.1f}")
        share = ratings.win_rate[m]
        cells += [f"{ratings.model_votes[m]:,}", "–" if share != share else f"{share:.1%}"]
        table.add_row(*cells)
    stdout.print(table)
    interval = "no intervals" if lower is None else f"95 % intervals: {ratings.parameters['ci']}"
    stdout.print(f"[dim]{ratings.method}, {ratings.n_votes:,} votes, {interval}[/dim]")


def _printable(text: str) -> str:
    """A name as a terminal may show it: no control characters."""
    return "".join(character if character.isprintable() else "�" for character in text)


def _print_warnings(ratings: Ratings, prefix: str) -> None:
    from rich.markup import escape

    from paragone.cli.output import stderr

    for line in ratings.warnings:
        stderr.print(f"warning: {escape(_printable(prefix + line))}", soft_wrap=True)
