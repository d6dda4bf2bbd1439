"""`paragone judge`: let judges decide battles of a project folder; their votes go into its store.

`paragone judge --judge NAME` is short for `paragone judge run --judge NAME`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from paragone.cli.judge_audit import audit
from paragone.cli.judge_options import JudgeSettings, Statuses, judge_options
from paragone.cli.judge_show import show
from paragone.data.errors import UsageError

if TYPE_CHECKING:
    from paragone.cli.judge_jury import JuryReport
    from paragone.cli.judge_report import JudgeReport
    from paragone.cli.judge_run import Bench
    from paragone.data.records import Status


class JudgeGroup(click.Group):
    """A group whose first argument may also be an option: then its command `run` is meant."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `run` in front of arguments that begin with neither a subcommand nor --help."""
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=JudgeGroup, context_settings={"help_option_names": ["-h", "--help"]})
def judge() -> None:
    """Let judges decide battles of a project folder, and audit a judge before its votes count.

    `paragone judge --judge NAME …` is short for `paragone judge run --judge NAME …`; `show` says how a vote came about.
    """


@judge.command()
@judge_options
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    show_default="here",
    help="Project folder.",
)
@click.option("--db", "url", metavar="URL", help="Database, a path or URL, instead of the project's arena.db.")
@click.option(
    "--battles",
    "n_battles",
    type=click.IntRange(min=1),
    help="How many battles, at least [default: 10 of each pair of models, or as many as they share samples].",
)
@click.option(
    "--of",
    "source",
    type=click.Choice(["plan", "votes"]),
    default="plan",
    show_default=True,
    help="Battles from a balanced plan over all samples, or those that somebody has voted on.",
)
@click.option(
    "--order",
    type=click.Choice(["both", "balanced", "first-only"]),
    default="both",
    show_default=True,
    help="Both orders of the sides; or one, each model first equally often; or one, the sides as they are.",
)
@click.option(
    "--retry",
    "retried",
    type=Statuses(),
    metavar="STATUS,…",
    help="Ask again, past the cache, what ended so: refused, filtered, invalid, error, timeout.",
)
@click.option(
    "--same-family",
    type=click.Choice(["skip", "ask"]),
    default="skip",
    show_default=True,
    help="Battles with a model of the judge's own family: leave them out, or put them to it all the same.",
)
@click.option(
    "--rule",
    type=click.Choice(["majority", "mean-log-odds"]),
    help="How several judges decide as a jury [default: majority]; mean-log-odds needs --soft or --samples.",
)
@click.option(
    "--jury-votes",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the jury's outcomes as votes to a .csv, .json or .parquet file, for `paragone rate`.",
)
@click.option("--dry-run", is_flag=True, help="Say how many calls and tokens it would be, and send nothing.")
@click.option(
    "--json", "json_target", metavar="FILE|-", help="Write the summary as JSON; with - nothing else is on stdout."
)
def run(
    folder: Path,
    url: str | None,
    n_battles: int | None,
    source: str,
    order: str,
    retried: frozenset[Status] | None,
    same_family: str,
    rule: str | None,
    jury_votes: Path | None,
    dry_run: bool,
    json_target: str | None,
    **settings: Any,
) -> None:
    """Let one or more judges decide battles; the same command again goes on where it was stopped.

    Votes are stored as they come. Replies are cached, so nothing is paid for twice. A refused, unreadable or failed
    answer is stored as such: it is no vote and no tie.
    """
    from paragone.arena.store import Store
    from paragone.cli.judge_jury import deliberate, write_outcomes
    from paragone.cli.judge_run import Bench
    from paragone.cli.output import check_writable
    from paragone.cli.tables import check_table
    from paragone.data.project import Project
    from paragone.judges.plan import Order

    check_writable(json_target)
    check_table(jury_votes)
    wanted = JudgeSettings(**settings)
    _check_jury(wanted, rule, jury_votes)
    with ExitStack() as stack:
        store = stack.enter_context(Store(url or Project.open(folder).database))
        cache = wanted.reply_cache()
        if cache is not None:
            stack.enter_context(cache)
        bench = Bench(
            wanted, store, folder, cache, Order(order), retried=retried or (), ask_family=same_family == "ask"
        )
        battles, notes = bench.battles(source, n_battles)
        if dry_run:
            _publish_estimate(bench, battles, json_target)
            return
        notes += bench.notes_on_families()
        reports = bench.judge_all(battles)
        jury = deliberate(store, bench.seated, battles, rule or "majority") if len(bench.seated) > 1 else None
    if jury is not None and jury_votes is not None:
        write_outcomes(jury, jury_votes)
    _publish(bench, reports, jury, notes, json_target)


def _check_jury(settings: JudgeSettings, rule: str | None, jury_votes: Path | None) -> None:
    """Fail before the first call when a jury cannot be had."""
    n_seats = len(settings.seats())
    if n_seats < 2 and (rule is not None or jury_votes is not None):
        raise UsageError(f"a jury has two judges or more, and {n_seats} is named; give several --judge or --model")
    if rule == "mean-log-odds" and not settings.soft and settings.samples == 1:
        raise UsageError("--rule mean-log-odds needs probabilities: give --soft, or --samples with a temperature")


def _publish(
    bench: Bench, reports: Sequence[JudgeReport], jury: JuryReport | None, notes: list[str], target: str | None
) -> None:
    from paragone.cli.judge_jury import print_jury
    from paragone.cli.judge_report import document, print_reports
    from paragone.cli.output import stderr, write_json

    if target:
        deliberated = {} if jury is None else {"jury": jury.document()}
        write_json(document(reports, notes) | deliberated, target)
    if target != "-":
        print_reports(reports)
        if jury is not None:
            print_jury(jury)
    for line in notes:
        stderr.print(f"note: {line}", markup=False, soft_wrap=True)
    if bench.error is not None:
        raise bench.error
    if bench.interrupted:
        raise KeyboardInterrupt


def _publish_estimate(bench: Bench, battles: Sequence[Any], target: str | None) -> None:
    from paragone.cli.output import write_json
    from paragone.cli.tables import cell_table, print_table

    rows = bench.estimate_all(battles)
    if target:
        write_json({"schema": "paragone.judge/1", "dry_run": True, "judges": rows}, target)
    if target != "-":
        headings = ["judge", "battles", "calls", "cached", "tokens in", "out, at most", "cost, at most"]
        names = ("n_battles", "n_calls", "n_cached", "input_tokens", "output_tokens")
        cells = [
            [
                row["judge"],
                *(f"{row[name]:,}" for name in names),
                "–" if row["cost_usd"] is None else f"${row['cost_usd']}",
            ]
            for row in rows
        ]
        print_table(cell_table(headings, cells, left=("judge",)))


judge.add_command(audit)
judge.add_command(show)
