"""`paragone rate`: a file of votes becomes ratings."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from paragone.cli.rate_plan import FLAGS, METHODS, Interval, Plan, Screened, read_table, screen
from paragone.data.errors import UsageError

if TYPE_CHECKING:
    from paragone.cli.rate_output import Board

FLAGS_SCHEMA = "paragone.flags/1"


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
@click.option(
    "--method",
    type=click.Choice(METHODS),
    help="How to rate [default: bradley-terry; contextual with --covariate or --side, crowd-bt with --voter].",
)
@click.option(
    "--ci",
    type=click.Choice(["none", "sandwich", "bootstrap", "profile"]),
    help="95 % intervals: from the sandwich covariance (default), the bootstrap or the profile likelihood, or none "
    "(Elo's default).",
)
@click.option("--bootstrap", type=click.IntRange(min=100), metavar="N", help="Bootstrap replicates [default: 1000].")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Of the bootstrap [default: 0].")
@click.option(
    "--anchor", callback=_parse_anchor, metavar="MODEL=RATING", help="Fix one model's rating; else the mean is 1000."
)
@click.option("--k", type=float, metavar="K", help="Elo: the largest change by one vote, in points [default: 4].")
@click.option("--by", metavar="COLUMN", help="One board for each value of this column, such as category.")
@click.option("--pool", is_flag=True, help="Boards of --by with few votes are drawn towards what all boards share.")
@click.option(
    "--cluster", metavar="COLUMN", help="Votes with the same value here (voter, prompt) may depend on each other."
)
@click.option(
    "--covariate",
    "covariates",
    multiple=True,
    metavar="COLUMN",
    help="Take out what COLUMN_a and COLUMN_b explain, such as seconds or megapixels:log (again for more).",
)
@click.option("--side", is_flag=True, help="Take out the advantage of being model_a.")
@click.option("--voter", metavar="COLUMN", help="Weigh each voter, named here, by how reliable the votes show them.")
@click.option("--joint", metavar="COLUMN", help="One board of people and judges; COLUMN says human or judge.")
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
@click.option(
    "--exclude-flagged",
    "exclude",
    multiple=True,
    type=click.Choice([*FLAGS, "all"]),
    help="Leave out votes with this flag of doubtful quality, or with any (again for more).",
)
@click.option(
    "--flags",
    "flags_target",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the flags of doubtful votes as .csv, .json or .parquet.",
)
@click.option("--explain", metavar="MODEL", help="Say also what the rating of this model rests on.")
@click.option("--pairs", is_flag=True, help="Show also the difference of each pair of models, and who is better.")
@click.option("--matrix", is_flag=True, help="Show also who won how often against whom.")
@click.option("--json", "json_target", metavar="FILE|-", help="Write the ratings as JSON to FILE, or to stdout with -.")
@click.option("--csv", "csv_target", metavar="FILE", help="Write the table as CSV to FILE.")
@click.option(
    "--markdown", "markdown_target", metavar="FILE|-", help="Write the tables as Markdown to FILE, or to stdout with -."
)
@click.option(
    "--plot",
    "plots",
    multiple=True,
    metavar="[KIND=]FILE",
    help="Draw intervals (default), matrix or history into a .png, .svg or .html file (again for more).",
)
@click.option("--dark", is_flag=True, help="Plots on a dark background.")
def rate(
    votes: Path,
    method: str | None,
    ci: Interval | None,
    bootstrap: int | None,
    seed: int | None,
    anchor: tuple[str, float] | None,
    k: float | None,
    by: str | None,
    pool: bool,
    cluster: str | None,
    covariates: tuple[str, ...],
    side: bool,
    voter: str | None,
    joint: str | None,
    both_bad: Literal["tie", "drop"],
    prior: float | None,
    exclude: tuple[str, ...],
    flags_target: Path | None,
    explain: str | None,
    pairs: bool,
    matrix: bool,
    json_target: str | None,
    csv_target: str | None,
    markdown_target: str | None,
    plots: tuple[str, ...],
    dark: bool,
) -> None:
    """Turn a file of pairwise votes into ratings with intervals.

    VOTES is a .csv, .json, .jsonl or .parquet file with the columns model_a, model_b and winner (model_a, model_b, tie
    or both_bad), and optionally weight, voter, prompt, category and created_at. Exports of LMArena, FastChat and
    GenAI-Bench are read as they are.
    """
    from paragone.cli import rate_output as output

    targets = _Targets(json_target, csv_target, markdown_target, flags_target)
    drawings = output.parse_plots(plots)
    if drawings and by is not None:
        raise UsageError("--plot draws one board; leave --by out")
    if dark and not drawings:
        raise UsageError("--dark does nothing without --plot")
    history = any(kind == "history" for kind, _ in drawings)
    plan = Plan(
        method=method,
        ci=ci,
        bootstrap=bootstrap,
        seed=seed,
        anchor=anchor,
        k=k,
        by=by,
        pool=pool,
        cluster=cluster,
        both_bad=both_bad,
        prior=prior,
        covariates=covariates,
        side=side,
        voter=voter,
        joint=joint,
        explain=explain,
        history=history,
    )
    quality = bool(exclude or flags_target)
    table = read_table(votes, plan, quality=quality)
    screened = screen(table, exclude, str(votes)) if quality else None
    more = screened.more if screened else {}
    boards = [
        _with_sections(output.Board(by, value, ratings, group, more=more), plan, pairs=pairs, matrix=matrix)
        for value, (ratings, group) in plan.boards(screened.votes if screened else table, str(votes)).items()
    ]
    for kind, path in drawings:
        output.plot(kind, boards[0], path, both_bad=both_bad, k=k, dark=dark)
    targets.write(boards, screened)
    if screened:
        output.print_note(f"note: {screened.note}")
    if note := table.attrs.get("read_as"):
        output.print_note(f"note: {note}")
    for board in boards:
        if not targets.stdout:
            output.print_board(board)
        output.print_warnings(board)


@dataclass(frozen=True, slots=True)
class _Targets:
    """Where results go; all places are known to be writable before a vote is read."""

    json: str | None
    csv: str | None
    markdown: str | None
    flags: Path | None

    def __post_init__(self) -> None:
        from paragone.cli.output import check_writable
        from paragone.cli.tables import check_table

        check_table(self.flags)

        if self.csv == "-":
            raise UsageError("--csv -: name a file; for results on stdout use --json -")
        if self.json == self.markdown == "-":
            raise UsageError("--json - and --markdown -: stdout has room for one; name a file for the other")
        for target in (self.json, self.csv, self.markdown):
            check_writable(target)

    @property
    def stdout(self) -> bool:
        """Whether stdout is taken by a document."""
        return "-" in (self.json, self.markdown)

    def write(self, boards: list[Board], screened: Screened | None) -> None:
        """Write every document, each in one piece."""
        from paragone.cli import rate_output as output
        from paragone.cli.output import write_json
        from paragone.cli.tables import write_table
        from paragone.data.files import write_atomically

        if self.flags and screened:
            columns = [str(name) for name in screened.flags.columns]
            write_table(output.plain_rows(screened.flags), self.flags, schema=FLAGS_SCHEMA, columns=columns)
        if self.json:
            write_json(output.document(boards), self.json)
        if self.csv:
            write_atomically(Path(self.csv), output.csv_text(boards).encode())
        if self.markdown == "-":
            sys.stdout.write(output.markdown_text(boards))
        elif self.markdown:
            write_atomically(Path(self.markdown), output.markdown_text(boards).encode())


def _with_sections(board: Board, plan: Plan, *, pairs: bool, matrix: bool) -> Board:
    """The board with the tables that were asked for."""
    from paragone.cli import rate_output as output

    found = [output.covariate_section(board.ratings)]
    more = dict(board.more)
    if pairs:
        section, rows = output.pair_section(board.ratings)
        found.append(section)
        more |= rows
    if matrix:
        wide, rows = output.matrix_section(board, plan.both_bad)
        found.append(wide)
        more |= rows
    if plan.explain is not None:
        from paragone.arena.explanation import explain_model

        explanation = explain_model(
            board.votes,
            plan.explain,
            cluster=plan.cluster,
            anchor=plan.anchor,
            both_bad=plan.both_bad,
            prior=plan.prior,
        )
        lead = explanation.headline()
        for title, frame in explanation.tables().items():
            found.append(output.Section(title, frame, lead))
            lead = ""
        more["explanation"] = explanation.to_dict()
    return replace(board, sections=tuple(section for section in found if section is not None), more=more)
