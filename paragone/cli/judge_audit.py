"""`paragone judge audit`: measure a judge before its votes count, and hold it to limits."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from paragone.cli.judge_options import C, JudgeSettings, judge_options

if TYPE_CHECKING:
    from paragone.judges.audit import AuditPlan
    from paragone.judges.base import Judge
    from paragone.judges.cache import CachingExchange
    from paragone.judges.judge_card import JudgeCard

GATE_FAILED = 1  # exit code
GATE_HELP = {  # tests hold these to paragone.judges.judge_card.GATES
    "max_flip_rate": "Most pairs with a right and a wrong picture whose outcome may move with the sides.",
    "max_position_bias": "Largest distance of the first-position rate from one half.",
    "max_injection_shift": "Largest change of a picture's score by what is written on it or how it is dressed up.",
    "min_accuracy": "Fewest right answers on verifiable scenes.",
    "min_self_consistency": "Fewest questions that are always answered alike.",
    "min_identical_tie_rate": "Fewest ties between equal pictures.",
    "min_coverage": "Fewest calls that give a verdict.",
}
_FILE = click.Path(dir_okay=False, path_type=Path)


def gate_options(command: C) -> C:
    """Add one option for each gate; their values are shares in 0..1, or None."""
    for name, text in reversed(GATE_HELP.items()):
        flag = f"--{name.replace('_', '-')}"
        command = click.option(flag, type=click.FloatRange(0, 1), metavar="SHARE", help=text)(command)
    return command


@click.command()
@judge_options
@click.option(
    "--material",
    type=click.Choice(["scenes", "digits"]),
    default="scenes",
    show_default=True,
    help="Verifiable scenes, or handwritten digits for a judge of digits.",
)
@click.option(
    "--items",
    "n_items",
    type=click.IntRange(min=2),
    default=20,
    show_default=True,
    help="How many scenes or digits; the number of calls grows with it.",
)
@click.option("--probe", "probes", multiple=True, metavar="NAME", help="Only this probe. Several times for several.")
@click.option(
    "--media",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep the pictures here, to look at them.",
)
@click.option("--dry-run", is_flag=True, help="Say how many calls it would be, probe by probe, and send nothing.")
@click.option("--markdown", type=_FILE, metavar="FILE", help="Write the judge card as a page.")
@click.option(
    "--json", "json_target", metavar="FILE|-", help="Write the judge card as JSON; with - only that is on stdout."
)
@gate_options
def audit(
    material: str,
    n_items: int,
    probes: tuple[str, ...],
    media: Path | None,
    dry_run: bool,
    markdown: Path | None,
    json_target: str | None,
    **others: Any,
) -> None:
    """Measure a judge: places, steadiness, injections, damage, edits, and scenes with known answers.

    Pictures are drawn here and depend on the seed alone. Replies are cached: the same command goes on where it was
    stopped. With a limit such as --max-flip-rate 0.15 the exit code is 1 when the judge does not keep it, or when the
    audit did not measure it.
    """
    from paragone.cli.output import check_writable
    from paragone.data.files import write_atomically

    for target in (json_target, None if markdown is None else str(markdown)):
        check_writable(target)
    limits = {name: others.pop(name) for name in GATE_HELP}
    with ExitStack() as stack:
        judge, exchange = _seat(JudgeSettings(**others), stack, dry_run=dry_run)
        plan, ask = _prepare(judge, material, n_items, probes, others["seed"])
        if dry_run:
            _publish_plan(plan, json_target)
            return
        card = ask(plan, media)
    if markdown is not None:
        write_atomically(markdown, card.to_markdown().encode())
    _publish(card, exchange, json_target)
    _hold(card, {name: limit for name, limit in limits.items() if limit is not None})


def _seat(settings: JudgeSettings, stack: ExitStack, *, dry_run: bool) -> tuple[Judge, CachingExchange]:
    """The one judge that the options name, whose connections and cache are closed with `stack`."""
    from decimal import Decimal

    from paragone.data.errors import UsageError
    from paragone.judges.base import Judge
    from paragone.judges.budget import Ledger
    from paragone.judges.cache import CachingExchange

    seats = settings.seats()
    if len(seats) != 1:
        raise UsageError(f"an audit is of one judge, not of {len(seats)}; name one, with one model")
    ((name, model),) = seats
    cache = None if dry_run else settings.reply_cache()
    if cache is not None:
        stack.enter_context(cache)
    price = settings.price(model)
    if settings.budget is not None and price is None and model is not None:
        raise UsageError(f"--budget needs the prices of {model}: give --price-in and --price-out, or --prices")
    budget: Decimal | None = None if price is None else settings.budget
    exchange = CachingExchange(cache, ledger=Ledger(price, budget))
    judge = settings.load(name, model, exchange=exchange, pace=settings.pace(), memory=cache)
    if not isinstance(judge, Judge):
        raise UsageError(f"{name}: this judge has no compare(prompt, a, b), which an audit asks")
    if hasattr(judge, "close"):
        stack.callback(judge.close)
    return judge, exchange


def _prepare(
    judge: Judge, material: str, n_items: int, probes: tuple[str, ...], seed: int
) -> tuple[AuditPlan, Callable[[AuditPlan, Path | None], JudgeCard]]:
    """What will be asked, and the function that asks it."""
    from paragone.cli.output import progress_bars, stderr
    from paragone.judges.audit import audit_judge, plan_audit
    from paragone.judges.audit_media import digit_items
    from paragone.judges.audit_probes import PROBES

    items = digit_items(n_items, seed=seed) if material == "digits" else None
    wanted = probes or PROBES
    reads_clips = bool(getattr(judge, "reads_clips", False))
    plan = plan_audit(items=items, probes=wanted, n=n_items, seed=seed, reads_clips=reads_clips)

    def ask(plan: AuditPlan, media: Path | None) -> JudgeCard:
        stderr.print(f"audit of {judge.name}: {plan.n_calls} calls", markup=False, soft_wrap=True)
        with progress_bars() as progress:
            return audit_judge(judge, items=items, probes=wanted, n=n_items, seed=seed, media=media, progress=progress)

    return plan, ask


def _publish_plan(plan: AuditPlan, target: str | None) -> None:
    from paragone.cli.output import write_json
    from paragone.cli.tables import cell_table, print_table

    if target:
        document = {"schema": "paragone.judge-card/1", "dry_run": True, "n_calls": plan.n_calls}
        write_json(document | {"calls_by_probe": plan.calls_by_probe, "left_out": plan.left_out}, target)
    if target != "-":
        rows = [[probe, f"{count:,}"] for probe, count in plan.calls_by_probe.items()]
        print_table(cell_table(["probe", "calls"], [*rows, ["all", f"{plan.n_calls:,}"]], left=("probe",)))


def _publish(card: JudgeCard, exchange: CachingExchange, target: str | None) -> None:
    from paragone.cli.output import stderr, write_json
    from paragone.cli.tables import cell_table, print_table

    if target:
        write_json(card.to_dict(), target)
    if target != "-":
        rows = [[m.probe, m.name, *_figures(m.value, m.lower, m.upper), str(m.n)] for m in card.measures]
        print_table(
            cell_table(["probe", "measure", "value", "95 % interval", "items"], rows, left=("probe", "measure"))
        )
    for name, why in card.left_out.items():
        stderr.print(f"left out: {name}: {why}", markup=False, soft_wrap=True)
    for line in card.warnings:
        stderr.print(f"warning: {line}", markup=False, soft_wrap=True)
    if exchange.ledger.spent:
        stderr.print(f"paid: ${exchange.ledger.spent}", markup=False)


def _figures(value: float | None, lower: float | None, upper: float | None) -> list[str]:
    shown = "–" if value is None else f"{value:.3f}"
    if lower is None and upper is None:
        return [shown, "–"]
    low, high = "−∞" if lower is None else f"{lower:.3f}", "∞" if upper is None else f"{upper:.3f}"
    return [shown, f"{low} … {high}"]


def _hold(card: JudgeCard, limits: dict[str, float]) -> None:
    """Exit with 1 when the card does not keep the limits."""
    from paragone.cli.output import stderr
    from paragone.judges.judge_card import check_gates

    failures = check_gates(card, limits)
    for line in failures:
        stderr.print(f"not kept: {line}", markup=False, soft_wrap=True)
    if failures:
        sys.exit(GATE_FAILED)
