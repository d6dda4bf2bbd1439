"""`paragone leaderboard`: the board of a project folder, as a table, JSON or CSV."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from paragone.arena.conditions import Condition, chosen_columns, filtered
from paragone.arena.costs import COST_COLUMNS
from paragone.arena.deliveries import REQUEST_COLUMNS
from paragone.arena.leaderboard import (
    CARD_WORDS,
    COUNTS,
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
from paragone.cli.output import check_writable, stdout, write_json
from paragone.cli.tables import printable
from paragone.data.errors import UsageError
from paragone.data.files import write_atomically
from paragone.data.project import Project
from paragone.data.records import Task

COLUMN_KINDS = {  # names for several columns
    "card": (*CARD_WORDS, "open_weights", "parameters"),
    "requests": REQUEST_COLUMNS,
    "costs": COST_COLUMNS,
}
FULL_WIDTH = 200  # columns of a table that goes to a file or a pipe
NAME_WIDTH = 28
_SHORT = {  # of columns, where the terminal wants to be spared
    "precision": "prec",
    "authenticity": "auth",
    "alignment": "align",
    "coverage": "cover",
    "density": "dens",
    "n_requests": "requests",
    "n_refused": "refused",
    "n_filtered": "filtered",
    "n_failed": "failed",
    "delivered_lower": "from",
    "delivered_upper": "to",
    "open_weights": "open",
    "usd_per_image": "$/image",
    "usd_per_megapixel": "$/MP",
    "usd_per_second": "$/s",
    "usd_paid": "$ paid",
    "usd_per_delivered": "$/delivered",
    "usd_per_accepted": "$/accepted",
    "usd_paid_per_megapixel": "$ paid/MP",
    "latency_s": "p50 s",
    "latency_p95_s": "p95 s",
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
    "--columns",
    metavar="NAME,…",
    help="The columns beside rank and model, in the table and in the CSV, by their names in the JSON; 'requests', "
    "'costs' and 'card' stand for all of their kind.",
)
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="CONDITION",
    help="Only models that meet it, repeatable: open_weights=yes, parameters<=12e9, released>=2026-01-01, "
    "family~flow, licence=unknown. Ranks stay those among all.",
)
@click.option("--on", "day", metavar="DAY", show_default="today", help="List prices as of this day, as 2026-01-31.")
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
    columns: str | None,
    filters: tuple[str, ...],
    day: str | None,
    json_target: str | None,
    csv_target: str | None,
) -> None:
    """Print the leaderboard of a project folder.

    Ratings with their 95 % intervals and rank intervals, and the measures beside them.
    """
    check_writable(json_target)
    check_writable(csv_target)
    conditions = [Condition.parse(text) for text in filters]
    on = check_day(day)
    with Store(url or Project.open(folder).database) as store:
        wanted = [voters] if voters else default_voters(store)
        if len(wanted) > 1 and (json_target or csv_target):
            raise UsageError(
                f"both people and judges have voted; say whose board to write with --voters {'|'.join(VOTERS)}"
            )
        boards = [store_leaderboard(store, voters=kind, method=method, tag=tag, task=task, day=on) for kind in wanted]
    n_models = len(boards[0].frame)
    boards = [replace(board, frame=filtered(board.frame, conditions)) for board in boards]
    names = None if columns is None else _named_columns(boards[0].frame, columns)
    if json_target:
        said = {"filter": list(map(str, conditions))} if conditions else {}
        write_json(boards[0].document() | said, json_target)
    if csv_target:
        frame = boards[0].frame if names is None else boards[0].frame[["rank", "model", *names]]
        write_atomically(Path(csv_target), leaderboard_csv(frame).encode())
    if json_target != "-":
        for board in boards:
            print_board(board, names)
            if conditions:
                stdout.print(f"{len(board.frame)} of {n_models} models meet the filters; ranks are those among all.")


def check_day(day: str | None) -> str | None:
    """An ISO 8601 day, None for today; raises `UsageError` for what is none."""
    if day is None:
        return None
    try:
        return date.fromisoformat(day).isoformat()
    except ValueError:
        raise UsageError(f"--on {day}: is not a day; write 2026-01-31") from None


def _named_columns(frame: pd.DataFrame, text: str) -> list[str]:
    names: list[str] = []
    for name in filter(None, (part.strip() for part in text.split(","))):
        names += COLUMN_KINDS.get(name, (name,))
    return [name for name in chosen_columns(frame, names) if name not in ("rank", "model")]


def default_voters(store: Store) -> list[Voters]:
    """Whose boards to show when nobody said: one for each kind that has voted; of no votes, an empty board of all."""
    return sorted(kinds_with_votes(store)) or ["all"]


def publish_leaderboard(folder: Path, *, tasks: Sequence[Task] = ()) -> list[Leaderboard]:
    """Write a project's `leaderboard.json` and `leaderboard.csv`, and print the board, which is returned.

    The board is the judges' where judges have voted, else the people's. With `tasks` each has a board of its own, the
    first in `leaderboard.json`, the others in `leaderboard-TASK.json`.
    """
    project = Project.open(folder)
    boards: list[Leaderboard] = []
    with Store(project.database) as store:
        for task in tasks or (None,):
            board = store_leaderboard(store, voters=default_voters(store)[-1], task=task)
            path = project.leaderboard if not boards else project.leaderboard.with_stem(f"leaderboard-{task}")
            write_json(board.document(), str(path))
            write_atomically(path.with_suffix(".csv"), leaderboard_csv(board.frame).encode())
            print_board(board)
            boards.append(board)
    return boards


def print_board(board: Leaderboard, columns: list[str] | None = None) -> None:
    """The board as a table on stdout: ratings and measures, or these `columns`. What has no room is named below it."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = FULL_WIDTH
    wanted = columns
    if wanted is None:  # that some requests were not delivered is never left out
        wanted = ["delivered"] * bool((board.frame["delivered"] < 1).any()) + list(board.measures.frame.columns)
    n_shown = len(wanted)
    unlimited = Console(width=sys.maxsize)

    def table() -> Table:
        return _table(board, wanted[:n_shown], usual=columns is None)

    while n_shown and unlimited.measure(table()).maximum > console.width:
        n_shown -= 1
    console.print()
    console.print(table())
    console.print()
    console.print(f"{_title(board)}.", style="dim", markup=False, soft_wrap=True)
    if n_shown < len(wanted):
        names = ", ".join(printable(name) for name in wanted[n_shown:])
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


