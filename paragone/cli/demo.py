"""`paragone demo`: the whole loop on real digits, offline."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    show_default="paragone-demo, with --full paragone-demo-full",
    help="Project folder to make, or to go on with: an interrupted demo continues where it stopped.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same leaderboard.")
@click.option(
    "--full", is_flag=True, help="All reference models, clips and edits among them: about a quarter of an hour."
)
@click.option("--serve", is_flag=True, help="Open the web UI on the finished project.")
def demo(folder: Path | None, seed: int, full: bool, serve: bool) -> None:
    """Run the whole loop on real digits, offline: train, measure, judge, rank.

    Nine contestants learn (or pretend to learn) the 1,797 handwritten digits that scikit-learn ships. Their samples
    are measured against digits that none of them has seen, an automated judge plays their battles, and the votes make
    a leaderboard. With --full every reference model takes part, moving digits and edits have boards of their own, and
    what the models teach is drawn into plots.
    """
    from paragone.cli.output import stdout

    folder = folder or Path("paragone-demo-full" if full else "paragone-demo")
    if full:
        _run_full(folder, seed)
    else:
        _run_default(folder, seed)
    stdout.print("To vote and to browse:", soft_wrap=True)
    stdout.print(f"  paragone serve --dir {folder}", soft_wrap=True, markup=False)
    if serve:
        from paragone.cli.serve import open_ui

        open_ui(folder)


def _run_default(folder: Path, seed: int) -> None:
    from paragone.cli.leaderboard import publish_leaderboard
    from paragone.cli.output import progress_bars, stdout
    from paragone.demo.contestants import DemoSettings
    from paragone.demo.loop import run_demo
    from paragone.demo.tracks import FLOOR

    with progress_bars() as progress:
        measures = run_demo(folder, DemoSettings(seed=seed), progress=progress)
    publish_leaderboard(folder)
    floor = ", ".join(f"{result.metric} {result.value:.3g}" for result in measures[FLOOR])
    stdout.print(f"Real training digits, measured like a model: {floor}.", soft_wrap=True)
    stdout.print("What this table teaches is in the README.", soft_wrap=True)


def _run_full(folder: Path, seed: int) -> None:
    from paragone.cli.leaderboard import publish_leaderboard
    from paragone.cli.output import progress_bars, stdout
    from paragone.data.project import Project
    from paragone.demo.cast import cast_of
    from paragone.demo.full_plots import write_plots
    from paragone.demo.full_settings import FullSettings
    from paragone.demo.full_sheets import write_sheets
    from paragone.demo.loop import run_demo

    settings = FullSettings(seed=seed)
    with progress_bars() as progress:
        measures = run_demo(folder, settings, progress=progress)
    tracks = cast_of(settings).tracks
    boards = publish_leaderboard(folder, tasks=[track.task for track in tracks])
    floors = [{result.metric: result.value for result in measures[track.floor]} for track in tracks]
    for track, floor in zip(tracks, floors, strict=True):
        numbers = ", ".join(f"{metric} {round(value, 6):.3g}" for metric, value in floor.items())
        stdout.print(
            f"{track.task}: {track.floor[1:-1]}, measured like a model: {numbers}.", soft_wrap=True, markup=False
        )
    project = Project(folder)
    for path in (*write_plots(project, settings, boards[0], floors[0]), *write_sheets(project, settings)):
        stdout.print(str(path), soft_wrap=True, markup=False)
    stdout.print("What these tables and plots teach is in docs/reference-models.md.", soft_wrap=True)
