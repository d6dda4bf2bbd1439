"""`paragone demo`: the whole loop on real digits, offline."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("paragone-demo"),
    show_default=True,
    help="Project folder to make, or to go on with: an interrupted demo continues where it stopped.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same leaderboard.")
@click.option("--serve", is_flag=True, help="Open the web UI on the finished project.")
def demo(folder: Path, seed: int, serve: bool) -> None:
    """Run the whole loop on real digits, offline: train, measure, judge, rank.

    Nine contestants learn (or pretend to learn) the 1,797 handwritten digits that scikit-learn ships. Their samples
    are measured against digits that none of them has seen, an automated judge plays their battles, and the votes make
    a leaderboard.
    """
    from paragone.cli.leaderboard import publish_leaderboard
    from paragone.cli.output import progress_bars, stdout
    from paragone.demo.contestants import DemoSettings
    from paragone.demo.loop import run_demo
    from paragone.demo.stages import FLOOR

    with progress_bars() as progress:
        measures = run_demo(folder, DemoSettings(seed=seed), progress=progress)
    publish_leaderboard(folder)
    floor = ", ".join(f"{result.metric} {result.value:.3g}" for result in measures[FLOOR])
    stdout.print(f"Real training digits, measured like a model: {floor}.", soft_wrap=True)
    stdout.print("What this table teaches is in the README. To vote and to browse:", soft_wrap=True)
    stdout.print(f"  paragone serve --dir {folder}", soft_wrap=True, markup=False)
    if serve:
        from paragone.cli.serve import open_ui

        open_ui(folder)
