"""Prices over time: a step down or up on the day from which a new price holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from paragone.arena.plots import DARK, LIGHT, Chart, finish
from paragone.data.records import Price

HEIGHT = 300  # px of the plotting area
MOST = 16  # models that are drawn, those with the latest changes
AROUND_PX = 110  # of axis and legend, which a page counts as the chart's height


def price_steps(prices: Sequence[Price], *, until: str) -> pd.DataFrame:
    """Each price of one unit as a point: `model`, `day` (datetime), `usd`, `begins`; the last one again at `until`.

    Prices that begin later than `until` are drawn as far as they are known.
    """
    rows: list[tuple[str, str, float, bool]] = []
    for price in sorted(prices, key=lambda price: (price.model, price.valid_from)):
        rows.append((price.model, price.valid_from, float(price.usd), True))
    last = {model: (day, usd) for model, day, usd, _ in rows}
    rows += [(model, until, usd, False) for model, (day, usd) in last.items() if day < until]
    frame = pd.DataFrame(rows, columns=["model", "day", "usd", "begins"])
    frame["day"] = pd.to_datetime(frame["day"])
    latest = frame[frame["begins"]].groupby("model")["day"].max().sort_values(ascending=False, kind="stable")
    return frame[frame["model"].isin(latest.index[:MOST])].sort_values(["model", "day"]).reset_index(drop=True)


def price_plot(steps: pd.DataFrame, *, y_title: str, day: str | None = None, dark: bool = False) -> Chart:
    """Prices as steps over the days, each model by colour and by the shape of its points; `day` is marked by a line."""
    theme = DARK if dark else LIGHT
    models = sorted(set(steps["model"]))
    colours = [theme.lines[k % len(theme.lines)] for k in range(len(models))]
    legend = alt.Legend(orient="bottom", title=None, columns=2, labelLimit=260)
    colour = alt.Color("model:N", scale=alt.Scale(domain=models, range=colours), legend=legend)
    x = alt.X("day:T", title=None, axis=alt.Axis(labelOverlap=True, tickCount=6, grid=False, format="%Y-%m-%d"))
    y = alt.Y("usd:Q", title=y_title, scale=alt.Scale(zero=True, nice=True), axis=alt.Axis(format="~g", tickCount=6))
    tips = [alt.Tooltip("model:N"), alt.Tooltip("day:T", title="from", format="%Y-%m-%d"), alt.Tooltip("usd:Q")]
    base = alt.Chart(steps).encode(x=x, y=y, color=colour, tooltip=tips)
    points = alt.Chart(steps[steps["begins"]]).mark_point(size=70, filled=True, opacity=1)
    shape = alt.Shape("model:N", scale=alt.Scale(domain=models), legend=legend)
    layers: list[Any] = [base.mark_line(interpolate="step-after", strokeWidth=2)]
    layers.append(points.encode(x=x, y=y, color=colour, shape=shape, tooltip=tips))
    if day is not None:
        on = alt.Chart(pd.DataFrame({"day": pd.to_datetime([day])}))
        layers.append(on.mark_rule(strokeDash=[4, 3], color=theme.text, opacity=0.6).encode(x="day:T"))
    return finish(alt.layer(*layers).properties(height=HEIGHT + AROUND_PX), theme, "", fluid=True)
