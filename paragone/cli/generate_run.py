"""One generator after the other over the prompts of a project: the work of `paragone generate`."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from paragone.arena.store import BATCH, BATCH_S, Store
from paragone.cli.generate_plan import task_of
from paragone.cli.generate_report import GenerateReport
from paragone.cli.judge_progress import judging
from paragone.cli.output import stderr, write_json
from paragone.cli.tables import cell_table, print_table
from paragone.data.errors import InputError, ParagoneError, UsageError
from paragone.data.files import write_atomically
from paragone.data.generators.base import SOURCE_TASKS, GenerationRequest, GeneratorAdapter
from paragone.data.generators.conformance import check_generator
from paragone.data.generators.described import Described
from paragone.data.generators.runner import ManifestEntry, requests_for, to_attempt, to_sample
from paragone.data.generators.running import Journal, Run
from paragone.data.generators.table import description_of, load_generator
from paragone.data.project import Project
from paragone.data.prompts import place_pictures
from paragone.data.records import Prompt, Status, Task, fingerprint

INTERRUPTED = "interrupted"
CONFIG = b"""# A paragone project. Generators can be described here, and asked with `paragone generate NAME`:
#
# [generators.my-model]
# adapter = "diffusers"
# settings = { model = "path/to/pipeline", call = { num_inference_steps = 30 } }
"""


class Studio:
    """A project, and what is asked of each generator; `reports` says how it went."""

    def __init__(
        self,
        store: Store,
        project: Project,
        *,
        n_seeds: int,
        concurrency: int | None,
        batch: int | None,
        retry: Collection[Status],
    ) -> None:
        self.reports: list[GenerateReport] = []
        self.notes: list[str] = []
        self.interrupted = False
        self.error: ParagoneError | None = None  # what ended the run before its time
        self._store, self._project = store, project
        self._n_seeds, self._concurrency, self._batch, self._retry = n_seeds, concurrency, batch, retry
        self._prompts: list[Prompt] = []
        if not project.config.is_file():
            write_atomically(project.config, CONFIG)

    def take_prompts(self, prompts: list[Prompt] | None, *, beside: Path | None) -> None:
        """Put new prompts, with their pictures, into the project; None for those that it has."""
        if prompts is None or beside is None:
            self._prompts = self._store.prompts()
            return
        self._prompts = place_pictures(prompts, beside=beside, project=self._project.folder)
        self._store.add_prompts(self._prompts)

    def run_all(self, generators: Sequence[Described], *, budget: Decimal | None) -> None:
        """Ask each generator; after an interruption or an `error` those that are left are not asked."""
        spent = Decimal(0)
        for generator in generators:
            report = self._run_one(generator, None if budget is None else max(Decimal(0), budget - spent))
            spent += report.usd_spent_now
            self.reports.append(report)
            if self.interrupted or self.error is not None:
                break

    def _run_one(self, generator: Described, budget: Decimal | None) -> GenerateReport:
        task = task_of(generator, self._prompts)
        requests = self._requests(generator.name, task)
        folder = self._project.samples / folder_name(generator.name)
        adapter = load(generator, task, folder)
        known = {card.name: card for card in self._store.generators()}
        self._store.add_generators([generator.card_over(known.get(generator.name))])
        self._store.add_prices(generator.prices)
        with Journal(folder, description_of(adapter, generator.adapter, generator.settings)) as journal:
            stored = {sample.id for sample in self._store.samples(model=generator.name)}
            self._keep(generator.name, folder, journal.entries(), stored)  # what a killed run did not come to
            missing = journal.missing(requests, retry=self._retry)
            report = GenerateReport(generator.name, generator.adapter, task, len(requests), len(missing))
            run = Run(
                adapter,
                missing,
                model=generator.name,
                at_once=self._concurrency,
                batch=self._batch,
                prices=[price for price in self._store.prices() if price.model == generator.name],
                budget=budget,
            )
            self._follow(run, journal, report, generator.name, stored)
            report.finish(journal.last_entries(), [request.key for request in requests], run)
        return report

    def _follow(self, run: Run, journal: Journal, report: GenerateReport, name: str, stored: set[str]) -> None:
        """Write what comes to the disk at once, and to the store a batch at a time."""
        batch: list[ManifestEntry] = []
        flushed = time.monotonic()
        with judging(name, report.n_missing, "samples") as progress, _interrupts(run):
            try:
                for done, generation in enumerate(run.generations(), start=1):
                    batch.append(journal.add(generation))
                    if len(batch) >= BATCH or time.monotonic() - flushed >= BATCH_S:
                        self._keep(name, journal.folder, batch, stored)
                        batch, flushed = [], time.monotonic()
                    report.count(generation)
                    progress(done, report.note)
            except ParagoneError as error:
                run.stop(str(error))
                self.error = error
            finally:
                self._keep(name, journal.folder, batch, stored)
        self.interrupted = run.stopped == INTERRUPTED

    def _keep(self, name: str, folder: Path, entries: Sequence[ManifestEntry], stored: set[str]) -> None:
        """Put new samples and all attempts into the store; both are there once, however often they are put."""
        place = folder.relative_to(self._project.folder).as_posix()
        ok = [entry for entry in entries if entry.status is Status.OK]
        samples = [to_sample(entry, model=name, folder=place) for entry in {entry.key: entry for entry in ok}.values()]
        new = [sample for sample in samples if sample.id not in stored]
        self._store.add_samples(new)
        stored.update(sample.id for sample in new)
        self._store.add_attempts([to_attempt(entry, name) for entry in entries])

    def _requests(self, name: str, task: Task) -> list[GenerationRequest]:
        prompts = [prompt for prompt in self._prompts if prompt.task is task]
        if not prompts:
            have = ", ".join(sorted({prompt.task for prompt in self._prompts})) or "none at all"
            raise UsageError(f"{name}: there are no prompts for {task} (there are: {have}); see --prompts and --task")
        if task in SOURCE_TASKS and (without := [prompt.id for prompt in prompts if prompt.source is None]):
            raise InputError(f"prompt {without[0]!r}: {task} needs an input picture; give it a source")
        return requests_for(prompts, seeds=range(self._n_seeds), folder=self._project.folder)


def load(generator: Described, task: Task, folder: Path | None) -> GeneratorAdapter:
    """The adapter of a generator, with `folder` for its state."""
    return load_generator(
        generator.adapter,
        name=generator.name,
        task=task,
        settings=generator.settings,
        state_folder=folder,
        base=generator.base,
    )


def check_all(
    generators: Sequence[Described], project: Project, prompts: list[Prompt] | None, target: str | None
) -> None:
    """Hold each generator to the rules, and say which were looked at."""
    rows: list[dict[str, Any]] = []
    for generator in generators:
        adapter = load(generator, task_of(generator, prompts or []), None)
        asked = None
        if prompts is not None:
            asked = requests_for(prompts[:2], seeds=(0, 1), folder=project.folder)
        report = check_generator(adapter, requests=asked)
        rows += [
            {"generator": generator.name, "rule": checked.rule, "held": not checked.skipped, "skipped": checked.skipped}
            for checked in report.rules
        ]
    if target:
        write_json({"schema": "paragone.generate-check/1", "rules": rows}, target)
    if target != "-":
        cells = [
            [row["generator"], row["rule"], "held" if row["held"] else f"skipped: {row['skipped']}"] for row in rows
        ]
        print_table(cell_table(["generator", "rule", "result"], cells, left=("generator", "rule", "result")))


def folder_name(model: str) -> str:
    """The folder of a model's samples: its name where that is one, otherwise a readable part of it and a digest."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", model):
        return model
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', model).strip('-.')[:60]}-{fingerprint(model)[:8]}".lstrip("-")


@contextmanager
def _interrupts(run: Run) -> Iterator[None]:
    """The first Ctrl-C lets what is on its way come to its end, the second does not wait for it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: Any = signal.getsignal(signal.SIGINT)

    def interrupt(_number: int, _frame: object) -> None:
        if run.stopped is not None:
            raise KeyboardInterrupt
        run.stop(INTERRUPTED)
        stderr.print("interrupted: waiting for the requests on their way (Ctrl-C again: do not wait)")

    handler: Callable[[int, Any], None] = interrupt
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
