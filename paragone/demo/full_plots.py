"""The full demo's plots: what the reference models teach, each as PNG and SVG in the project's `plots/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from paragone.arena.leaderboard import Leaderboard
from paragone.arena.plots import LIGHT, WIDTH, Chart, finish, save_chart
from paragone.arena.plots_pareto import pareto_plot
from paragone.data.project import Project
from paragone.demo.cast import cast_of
from paragone.demo.full_settings import FullSettings
from paragone.demo.studies import study_frame

Axis = tuple[str, str]  # a column and its title

HEIGHT = 260  # px of a plotting area
PANEL = 230  # px wide, where several stand side by side


def line_plot(
    points: pd.DataFrame,
    *,
    x: Axis,
    y: Axis,
    log: bool = False,
    floor: float | None = None,
    width: int = WIDTH,
) -> Chart:
    """Lines of `points` (their names in the column `line`), named at their right ends; a rule for real data.

    `x` and `y` are a column and its title each. Names are moved apart where ends are close.
    """
    colours = alt.Color("line:N", scale=alt.Scale(range=list(LIGHT.lines)), sort=None, legend=None)
    scale_x = alt.Scale(type="log", nice=False) if log else alt.Scale(nice=False)
    ticks = sorted(set(points[x[0]])) if points[x[0]].nunique() <= 9 else None
    axis_x = alt.Axis(values=ticks, format=".2~f", grid=False) if ticks else alt.Axis(format=".2~f", grid=False)
    along = alt.X(f"{x[0]}:Q", title=x[1], scale=scale_x, axis=axis_x)
    top = 1.05 * float(max(points[y[0]].max(), floor or 0.0))
    scale_y = alt.Scale(domain=[0.0, top], nice=False)
    up = alt.Y(f"{y[0]}:Q", title=y[1], scale=scale_y, axis=alt.Axis(tickCount=6))
    base = alt.Chart(points).encode(x=along, y=up, color=colours)
    layers: list[Any] = [base.mark_line(strokeWidth=1.8), base.mark_circle(size=45, opacity=1)]
    if floor is not None:
        real = alt.Chart(pd.DataFrame({"floor": [floor], "text": ["real digits"]}))
        real = real.encode(y=alt.Y("floor:Q", scale=scale_y))
        layers.append(real.mark_rule(strokeDash=[4, 3], color=LIGHT.text, opacity=0.6))
        text = real.mark_text(align="right", dy=-7, fontSize=11, color=LIGHT.text, opacity=0.8)
        layers.append(text.encode(x=alt.value(width - 4), text="text:N"))
    if points["line"].nunique() > 1:
        ends = _ends(points, x[0], y[0], top)
        text = alt.Chart(ends).mark_text(align="left", fontSize=11)
        at_end = alt.Y("label:Q", scale=scale_y)
        layers.append(text.encode(x=alt.value(width + 8), y=at_end, text="line:N", color=colours))
    return alt.layer(*layers).properties(width=width, height=HEIGHT)


def _ends(points: pd.DataFrame, x: str, y: str, top: float) -> pd.DataFrame:
    """The last point of each line, with heights for labels that are 14 px apart at least."""
    last = points.sort_values(x).groupby("line", sort=False).tail(1).sort_values(y)
    apart = 14 * top / HEIGHT
    heights: list[float] = []
    for value in last[y]:
        heights.append(max(float(value), heights[-1] + apart) if heights else float(value))
    return last.assign(label=heights)


def side_by_side(charts: Sequence[Chart]) -> Chart:
    """Charts beside each other, their axes their own."""
    return alt.hconcat(*charts, spacing=30).resolve_scale(y="independent", color="shared")  # type: ignore[no-any-return]


def price_quality(board: Leaderboard, calls: Mapping[str, int]) -> Chart:
    """Rating against the number of network calls a picture, the frontier as a line."""
    frame = board.frame
    points = frame[frame["model"].isin(list(calls)) & frame["rating"].notna()]
    cost = points["model"].map(dict(calls)).astype(float)
    columns = ["model", "rating", "rating_lower", "rating_upper"]
    chart = pareto_plot(points[columns].assign(cost=cost), x_title="network calls a picture")
    fixed: Chart = chart.properties(width=WIDTH + 60, background=LIGHT.background, padding=16)
    return fixed


def write_plots(project: Project, settings: FullSettings, board: Leaderboard, floor: Mapping[str, float]) -> list[Path]:
    """Draw all plots; `floor` is what real digits measure. Returns the PNG files."""
    cast = cast_of(settings)
    frames = {study: study_frame(study, project, cast.lines) for study in ("steps", "guidance", "generations")}
    calls = {one.card.name: one.calls for one in cast.contestants if one.calls is not None}
    drawn = {
        "steps": finish(_steps(frames["steps"], floor), LIGHT, "What a step is worth"),
        "guidance": finish(_guidance(frames["guidance"], floor), LIGHT, "Guidance: alignment is paid for with variety"),
        "price-quality": price_quality(board, calls),
        "collapse": finish(_collapse(frames["generations"], floor), LIGHT, "Models that learn from models"),
    }
    for name, chart in drawn.items():
        for suffix in (".png", ".svg"):
            save_chart(chart, project.folder / "plots" / f"{name}{suffix}")
    return [project.folder / "plots" / f"{name}.png" for name in drawn]


def _steps(points: pd.DataFrame, floor: Mapping[str, float]) -> Chart:
    return line_plot(
        points,
        x=("calls", "network calls a picture"),
        y=("fd", "FD to real digits"),
        log=True,
        floor=floor["fd"],
    )


def _guidance(points: pd.DataFrame, floor: Mapping[str, float]) -> Chart:
    x = ("value", "guidance scale")
    fd = line_plot(points, x=x, y=("fd", "FD to real digits"), floor=floor["fd"], width=PANEL)
    alignment = line_plot(points, x=x, y=("alignment", "alignment"), floor=floor["alignment"], width=PANEL)
    recall = line_plot(points, x=x, y=("recall", "recall"), floor=floor["recall"], width=PANEL)
    return side_by_side([fd, alignment, recall])


def _collapse(points: pd.DataFrame, floor: Mapping[str, float]) -> Chart:
    x = ("value", "generation")
    measures = (("fd", "FD to real digits"), ("recall", "recall"), ("vendi", "Vendi score"))
    return side_by_side([line_plot(points, x=x, y=y, floor=floor.get(y[0]), width=PANEL) for y in measures])
