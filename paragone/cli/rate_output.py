"""What `paragone rate` shows and writes: boards as tables, JSON, CSV, Markdown and pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paragone.cli.output import check_writable
from paragone.data.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from paragone.arena.ratings import Ratings

PLOT_KINDS = ("intervals", "matrix", "history")
LEFT = ("covariate", "score of", "model", "against", "opponent", "result", "voter", "prompt")  # columns of words
MATRIX_MODELS = 15  # a wider matrix has no room on a terminal or a page


@dataclass(frozen=True, slots=True)
class Section:
    """A table beside the ratings, its title, and the same as JSON."""

    title: str
    frame: pd.DataFrame
    lead: str = ""


@dataclass(frozen=True, slots=True)
class Board:
    """One board with what was asked for beside it."""

    by: str | None
    value: str  # of the column `by`; "" without
    ratings: Ratings
    votes: pd.DataFrame
    sections: tuple[Section, ...] = ()
    more: dict[str, Any] = field(default_factory=dict)  # added to the JSON document

    @property
    def title(self) -> str:
        """The board's name, "category = day"; "" when it is the only one."""
        return "" if self.by is None else f"{self.by} = {self.value}"

    def document(self) -> dict[str, Any]:
        """The ratings and what is beside them, as JSON values."""
        return {**self.ratings.to_dict(), **self.more}


def parse_plots(texts: Sequence[str]) -> list[tuple[str, Path]]:
    """Each [KIND=]FILE of --plot, checked so that drawing cannot fail for the file's sake afterwards."""
    plots = []
    for text in texts:
        kind, equals, name = text.partition("=")
        if not equals:
            kind, name = "intervals", text
        if kind not in PLOT_KINDS or not name:
            raise UsageError(f"--plot {text}: write it as FILE or KIND=FILE with a KIND of {', '.join(PLOT_KINDS)}")
        from paragone.arena.plots import check_plot

        check_plot(Path(name))
        check_writable(name)
        plots.append((kind, Path(name)))
    return plots


def covariate_section(ratings: Ratings) -> Section | None:
    """What each covariate is worth, of ratings that were fitted with some."""
    import pandas as pd

    found = ratings.parameters.get("covariates")
    if not found:
        return None
    columns = ["name", "points", "standard_error", "lower", "upper", "points_per_sd"]
    return Section("Covariates, in points a unit", pd.DataFrame(found)[columns].rename(columns={"name": "covariate"}))


def pair_section(ratings: Ratings) -> tuple[Section, dict[str, Any]]:
    """Every pair of models: their difference, its interval, and who is better."""
    import pandas as pd

    from paragone.arena.pairs import pairwise

    frame = pairwise(ratings)
    bounds = zip(frame["lower"], frame["upper"], strict=True)
    shown = pd.DataFrame(
        {
            "model": frame["model_a"],
            "against": frame["model_b"],
            "difference": frame["difference"],
            "95 % interval": [f"{low:.1f} … {high:.1f}" for low, high in bounds],
            "expected score": frame["probability"],
            "chance of being better": [_sure(p) for p in frame["p_better"]],
        }
    )
    return Section("Pairs", shown), {"pairs": plain_rows(frame)}


def _sure(probability: float) -> str:
    """A probability that is never shown as certain."""
    return "> 99.9%" if probability > 0.999 else f"{probability:.1%}"


def matrix_section(board: Board, both_bad: Any) -> tuple[Section | None, dict[str, Any]]:
    """Who won how often against whom; no table where it would be too wide, for the document has it all."""
    from paragone.arena.pairs import win_matrix

    frame = win_matrix(board.votes, ratings=board.ratings, both_bad=both_bad)
    more = {"win_matrix": plain_rows(frame)}
    models = board.ratings.models
    if len(models) > MATRIX_MODELS:
        return None, more
    square = frame.pivot(index="model_a", columns="model_b", values="win_rate").reindex(index=models, columns=models)
    shown = square.map(lambda value: "" if math.isnan(value) else f"{value:.0%}")
    shown.insert(0, "score of", shown.index)
    return Section("Win matrix", shown), more


def plot(kind: str, board: Board, path: Path, *, both_bad: Any, k: float | None, dark: bool) -> None:
    """Draw one picture into a file."""
    from paragone.arena.plots import history_plot, interval_plot, save_chart, timed, win_matrix_plot

    if kind == "intervals":
        chart = interval_plot(board.ratings, dark=dark)
    elif kind == "matrix":
        from paragone.arena.pairs import win_matrix

        models = board.ratings.models
        frame = win_matrix(board.votes, both_bad=both_bad)
        square = frame.pivot(index="model_a", columns="model_b", values="win_rate")
        square = square.reindex(index=models, columns=models)
        chart = win_matrix_plot(square, title=f"{board.ratings.n_votes:,} votes; blank: never met", dark=dark)
    else:
        from paragone.arena.elo import elo_history

        step = 4.0 if k is None else k
        history = elo_history(board.votes, k=step, both_bad=both_bad)
        chart = history_plot(timed(history, board.votes), title=f"Elo, K = {step:g}", dark=dark)
    save_chart(chart, path)


