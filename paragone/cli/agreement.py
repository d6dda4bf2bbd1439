"""`paragone agreement`: how well people and judges agree, in a file of votes or a project folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from paragone.data.errors import InputError, ParagoneError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from paragone.arena.agreement import Coefficient
    from paragone.arena.voter_agreement import Agreement, Consistency
    from paragone.judges.calibration import Calibration

MOST = 20  # pairs of voters in the table
MOST_KEPT = 500  # and in the JSON document: a crowd has very many, most of which share an item or two
SHOWN = {"raw": "agree", "kappa": "κ", "alpha": "α", "ac1": "AC1"}
BothBad = Literal["own", "tie", "drop"]
Repeats = Literal["raise", "first", "combine"]


@click.command()
@click.argument("votes", type=click.Path(path_type=Path), required=False)
@click.option(
    "--dir", "folder", type=click.Path(file_okay=False, path_type=Path), help="Project folder, instead of VOTES [here]."
)
@click.option("--by", metavar="COLUMN", help="One table for each value of this column, such as category.")
@click.option("--item", metavar="COLUMN", help="What one item is [default: battle, else prompt and the two models].")
@click.option("--kind", metavar="COLUMN", help="Says human or judge of each vote [default: kind].")
@click.option("--cluster", metavar="COLUMN", help="Leave out items together by this, such as prompt, for intervals.")
@click.option(
    "--both-bad",
    type=click.Choice(["own", "tie", "drop"]),
    default="own",
    show_default=True,
    help="both_bad is a category of its own, a tie, or left out.",
)
@click.option(
    "--repeats",
    type=click.Choice(["raise", "first", "combine"]),
    help="A second vote of a voter on an item: an error (a file's default), ignored (a project's), or combined.",
)
@click.option("--json", "json_target", metavar="FILE|-", help="Write all coefficients as JSON to FILE; - is stdout.")
def agreement(
    votes: Path | None,
    folder: Path | None,
    by: str | None,
    item: str | None,
    kind: str | None,
    cluster: str | None,
    both_bad: BothBad,
    repeats: Repeats | None,
    json_target: str | None,
) -> None:
    """Say how well people and judges agree, with each other and with themselves.

    VOTES is a file of votes with a voter, and a battle or prompt, in every row; without it the votes of a project
    folder are read. People's agreement with each other is the most that a judge's agreement with people can be held to.
    """
    from paragone.cli.output import check_writable, write_json

    if votes is not None and folder is not None:
        raise UsageError("VOTES and --dir are two sources; give one")
    check_writable(json_target)
    if votes is None:
        source = _project(folder or Path(), item=item, kind=kind)
    else:
        source = _file(votes, item=item, kind=kind, extra=[name for name in (by, cluster) if name])
    options = _Options(cluster, both_bad, repeats or source.repeats)
    tables = {}
    for value, part in _split(source, by).items():
        try:
            tables[value] = _table(source, part, options)
        except ParagoneError as error:
            raise type(error)(f"{source.name}: {f'{by} = {value}: ' if by else ''}{error}") from error
    if json_target:
        write_json(_document(tables, by, source, options), json_target)
    if json_target != "-":
        for value, table in tables.items():
            _print(table, f"{by} = {value}" if by else "")
        _print_calibrations(source.calibrations)


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """Votes, and how to read them."""

    name: str
    votes: pd.DataFrame
    item: str | None
    kind: str | None
    repeats: Repeats
    calls: pd.DataFrame | None  # a judge's answers in both orders, where they are known beside the votes
    calibrations: dict[str, Calibration] = field(default_factory=dict)  # of judges with soft verdicts


@dataclass(frozen=True, slots=True)
class _Options:
    cluster: str | None
    both_bad: BothBad
    repeats: Repeats


@dataclass(frozen=True, slots=True)
class _Table:
    """What one table shows."""

    kinds: tuple[Agreement, ...]
    voters: tuple[Agreement, ...]
    consistency: tuple[Consistency, ...]
    notes: list[str] = field(default_factory=list)


def _file(path: Path, *, item: str | None, kind: str | None, extra: list[str]) -> _Source:
    from paragone.arena.vote_files import read_votes

    table = read_votes(path, extra=list(dict.fromkeys([*extra, *(name for name in (item, kind) if name)])))
    if "voter" not in table.columns:
        raise InputError(f"{path}: no column 'voter' that says whose vote each is")
    return _Source(str(path), table, item, kind or ("kind" if "kind" in table.columns else None), "raise", None)


def _project(folder: Path, *, item: str | None, kind: str | None) -> _Source:
    from paragone.arena.store import Store
    from paragone.arena.store_agreement import calls_as_votes, picture_votes
    from paragone.cli.judge_calibration import calibrations
    from paragone.data.project import Project

    if item or kind:
        raise UsageError("--item and --kind name columns of a file; a project folder knows its own")
    with Store(Project.open(folder).database) as store:
        table, calls, soft = picture_votes(store), calls_as_votes(store), calibrations(store)
    if table.empty:
        raise InputError(f"{folder}: no votes yet; people give some with: paragone serve")
    kinds = set(table["kind"])
    voters = sorted(set(table["voter"]))
    if len(voters) == 1 and kinds == {"judge"}:
        raise InputError(
            f"{folder}: only the judge {voters[0]!r} has voted, so there is nobody to agree with; "
            "collect people's votes with: paragone serve, or have another judge decide the same battles"
        )
    return _Source(str(folder), table, "item", "kind", "first", calls, soft)


def _split(source: _Source, by: str | None) -> dict[str, pd.DataFrame]:
    from paragone.arena.votes import code_clusters

    if by is None:
        return {"": source.votes}
    code_clusters(source.votes, by, source=source.name)
    groups = source.votes.groupby(source.votes[by].map(str), sort=True)
    return {str(value): votes.reset_index(drop=True) for value, votes in groups}


def _table(source: _Source, votes: pd.DataFrame, options: _Options) -> _Table:
    from paragone.arena.voter_agreement import agreement_by_kind, agreement_by_voter, position_consistency

    item, cluster, both_bad, repeats = source.item, options.cluster, options.both_bad, options.repeats
    voters = agreement_by_voter(
        votes, item=item, cluster=cluster, both_bad=both_bad, repeats=repeats, most=MOST_KEPT + 1
    )
    kinds: tuple[Agreement, ...] = ()
    if (kind := source.kind) is not None:
        kinds = agreement_by_kind(votes, kind=kind, item=item, cluster=cluster, both_bad=both_bad, repeats=repeats)
    consistency: tuple[Consistency, ...] = ()
    if source.calls is not None and len(source.calls):
        consistency = position_consistency(source.calls, item="battle")
    elif source.calls is None and options.repeats == "combine":
        consistency = position_consistency(votes, item=source.item)
    notes = _notes(source, votes, kinds)
    if len(voters) > MOST_KEPT:
        notes.append(f"only the {MOST_KEPT} pairs of voters who share most items are compared one by one")
    return _Table(kinds, voters[:MOST_KEPT], consistency, notes)


def _notes(source: _Source, votes: pd.DataFrame, kinds: tuple[Agreement, ...]) -> list[str]:
    notes = []
    if source.kind is not None:
        present = {(agreement.first, agreement.second) for agreement in kinds}
        if ("human", "human") not in present:
            notes.append("no two people voted on the same item: the ceiling, how well people agree, is unknown")
        if ("human", "judge") not in present:
            notes.append("no item has votes of people and of judges: how well judges agree with people is unknown")
    if source.calls is not None and (again := int(votes.duplicated(["item", "voter"]).sum())):
        notes.append(f"{again} votes are on pictures that their voter had compared before: see --repeats")
    return notes


def _document(tables: dict[str, _Table], by: str | None, source: _Source, options: _Options) -> dict[str, Any]:
    from paragone.arena.voter_agreement import SCHEMA

    parameters = {"item": source.item, "kind": source.kind, **asdict(options), "level": 0.95, "interval": "jackknife"}
    soft = {judge: asdict(found) for judge, found in source.calibrations.items()}
    head = {"schema": SCHEMA, "parameters": parameters, "calibration": soft}
    if by is None:
        return head | asdict(tables[""])
    return head | {"by": by, "groups": {value: asdict(table) for value, table in tables.items()}}


def _print_calibrations(found: dict[str, Calibration]) -> None:
    from paragone.cli.judge_calibration import sentence
    from paragone.cli.output import stdout

    for judge, calibration in found.items():
        stdout.print(sentence(judge, calibration), markup=False, soft_wrap=True)


def _print(table: _Table, title: str) -> None:
    from paragone.cli.output import stderr, stdout
    from paragone.cli.tables import cell_table, print_table

    headings = ["between", "and", "items", *SHOWN.values()]
    for rows, what in ((table.kinds, "kinds of voters"), (table.voters[:MOST], "voters")):
        if rows:
            cells = [_cells(row) for row in rows]
            heading = f"{title}: {what}" if title else what
            print_table(cell_table(headings, cells, left=("between", "and"), title=heading))
    if len(table.voters) > MOST:
        stdout.print(f"{len(table.voters) - MOST} more pairs of voters share fewer items (--json has them)")
    for judge in table.consistency:
        stdout.print(_sentence(judge), markup=False, soft_wrap=True)
    undefined = {
        f"{SHOWN[name]} of {row.first} and {row.second}: {coefficient.note}"
        for row in (*table.kinds, *table.voters[:MOST])
        for name, coefficient in row.coefficients.items()
        if name in SHOWN and coefficient.value is None
    }
    for line in (*table.notes, *sorted(undefined)):
        stderr.print(f"note: {line}", markup=False, soft_wrap=True)


def _cells(row: Agreement) -> list[str]:
    return [row.first, row.second, f"{row.n_items:,}", *(_number(row.coefficients[name]) for name in SHOWN)]


def _number(coefficient: Coefficient) -> str:
    if coefficient.value is None:
        return "–"
    if coefficient.lower is None:
        return f"{coefficient.value:.2f}"
    return f"{coefficient.value:.2f} [{coefficient.lower:.2f}, {coefficient.upper:.2f}]"


def _sentence(judge: Consistency) -> str:
    from paragone.cli.tables import printable

    moved = ""
    if judge.first_place is not None:
        moved = f"; of the wins that moved with the sides {judge.first_place:.0%} went to the side shown first"
    return (
        f"{printable(judge.voter)}: {judge.consistent:.1%} of {judge.n_items:,} battles decided alike in both orders "
        f"[{judge.lower:.1%}, {judge.upper:.1%}]{moved}"
    )
