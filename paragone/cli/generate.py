"""`paragone generate`: let generators answer prompts; their samples, and how every request ended, go into a project."""

from __future__ import annotations

from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from paragone.cli.judge_options import Dollars
from paragone.data.errors import UsageError
from paragone.data.records import Status, Task

if TYPE_CHECKING:
    from paragone.cli.generate_run import Studio

DEFAULT_RETRY = "error,timeout"


class Statuses(click.ParamType[tuple[Status, ...], "str | tuple[Status, ...]"]):
    """Statuses with commas between them."""

    name = "STATUS,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Status, ...]:
        """The statuses; fails on one that is none, or that is ok."""
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in str(value).split(",") if word.strip()]
        for word in words:
            if word not in tuple(Status) or word == Status.OK:
                choices = ", ".join(status for status in Status if status is not Status.OK)
                self.fail(f"{word!r} is none of {choices}", param, ctx)
        return tuple(Status(word) for word in words)


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]…")
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    show_default="here",
    help="Project folder; it is made where there is none.",
)
@click.option("--db", "url", metavar="URL", help="Database, a path or URL, instead of the project's arena.db.")
@click.option(
    "--generator",
    "target",
    metavar="NAME",
    help="An adapter of `paragone plugins`, or module:attr, for a generator that paragone.toml does not describe.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting of the adapter; a.b=1 reaches into a table. Repeat it for more.",
)
@click.option("--model-name", metavar="NAME", help="What --generator is called on the board [default: its own name].")
@click.option(
    "--prompts",
    "prompts_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Prompts in .txt (one a line), .jsonl, .json or .csv [default: those of the project].",
)
@click.option(
    "--task", type=click.Choice([str(task) for task in Task]), help="What is asked for [default: what the prompts say]."
)
@click.option(
    "--seeds",
    "n_seeds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Samples of each prompt, with the seeds 0, 1, …: the same for every generator.",
)
@click.option(
    "--concurrency", type=click.IntRange(min=1), help="Requests at once [default: 4 to a service, 1 on this machine]."
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Requests in one call [default: the adapter's own].")
@click.option("--budget", type=Dollars(), help="Stop before a request that could cost more than is left of this.")
@click.option(
    "--price",
    "prices",
    multiple=True,
    metavar="UNIT=USD",
    help="What the model costs from today on: image=0.04, megapixel=0.01 or second=0.1.",
)
@click.option(
    "--retry",
    type=Statuses(),
    default=DEFAULT_RETRY,
    show_default=True,
    help="Ask again for what ended like this in an earlier run; '' for nothing.",
)
@click.option("--check", is_flag=True, help="Hold the generators to the rules for adapters, and store nothing.")
@click.option(
    "--json", "json_target", metavar="FILE|-", help="Write the summary as JSON; with - nothing else is on stdout."
)
def generate(
    names: tuple[str, ...],
    folder: Path,
    url: str | None,
    target: str | None,
    settings: tuple[str, ...],
    model_name: str | None,
    prompts_file: Path | None,
    task: str | None,
    n_seeds: int,
    concurrency: int | None,
    batch_size: int | None,
    budget: Decimal | None,
    prices: tuple[str, ...],
    retry: tuple[Status, ...],
    check: bool,
    json_target: str | None,
) -> None:
    """Let generators answer prompts; samples and how every request ended go into a project.

    NAME is a generator that the project's paragone.toml describes; without one, all of them are asked. The same
    command again goes on where it was stopped: nothing is asked, or paid, twice. A refused, filtered or failed request
    is stored as such.
    """
    from paragone.arena.store import Store
    from paragone.cli.generate_plan import Wish, chosen, planned_prompts, settings_of
    from paragone.cli.generate_run import Studio, check_all
    from paragone.cli.output import check_writable
    from paragone.data.project import Project

    check_writable(json_target)
    project = Project(folder)
    wish = Wish(names, target, settings_of(settings), model_name, None if task is None else Task(task), prices)
    generators = chosen(project, wish)
    prompts = None if prompts_file is None else planned_prompts(prompts_file, generators, wish)
    if check:
        check_all(generators, project, prompts, json_target)
        return
    if prompts is None and url is None and not project.database.is_file():
        raise UsageError(f"{folder}: there is no project with prompts here yet; name a file of them with --prompts")
    with ExitStack() as stack:
        store = stack.enter_context(Store(url or project.database, create=url is None))
        studio = Studio(store, project, n_seeds=n_seeds, concurrency=concurrency, batch=batch_size, retry=retry)
        studio.take_prompts(prompts, beside=None if prompts_file is None else prompts_file.parent)
        studio.run_all(generators, budget=budget)
    _publish(studio, json_target)


def _publish(studio: Studio, target: str | None) -> None:
    from paragone.cli.generate_report import document, print_reports
    from paragone.cli.output import stderr, write_json

    if target:
        write_json(document(studio.reports, studio.notes), target)
    if target != "-":
        print_reports(studio.reports)
    for line in studio.notes:
        stderr.print(f"note: {line}", markup=False, soft_wrap=True)
    if studio.error is not None:
        raise studio.error
    if studio.interrupted:
        raise KeyboardInterrupt