def document(boards: Sequence[Board]) -> dict[str, Any]:
    """All boards as one JSON document."""
    from paragone.arena.ratings import SCHEMA

    by = boards[0].by
    if by is None:
        return boards[0].document()
    return {"schema": SCHEMA, "by": by, "groups": {board.value: board.document() for board in boards}}


def csv_text(boards: Sequence[Board]) -> str:
    """The boards below one another, with the value of `by` in front."""
    import pandas as pd

    frames = []
    for board in boards:
        frame = board.ratings.to_frame()
        if board.by is not None:
            frame.insert(0, board.by, board.value, allow_duplicates=True)
        frames.append(frame)
    return pd.concat(frames).to_csv(index=False)


def markdown_text(boards: Sequence[Board]) -> str:
    """The boards as Markdown (GitHub's tables), with their warnings."""
    from paragone.cli.tables import markdown_table, markdown_words

    parts = []
    for board in boards:
        if board.title:
            parts.append(f"## {markdown_words(board.title)}")
        parts += [markdown_table(*board_cells(board.ratings), left=("model",)), f"{board.ratings.summary}."]
        for section in board.sections:
            parts += [f"### {section.title}", *([markdown_words(section.lead)] if section.lead else [])]
            parts.append(markdown_table(*section_cells(section.frame), left=text_columns(section.frame)))
        if board.ratings.warnings:
            parts.append("\n".join(f"- {markdown_words(line)}" for line in board.ratings.warnings))
    return "\n\n".join(parts) + "\n"


def print_board(board: Board) -> None:
    """A board and its sections on stdout."""
    from paragone.cli.output import stdout
    from paragone.cli.tables import cell_table, print_table, printable

    ratings = board.ratings
    stdout.print(cell_table(*board_cells(ratings), left=("model",), title=board.title))
    stdout.print(f"[dim]{ratings.summary}[/dim]")
    for section in board.sections:
        stdout.print()
        if section.lead:
            stdout.print(printable(section.lead), markup=False, soft_wrap=True)
        cells = section_cells(section.frame)
        print_table(cell_table(*cells, left=text_columns(section.frame), title=section.title))


def print_warnings(board: Board) -> None:
    """A board's warnings on stderr, with the board's name."""
    for line in board.ratings.warnings:
        print_note(f"warning: {board.title}: {line}" if board.title else f"warning: {line}")


def print_note(line: str) -> None:
    """A line on stderr."""
    from paragone.cli.output import stderr
    from paragone.cli.tables import printable

    stderr.print(printable(line), soft_wrap=True, markup=False)


def board_cells(ratings: Ratings) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of a board, as they are shown."""
    lower, upper, ranks = ratings.rating_lower, ratings.rating_upper, ratings.rank_interval
    intervals = lower is not None and upper is not None
    headings = ["rank", *(["ranks"] if ranks else []), "model", "rating", *(["95 % interval"] if intervals else [])]
    rows = []
    for m, model in enumerate(ratings.models):
        cells = [str(ratings.rank[m])]
        if ranks is not None:
            cells.append(f"{ranks[0][m]}–{ranks[1][m]}")
        cells += [model, f"{ratings.rating[m]:.1f}"]
        if lower is not None and upper is not None:
            cells.append(f"{lower[m]:.1f} … {upper[m]:.1f}")
        share = ratings.win_rate[m]
        rows.append([*cells, f"{ratings.model_votes[m]:,}", "–" if math.isnan(share) else f"{share:.1%}"])
    return [*headings, "votes", "win rate"], rows


def section_cells(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of any table, numbers with the digits that they are worth."""
    headings = [str(name).replace("_", " ") for name in frame.columns]
    return headings, [[_cell(value, str(name)) for name, value in row.items()] for row in frame.to_dict("records")]


def text_columns(frame: pd.DataFrame) -> tuple[str, ...]:
    """Headings of the columns that hold text."""
    return tuple(name for name in map(str, frame.columns) if name in LEFT)


def _cell(value: Any, name: str) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        shares = ("expected", "probability", "share", "p_", "win_rate", "reliability", "score")
        return f"{value:.1%}" if name.startswith(shares) else f"{value:.1f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as JSON values; a missing number is None."""
    return [{str(name): _plain(value) for name, value in row.items()} for row in frame.to_dict("records")]


def _plain(value: Any) -> Any:
    import pandas as pd

    if value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.item() if hasattr(value, "item") else value
