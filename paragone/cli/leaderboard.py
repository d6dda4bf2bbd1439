"""`paragone leaderboard`: the board of a project folder, as a table, JSON or CSV."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from paragone.arena.leaderboard import (
    METHODS,
    VOTERS,
    Leaderboard,
    Voters,
    is_missing,
    kinds_with_votes,
    leaderboard_csv,
    rank_text,
    store_leaderboard,
)
from paragone.arena.store import Store
from paragone.cli.output import check_writable, write_json
from paragone.cli.tables import printable
from paragone.data.errors import UsageError
from paragone.data.files import write_atomically
from paragone.data.project import Project
from paragone.data.records import Task

FULL_WIDTH = 200  # columns of a table that goes to a file or a pipe
NAME_WIDTH = 28
_SHORT = {
    "precision": "prec",
    "authenticity": "auth",
    "alignment": "align",
    "coverage": "cover",
    "density": "dens",
}
_METHOD = {"bradley-terry": "Bradley-Terry", "davidson": "Davidson", "elo": "Elo", "joint": "joint"}
_WHOSE = {
    "human": "people",
    "judge": "judges",
    "all": "people and judges together",
    "joint": "people, made sharper by judges",
}


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    show_default="here",
    help="Project folder.",
)
@click.option("--db", "url", metavar="URL", help="Database, a path or sqlite:///…, instead of the project's arena.db.")
@click.option(
    "--voters",
    type=click.Choice(VOTERS),
    help="Whose votes count. Without it: the only kind that has voted, else a board for each. 'all' mixes the two; "
    "'joint' makes people's ratings sharper by the judges' votes on the same pictures.",
)
@click.option("--tag", help="Only votes on prompts with this tag.")
@click.option("--task", type=click.Choice([str(task) for task in Task]), help="Only votes on prompts of this task.")
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="bradley-terry",
    show_default=True,
    help="How votes become ratings.",
)
@click.option(
    "--json", "json_target", metavar="FILE|-", help="Write the board as JSON; with - nothing else is printed."
)
@click.option("--csv", "csv_target", metavar="FILE", help="Write the board as CSV.")
def leaderboard(
    folder: Path,
    url: str | None,
    voters: Voters | None,
    tag: str | None,
    task: str | None,
    method: str,
    json_target: str | None,
    csv_target: str | None,
) -> None:
    """Print the leaderboard of a project folder.

    Ratings with their 95 % intervals and rank intervals, and the measures beside them.
    """
    check_writable(json_target)
    check_writable(csv_target)
    with Store(url or Project.open(folder).database) as store:
        wanted = [voters] if voters else default_voters(store)
        if len(wanted) > 1 and (json_target or csv_target):
            raise UsageError(
                f"both people and judges have voted; say whose board to write with --voters {'|'.join(VOTERS)}"
            )
        boards = [store_leaderboard(store, voters=kind, method=method, tag=tag, task=task) for kind in wanted]
    if json_target:
        write_json(boards[0].document(), json_target)
    if csv_target:
        write_atomically(Path(csv_target), leaderboard_csv(boards[0].frame).encode())
    if json_target != "-":
        for board in boards:
            print_board(board)


def default_voters(store: Store) -> list[Voters]:
    """Whose boards to show when nobody said: one for each kind that has voted; of no votes, an empty board of all."""
    return sorted(kinds_with_votes(store)) or ["all"]


def publish_leaderboard(folder: Path) -> None:
    """Write a project's `leaderboard.json` and `leaderboard.csv`, and print the board.

    The board is the judges' where judges have voted, else the people's.
    """
    project = Project.open(folder)
    with Store(project.database) as store:
        board = store_leaderboard(store, voters=default_voters(store)[-1])
    write_json(board.document(), str(project.leaderboard))
    write_atomically(project.leaderboard.with_suffix(".csv"), leaderboard_csv(board.frame).encode())
    print_board(board)


def print_board(board: Leaderboard) -> None:
    """The board as a table on stdout. Measures that the terminal has no room for are named below it."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = FULL_WIDTH
    measures = list(board.measures.frame.columns)
    n_shown = len(measures)
    unlimited = Console(width=sys.maxsize)
    while n_shown and unlimited.measure(_table(board, measures[:n_shown])).maximum > console.width:
        n_shown -= 1
    console.print()
    console.print(_table(board, measures[:n_shown]))
    console.print()
    console.print(f"{_title(board)}.", style="dim", markup=False, soft_wrap=True)
    if n_shown < len(measures):
        names = ", ".join(printable(name) for name in measures[n_shown:])
        console.print(f"No room for: {names} (a wider terminal or --csv has them).", markup=False, soft_wrap=True)
    for warning in board.warnings:
        console.print(f"! {printable(warning)}", style="yellow", markup=False, soft_wrap=True)


def _title(board: Leaderboard) -> str:
    n = 0 if board.ratings is None else board.ratings.n_votes
    whose = _WHOSE[board.voters]
    if board.ratings is None:
        return "No votes yet; to give some: paragone serve"
    intervals = ", ± is the 95 % interval" if board.ratings.rating_lower is not None else ", without intervals"
    votes = f"{n:,} vote{'s' * (n != 1)} of {whose}"
    if board.category:
        votes += f" on prompts of {' and '.join(f'{name} {printable(word)}' for name, word in board.category.items())}"
    return f"{votes}; {_METHOD[board.ratings.method]} ratings{intervals}; Elo in the order of the votes"


def _table(board: Leaderboard, measures: list[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("model", no_wrap=True, overflow="ellipsis", max_width=NAME_WIDTH)
    for name in ("rating", "Elo", "votes", "win%"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in measures:
        arrow = "↑" if board.measures.protocols[name]["higher_is_better"] else "↓"
        table.add_column(Text(f"{_SHORT.get(name, printable(name))}{arrow}"), justify="right", no_wrap=True)
    for row in board.frame.to_dict("records"):
        cells: list[str | Text] = [rank_text(row), Text(printable(row["model"])), _rating(row), _number(row["elo"], 0)]
        cells += [f"{row['n_votes']:,}", _number(100 * row["win_rate"], 0)]
        table.add_row(*cells, *(_measure(row[name]) for name in measures))
    return table


def _rating(row: dict[Any, Any]) -> str:
    if is_missing(row["rating"]):
        return "–"
    if is_missing(row["rating_lower"]):
        return f"{row['rating']:.0f}"
    below, above = row["rating"] - row["rating_lower"], row["rating_upper"] - row["rating"]
    if abs(below - above) < 1:
        return f"{row['rating']:.0f} ± {(below + above) / 2:<3.0f}"
    return f"{row['rating']:.0f} −{below:.0f} +{above:.0f}"


def _number(value: float, decimals: int) -> str:
    return "–" if is_missing(value) else f"{value:.{decimals}f}"


def _measure(value: float) -> str:
    if is_missing(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")