def _table(board: Leaderboard, columns: list[str], *, usual: bool) -> Table:
    """Rank and model, with `usual` ratings and votes, and the columns."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("model", no_wrap=True, overflow="ellipsis", max_width=NAME_WIDTH)
    for name in ("rating", "Elo", "votes", "win%") if usual else ():
        table.add_column(name, justify="right", no_wrap=True)
    for name in columns:
        words = isinstance(board.frame[name].dtype, pd.StringDtype)
        table.add_column(
            Text(f"{_SHORT.get(name, printable(name))}{_arrow(board, name)}"),
            justify="left" if words else "right",
            no_wrap=True,
            overflow="ellipsis",
            max_width=NAME_WIDTH if words else None,
        )
    for row in board.frame.to_dict("records"):
        cells: list[str | Text] = [rank_text(row), Text(printable(row["model"]))]
        if usual:
            cells += [_rating(row), _number(row["elo"], 0), f"{row['n_votes']:,}", _number(100 * row["win_rate"], 0)]
        table.add_row(*cells, *(_cell(name, row[name]) for name in columns))
    return table


def _arrow(board: Leaderboard, name: str) -> str:
    measure = board.measures.protocols.get(name)
    return "" if measure is None else "↑" if measure["higher_is_better"] else "↓"


def _cell(name: str, value: Any) -> str | Text:
    """A fact or a number of a column; shares of requests in percent."""
    if is_missing(value):
        return "–"
    if isinstance(value, str):
        return Text(printable(value))
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if name in COUNTS or name in ("rank", "rank_lower", "rank_upper", "n_votes"):
        return f"{int(value):,}"
    if name == "parameters":
        return f"{value / 1e9:.3g}B" if value >= 1e9 else f"{value / 1e6:.3g}M" if value >= 1e6 else f"{value:,}"
    return f"{100 * value:.0f} %" if name.startswith("delivered") else _measure(value)


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
