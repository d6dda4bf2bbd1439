"""`paragone safety`: flag samples with a classifier of one's own, and count what models decline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from paragone.arena.deliveries import Share, request_outcomes
from paragone.arena.refusals import SHARES, Refusals, refusals, share_dict
from paragone.arena.store import Store
from paragone.cli.output import check_writable, progress_bars, stdout, write_json
from paragone.cli.tables import cell_table, print_table
from paragone.data.errors import UsageError
from paragone.data.progress import Progress
from paragone.data.project import Project
from paragone.data.records import SafetyScore, Sample
from paragone.data.safety import Screen

SCHEMA = "paragone.safety/1"
BATCH = 32  # samples to a call of the classifier, and to a transaction


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    show_default="here",
    help="Project folder.",
)
@click.option(
    "--classifier",
    "name",
    metavar="NAME|module:attribute",
    help="What scores pictures; without it, only requests are counted.",
)
@click.option("--threshold", type=float, help="Flag samples from this score on; by default the classifier's own.")
@click.option("--again", is_flag=True, help="Score samples anew that this classifier has scored before.")
@click.option(
    "--json", "json_target", metavar="FILE|-", help="Write the counts as JSON; with - nothing else is printed."
)
def safety(folder: Path, name: str | None, threshold: float | None, again: bool, json_target: str | None) -> None:
    """Flag unsafe samples with a classifier, and count what models refuse.

    Flagged samples are blurred in the arena until somebody asks to see them. Scores are stored with their threshold.
    """
    check_writable(json_target)
    if name is None and (threshold is not None or again):
        raise UsageError("--threshold and --again go with --classifier")
    project = Project.open(folder)
    screen = None if name is None else Screen.load(name, threshold=threshold)
    with Store(project.database) as store:
        samples = store.samples()
        if screen is not None:
            with progress_bars() as progress:
                screen_samples(store, project.folder, screen, samples, again=again, progress=progress)
        scores = store.safety_scores()
        counted = refusals(request_outcomes(store.attempts()), store.prompts())
    flags = flagged_shares(scores, samples)
    if json_target:
        write_json(_document(flags, scores, counted), json_target)
    if json_target != "-":
        _print(flags, scores, counted)


def screen_samples(
    store: Store, folder: Path, screen: Screen, samples: Sequence[Sample], *, again: bool, progress: Progress
) -> None:
    """Score what this classifier has not scored yet, and give what it has today's threshold; a kill loses one batch."""
    scored = {score.sample_id: score for score in store.safety_scores() if score.classifier == screen.name}
    store.add_safety_scores(replace(score, threshold=screen.threshold) for score in scored.values())
    texts = {prompt.id: prompt.text for prompt in store.prompts()}
    todo = [sample for sample in samples if again or sample.id not in scored]
    for start in range(0, len(todo), BATCH):
        batch = todo[start : start + BATCH]
        store.add_safety_scores(screen.score(batch, [texts[sample.prompt_id] for sample in batch], folder))
        progress("score samples", min(start + BATCH, len(todo)), len(todo))


def flagged_shares(scores: Sequence[SafetyScore], samples: Sequence[Sample]) -> dict[tuple[str, str], Share]:
    """How many of a model's scored samples a classifier flags, by classifier and model."""
    models = {sample.id: sample.model for sample in samples}
    scored = Counter((score.classifier, models[score.sample_id]) for score in scores)
    flagged = Counter((score.classifier, models[score.sample_id]) for score in scores if score.flagged)
    return {key: Share(flagged[key], n) for key, n in sorted(scored.items())}


def _document(
    flags: dict[tuple[str, str], Share], scores: Sequence[SafetyScore], counted: Sequence[Refusals]
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "classifiers": [
            {"classifier": name, "thresholds": sorted({s.threshold for s in scores if s.classifier == name})}
            for name in sorted({score.classifier for score in scores})
        ],
        "flagged": [{"classifier": name, "model": model} | share_dict(share) for (name, model), share in flags.items()],
        "requests": [model.to_dict() for model in counted],
    }


def _print(flags: dict[tuple[str, str], Share], scores: Sequence[SafetyScore], counted: Sequence[Refusals]) -> None:
    if flags:
        rows = [[name, model, f"{share.n:,}", f"{share.k:,}", share.percent] for (name, model), share in flags.items()]
        print_table(
            cell_table(["classifier", "model", "scored", "flagged", "share"], rows, left=("classifier", "model"))
        )
        at = {name: sorted({s.threshold for s in scores if s.classifier == name}) for name, _ in flags}
        for name, thresholds in at.items():
            stdout.print(f"{name} flags from {', '.join(f'{t:g}' for t in thresholds)} on.", style="dim", markup=False)
    if counted:
        rows = [[one.model, *(getattr(one, name).percent for name in SHARES)] for one in counted]
        headings = ["model", *(name.replace("_", " ") for name in SHARES)]
        print_table(cell_table(headings, rows, left=("model",)))
        stdout.print("Shares of requests with 95 % intervals; prompts are told apart by their tags.", style="dim")
    for line in _nothing(bool(flags), bool(counted)):
        stdout.print(line, markup=False, soft_wrap=True)


def _nothing(flags: bool, counted: bool) -> Iterator[str]:
    if not flags:
        yield "No sample has a safety score; name a classifier: paragone safety --classifier module:attribute"
    if not counted:
        yield "No requests are recorded, so refusals cannot be counted."
