"""The full demo's plots: what the reference models teach, each as PNG and SVG in the project's `plots/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
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
LOG_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
LABEL_PX = 14  # from one label to the next


def line_plot(
    points: pd.DataFrame,
    *,
    x: Axis,
    y: Axis,
    log_x: bool = False,
    lowest: float = 0.0,
    log_y: bool = False,
    floor: float | None = None,
    width: int = WIDTH,
) -> Chart:
    """Lines of `points` (their names in the column `line`), named at their right ends; a rule for real data.

    `x` and `y` are a column and its title each. The y axis begins at `lowest`, which is above 0 with `log_y`.
    """
    colours = alt.Color("line:N", scale=alt.Scale(range=list(LIGHT.lines)), sort=None, legend=None)
    scale_x = alt.Scale(type="log" if log_x else "linear", nice=False)
    axis_x = alt.Axis(values=sorted(set(points[x[0]])), format=".2~f", grid=False)
    along = alt.X(f"{x[0]}:Q", title=x[1], scale=scale_x, axis=axis_x)
    domain = [lowest, 1.05 * float(max(points[y[0]].max(), floor or 0.0))]
    scale_y = alt.Scale(type="log" if log_y else "linear", domain=domain, nice=False)
    values = {"values": [tick for tick in LOG_TICKS if domain[0] <= tick <= domain[1]]} if log_y else {"tickCount": 6}
    up = alt.Y(f"{y[0]}:Q", title=y[1], scale=scale_y, axis=alt.Axis(format=".2~f", **values))
    base = alt.Chart(points).encode(x=along, y=up, color=colours)
    layers: list[Any] = [base.mark_line(strokeWidth=1.8), base.mark_circle(size=45, opacity=1)]
    if floor is not None:
        real = alt.Chart(pd.DataFrame({"floor": [floor], "text": ["real digits"]}))
        real = real.encode(y=alt.Y("floor:Q", scale=scale_y))
        layers.append(real.mark_rule(strokeDash=[4, 3], color=LIGHT.text, opacity=0.6))
        off = 11 if floor > sum(domain) / 2 else -7  # px: on the side with more room
        text = real.mark_text(align="right", dy=off, fontSize=11, color=LIGHT.text, opacity=0.8)
        layers.append(text.encode(x=alt.value(width - 4), text="text:N"))
    if points["line"].nunique() > 1:
        ends = _ends(points, x[0], y[0], domain, log=log_y)
        text = alt.Chart(ends).mark_text(align="left", fontSize=11)
        layers.append(text.encode(x=alt.value(width + 8), y=alt.Y("place:Q", scale=None), text="line:N", color=colours))
    return alt.layer(*layers).properties(width=width, height=HEIGHT)


def _ends(points: pd.DataFrame, x: str, y: str, domain: Sequence[float], *, log: bool) -> pd.DataFrame:
    """The last point of each line, with the places of labels `LABEL_PX` apart at least, which the lowest leads."""
    last = points.sort_values(x).groupby("line", sort=False).tail(1).sort_values(y)
    scale = np.log if log else np.asarray
    low, high = (float(scale(end)) for end in domain)
    places: list[float] = []
    for height in (scale(last[y].to_numpy()) - low) / (high - low) * HEIGHT:
        places.append(max(float(height), places[-1] + LABEL_PX) if places else float(height))
    return last.assign(place=[HEIGHT - place for place in places])


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
        log_x=True,
        log_y=True,
        lowest=2.0,
        floor=floor["fd"],
    )


def _guidance(points: pd.DataFrame, floor: Mapping[str, float]) -> Chart:
    x = ("value", "guidance scale")
    measures = (("fd", "FD to real digits", 0.0), ("alignment", "alignment", 0.5), ("recall", "recall", 0.0))
    return side_by_side(
        [
            line_plot(points, x=x, y=(name, title), log_x=True, lowest=low, floor=floor[name], width=PANEL)
            for name, title, low in measures
        ]
    )


def _collapse(points: pd.DataFrame, floor: Mapping[str, float]) -> Chart:
    x = ("value", "generation")
    measures = (("fd", "FD to real digits"), ("recall", "recall"), ("vendi", "Vendi score"))
    return side_by_side([line_plot(points, x=x, y=y, floor=floor.get(y[0]), width=PANEL) for y in measures])
