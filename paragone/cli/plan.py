"""`paragone plan`: how many samples or votes an effect takes, before they are paid for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from paragone.data.errors import UsageError

if TYPE_CHECKING:
    from paragone.metrics.checks_plan import Plan, PlannedVotes


@click.command()
@click.argument("pilot", required=False, type=click.Path(path_type=Path))
@click.option(
    "--paired-with",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A second run of the same prompts and seeds (another checkpoint), which says how alike paired samples are.",
)
@click.option(
    "--margin",
    "margin_texts",
    multiple=True,
    metavar="METRIC=VALUE",
    help="The effect to detect, in the metric's units or in percent; by default the pilot's margins, or 5%.",
)
@click.option("--elo", type=float, metavar="POINTS", help="Plan votes instead: the lead to detect, in rating points.")
@click.option("--ties", type=float, default=0.0, show_default=True, help="With --elo: the share of ties.")
@click.option(
    "--alpha",
    type=click.FloatRange(0, 0.5, min_open=True, max_open=True),
    default=0.05,
    show_default=True,
    help="Error rate, one-sided.",
)
@click.option(
    "--power",
    type=click.FloatRange(0.5, 1, max_open=True),
    default=0.8,
    show_default=True,
    help="Chance to detect the effect.",
)
@click.option(
    "--seconds", type=click.FloatRange(min=0), metavar="S", help="What a sample takes, to say how long all of them do."
)
@click.option("--usd", type=click.FloatRange(min=0), metavar="USD", help="What a sample or vote costs.")
@click.option("--json", "json_target", metavar="FILE|-", help="Write the plan as JSON to FILE, or to stdout with -.")
def plan(
    pilot: Path | None,
    paired_with: Path | None,
    margin_texts: tuple[str, ...],
    elo: float | None,
    ties: float,
    alpha: float,
    power: float,
    seconds: float | None,
    usd: float | None,
    json_target: str | None,
) -> None:
    """Say how many samples or votes it takes to detect an effect.

    PILOT is a run record: a baseline, or a file of `paragone metrics --record`. With --elo, votes are planned.
    """
    from paragone.cli.output import check_writable, write_json

    check_writable(json_target)
    if (pilot is None) == (elo is None):
        raise UsageError("name a PILOT run record, or a lead with --elo")
    if elo is not None:
        found = _votes(elo, ties, alpha, power)
        if json_target:
            write_json(found.to_dict(), json_target)
        if json_target != "-":
            _print_votes(found, seconds, usd)
        return
    assert pilot is not None
    planned = _samples(pilot, paired_with, margin_texts, alpha, power)
    if json_target:
        write_json(planned.to_dict(), json_target)
    if json_target != "-":
        _print_samples(planned, seconds, usd)


def _votes(elo: float, ties: float, alpha: float, power: float) -> PlannedVotes:
    import math

    from paragone.arena.stopping import sprt_length
    from paragone.metrics.checks_plan import PlannedVotes, fixed_votes

    fixed = fixed_votes(elo, ties=ties, alpha=alpha, power=power)
    equal, worse = (
        sprt_length(lead, elo0=-elo, elo1=0, alpha=alpha, beta=1 - power, ties=ties)[1] for lead in (0.0, -elo)
    )
    return PlannedVotes(elo, ties, fixed, math.ceil(equal), math.ceil(worse))


def _samples(pilot: Path, paired_with: Path | None, margin_texts: tuple[str, ...], alpha: float, power: float) -> Plan:
    from paragone.cli.check import parse_margins
    from paragone.metrics.checks_plan import plan_samples
    from paragone.metrics.recording import gates_of, named
    from paragone.metrics.run_files import read_run

    run = read_run(pilot)
    asked = {named(run, metric): text for metric, text in parse_margins(margin_texts).items()}
    gates = {gate.metric: gate for gate in gates_of(run, asked)}
    known = {gate.metric: gate for gate in run.gates}
    chosen = tuple(known[name] if name in known and name not in asked else gate for name, gate in gates.items())
    second = None if paired_with is None else read_run(paired_with)
    return plan_samples(run, chosen, second=second, alpha=alpha, power=power)


def _print_samples(planned: Plan, seconds: float | None, usd: float | None) -> None:
    from paragone.cli.check_report import number
    from paragone.cli.output import stdout
    from paragone.cli.tables import cell_table, print_table

    headings = ["metric", "effect", "detected now", "n now", "n needed"]
    rows = [
        [
            one.metric,
            number(one.margin),
            number(one.detectable),
            f"{one.n:,}",
            one.reason if one.n_needed is None else f"{one.n_needed:,}",
        ]
        for one in planned.rows
    ]
    print_table(cell_table(headings, rows, left=("metric",)))
    stdout.print(planned.told, markup=False, soft_wrap=True)
    needed = max((one.n_needed for one in planned.rows if one.n_needed is not None), default=0)
    if needed:
        _print_price(f"{needed:,} samples for all of them", needed, seconds, usd)


def _print_votes(found: PlannedVotes, seconds: float | None, usd: float | None) -> None:
    from paragone.cli.output import stdout

    stdout.print(f"a lead of {found.elo:g} points, {found.ties:.0%} ties:", markup=False)
    stdout.print(f"  {found.fixed:,} votes, looked at once", markup=False)
    stdout.print(
        f"  SPRT(-{found.elo:g}, 0), looked at after every vote: {found.sprt_if_equal:,} on average where the "
        f"candidate is as good, {found.sprt_if_worse:,} where it is {found.elo:g} points worse",
        markup=False,
        soft_wrap=True,
    )
    _print_price(f"{found.fixed:,} votes", found.fixed, seconds, usd)


def _print_price(what: str, count: int, seconds: float | None, usd: float | None) -> None:
    from paragone.cli.output import stdout

    told = [f"{count * seconds / 3600:.2g} h"] if seconds else []
    told += [f"{count * usd:.2f} USD"] if usd else []
    if told:
        stdout.print(f"{what}: {', '.join(told)}", markup=False, soft_wrap=True)
