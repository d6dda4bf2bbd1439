"""Pictures of ratings: intervals, who wins against whom, and how ratings moved.

Every function turns a value into an Altair chart and does nothing else; `save_chart` writes one as png, svg or html,
without a browser and without a network. Colours are told apart by people who do not see them all (Okabe and Ito,
"Color universal design", 2008; the diverging scale is purple to orange), and no chart says anything by colour alone.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from PIL import Image

from paragone.arena.ratings import Ratings
from paragone.arena.votes import FloatArray
from paragone.data.errors import UsageError
from paragone.data.files import write_atomically

Chart = alt.LayerChart | alt.FacetChart  # what alt.layer gives
SUFFIXES = (".png", ".svg", ".html")
WIDTH = 560  # px of the plotting area
ROW_PX = 22
NAME_LENGTH = 44  # characters; a longer name loses its middle, for the ends tell checkpoints apart
NUMBERED_MODELS = 15  # a win matrix of more models has no room for numbers
HISTORY_POINTS = 240  # of one model's line
HISTORY_NAMED = 20  # models with a name and a colour, from the best; the others are faint lines behind them
LINE_PX = 14  # from one end label to the next
FONT = "Helvetica Neue, Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif"


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours on one background."""

    background: str
    text: str
    faint: str  # of grid lines
    mark: str
    lines: tuple[str, ...]
    diverging: tuple[str, ...]  # 0, ¼, ½, ¾, 1
    on_extreme: str  # text on either end of `diverging`
    extreme: float  # how far from ½ such text begins


LIGHT = Theme(
    background="#ffffff",
    text="#24242b",
    faint="#e3e3ea",
    mark="#5452d6",
    lines=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8f7a00", "#3f9bd1", "#5452d6", "#6b6b76"),
    diverging=("#b35806", "#f0b46e", "#f5f5f7", "#aea6d6", "#542788"),
    on_extreme="#ffffff",
    extreme=0.3,
)
DARK = Theme(
    background="#17171c",
    text="#e8e8ee",
    faint="#33333d",
    mark="#9a98ff",
    lines=("#4fb3ef", "#ff8a3d", "#35c99d", "#e79bc4", "#e6d04a", "#9ad4f5", "#a6a4ff", "#b4b4c0"),
    diverging=("#ffb05c", "#8a5a2a", "#2a2a33", "#5a528f", "#b9adff"),
    on_extreme="#17171c",
    extreme=0.34,
)


def interval_plot(ratings: Ratings, *, title: str | None = None, dark: bool = False) -> Chart:
    """Each model's rating with its 95 % interval, best first, and beside it the ranks that the interval leaves open."""
    theme = _theme(dark)
    frame = ratings.to_frame()
    lower, upper = frame["rating_lower"].fillna(frame["rating"]), frame["rating_upper"].fillna(frame["rating"])
    frame["ranks"] = [
        str(rank) if low is pd.NA or low == high else f"{low}–{high}"
        for rank, low, high in zip(frame["rank"], frame["rank_lower"], frame["rank_upper"], strict=True)
    ]
    height = ROW_PX * len(frame)
    scale = alt.Scale(domain=_padded(float(lower.min()), float(upper.max())), nice=False, zero=False)
    base = alt.Chart(frame).encode(y=_rows("model", list(ratings.models)), tooltip=_tooltips(frame))
    layers: list[Any] = []
    if ratings.rating_lower is not None:
        bounds = {"x": alt.X("rating_lower:Q", scale=scale, title="rating"), "x2": "rating_upper:Q"}
        layers.append(base.mark_rule(strokeWidth=3, opacity=0.45, color=theme.mark).encode(**bounds))
    layers.append(
        base.mark_circle(size=70, opacity=1, color=theme.mark).encode(
            x=alt.X("rating:Q", scale=scale, title="rating", axis=alt.Axis(tickCount=7, format="~d"))
        )
    )
    columns = (("rank", "ranks:N", 44), ("rating", "rating:Q", 96))
    for name, field, right in columns:
        text = alt.Text(field, format=".0f") if field.endswith("Q") else alt.Text(field)
        layers.append(base.mark_text(align="right", color=theme.text).encode(x=alt.value(WIDTH + right), text=text))
        heading = alt.Chart(pd.DataFrame({"heading": [name]})).mark_text(align="right", color=theme.text, opacity=0.65)
        layers.append(heading.encode(x=alt.value(WIDTH + right), y=alt.value(-9), text="heading:N"))
    chart = alt.layer(*layers).properties(width=WIDTH, height=height)
    return _finish(chart, theme, ratings.summary if title is None else title)


def win_matrix_plot(matrix: pd.DataFrame, *, title: str = "", dark: bool = False) -> Chart:
    """A heat map of the score of each row's model against each column's, from 0 to 1; blank where two never met.

    Args:
        matrix: [M, M] scores in [0, 1], NaN where there is none; index and columns are the models, in the same order.
        title: above the chart.
        dark: on a dark background.
    """
    theme, models = _theme(dark), [str(model) for model in matrix.index]
    if models != [str(model) for model in matrix.columns]:
        raise UsageError("a win matrix has the same models as rows and as columns, in the same order")
    values = matrix.to_numpy(np.float64, na_value=np.nan)
    row, column = np.nonzero(np.isfinite(values) & ~np.eye(len(models), dtype=bool))
    score = values[row, column]
    names = np.array(models, object)
    frame = pd.DataFrame({"model": names[row], "against": names[column], "score": score})
    frame["extreme"] = np.abs(score - 0.5) > theme.extreme
    side = 40 if len(models) <= NUMBERED_MODELS else max(9, 700 // max(len(models), 1))
    font = 11 if side >= 14 else 8
    across = alt.X(
        "against:N",
        sort=models,
        scale=alt.Scale(domain=models),
        title=None,
        axis=alt.Axis(orient="top", labelAngle=-45, labelAlign="left", labelFontSize=font, **_names(28)),
    )
    down = _rows("model", models, font=font)
    colour = alt.Color(
        "score:Q",
        scale=alt.Scale(domain=[0, 0.25, 0.5, 0.75, 1], range=list(theme.diverging), interpolate="rgb"),
        legend=alt.Legend(title="score of the row", format="%", values=[0, 0.25, 0.5, 0.75, 1], gradientLength=160),
    )
    base = alt.Chart(frame).encode(x=across, y=down)
    tips = [alt.Tooltip("model:N"), alt.Tooltip("against:N"), alt.Tooltip("score:Q", format=".1%")]
    layers: list[Any] = [base.mark_rect(stroke=theme.background, strokeWidth=1).encode(color=colour, tooltip=tips)]
    if len(models) <= NUMBERED_MODELS:
        ink = alt.condition(alt.datum.extreme, alt.value(theme.on_extreme), alt.value(theme.text))
        layers.append(base.mark_text(fontSize=11).encode(text=alt.Text("score:Q", format=".0%"), color=ink))
    size = side * len(models)
    return _finish(alt.layer(*layers).properties(width=size, height=size), theme, title)


def history_plot(history: pd.DataFrame, *, title: str = "Elo", dark: bool = False) -> Chart:
    """Each model's rating over the votes, or over time where `history` has it, with the names at the lines' ends.

    Args:
        history: columns `vote` (from 1), `model` and `rating`, as `elo_history` gives them, and optionally `time`
            (datetimes); a long line is drawn through at most `HISTORY_POINTS` of its points.
        title: above the chart.
        dark: on a dark background.
    """
    theme = _theme(dark)
    if history.empty:
        raise UsageError("a history of no votes cannot be drawn")
    timed = "time" in history.columns
    x = "time" if timed else "vote"
    last = history.groupby("model", sort=False).tail(1).sort_values(["rating", "model"], ascending=[False, True])
    ends = last[["model", "rating"]].head(HISTORY_NAMED)
    models = ends["model"].tolist()
    thinned = _thinned(history, x)
    named = thinned["model"].isin(models)
    height = max(320, LINE_PX * (len(models) + 1))
    low, high = _padded(float(thinned["rating"].min()), float(thinned["rating"].max()))
    points_a_px = (high - low) / height
    places = _spread_labels((high - ends["rating"].to_numpy()) / points_a_px, height)
    texts = [f"{_short(model)}  {rating:.0f}" for model, rating in zip(models, ends["rating"], strict=True)]
    ends = ends.assign(label=high - places * points_a_px, text=texts)
    colours = [theme.lines[k % len(theme.lines)] for k in range(len(models))]
    colour = alt.Color("model:N", scale=alt.Scale(domain=models, range=colours), legend=None)
    scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    rating = alt.Y("rating:Q", scale=scale, title="rating", axis=alt.Axis(format="~d"))
    along = alt.X(f"{x}:{'T' if timed else 'Q'}", title=None if timed else "vote", scale=alt.Scale(nice=False))
    tips = [alt.Tooltip("model:N"), alt.Tooltip(x), alt.Tooltip("rating:Q", format=".0f")]
    line = {"x": along, "y": rating, "tooltip": tips}
    layers: list[Any] = []
    if not named.all():
        others = alt.Chart(thinned[~named]).mark_line(strokeWidth=1, color=theme.text, opacity=0.15)
        layers.append(others.encode(detail="model:N", **line))
        title = f"{title}, the best {len(models)} of {len(last)} models named"
    layers.append(alt.Chart(thinned[named]).mark_line(strokeWidth=1.6).encode(color=colour, **line))
    end = alt.Chart(ends).encode(color=colour)
    leaders = end.mark_rule(strokeWidth=0.8, opacity=0.7)
    layers.append(leaders.encode(x=alt.value(WIDTH + 2), x2=alt.value(WIDTH + 16), y=rating, y2="label:Q"))
    names = end.mark_text(align="left", fontSize=11)
    layers.append(names.encode(x=alt.value(WIDTH + 20), y=alt.Y("label:Q", scale=scale), text="text:N"))
    return _finish(alt.layer(*layers).properties(width=WIDTH, height=height), theme, title)


def timed(history: pd.DataFrame, votes: pd.DataFrame) -> pd.DataFrame:
    """A history with the column `time`, where `created_at` of the votes can be read as times that never go back.

    Numbers are seconds since 1970, as FastChat has them; text is ISO 8601. Otherwise the history itself.
    """
    if "created_at" not in votes.columns:
        return history
    given = votes["created_at"]
    numbers = pd.to_numeric(given, errors="coerce")
    if numbers.notna().all():
        time = pd.to_datetime(numbers, unit="s", errors="coerce", utc=True)
    else:
        time = pd.to_datetime(given, format="ISO8601", errors="coerce", utc=True)
    if time.isna().any() or not time.is_monotonic_increasing:
        return history
    return history.assign(time=time.dt.tz_localize(None).to_numpy()[history["vote"].to_numpy() - 1])


def save_chart(chart: Chart, path: Path) -> None:
    """Write a chart as the suffix of `path` says, .png (twice the size in pixels), .svg or .html (needs no network)."""
    check_plot(path)
    if path.suffix.lower() == ".png":
        drawn, packed = io.BytesIO(), io.BytesIO()
        chart.save(drawn, format="png", scale_factor=2)
        Image.open(drawn).save(packed, format="PNG")  # a quarter of the size that the renderer leaves
        write_atomically(path, packed.getvalue())
        return
    text = io.StringIO()
    if path.suffix.lower() == ".svg":
        chart.save(text, format="svg")
    else:
        chart.save(text, format="html", inline=True)
    write_atomically(path, text.getvalue().encode())


def check_plot(path: Path) -> None:
    """Fail before the expensive part when a chart could not be written to `path`."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: the suffix says what to draw; use one of {', '.join(SUFFIXES)}")
    if importlib.util.find_spec("vl_convert") is None:
        raise UsageError(f"{path}: plots need the package vl-convert-python; pip install vl-convert-python")


def _theme(dark: bool) -> Theme:
    return DARK if dark else LIGHT


def _names(longest: int) -> dict[str, Any]:
    """Axis options for names of models, the long ones without their middle."""
    head = longest // 2
    cut = f"slice(datum.label, 0, {head}) + '…' + slice(datum.label, {head + 1 - longest})"
    shortened = f"length(datum.label) > {longest} ? {cut} : datum.label"
    bare = {"ticks": False, "domain": False, "grid": False}
    return {"labelExpr": shortened, "labelLimit": 0, "labelPadding": 6, **bare}


def _rows(field: str, models: Sequence[str], *, font: int = 12) -> alt.Y:
    """Models from top to bottom, all of them named."""
    axis = alt.Axis(labelFontSize=font, labelOverlap=False, **_names(NAME_LENGTH))
    return alt.Y(f"{field}:N", sort=list(models), scale=alt.Scale(domain=list(models)), title=None, axis=axis)


def _tooltips(frame: pd.DataFrame) -> list[alt.Tooltip]:
    tips = [alt.Tooltip("model:N"), alt.Tooltip("rating:Q", format=".1f")]
    if frame["rating_lower"].notna().any():
        tips += [alt.Tooltip(f"{name}:Q", format=".1f") for name in ("rating_lower", "rating_upper")]
    return [
        *tips,
        alt.Tooltip("ranks:N"),
        alt.Tooltip("n_votes:Q", format=","),
        alt.Tooltip("win_rate:Q", format=".1%"),
    ]


def _padded(low: float, high: float) -> list[float]:
    """A domain with some air on both sides; never of no width."""
    air = max(0.04 * (high - low), 5.0)
    return [low - air, high + air]


def _thinned(history: pd.DataFrame, x: str) -> pd.DataFrame:
    """At most `HISTORY_POINTS` rows a model, its first and last among them."""
    place = history.groupby("model", sort=False).cumcount().to_numpy()
    size = history.groupby("model", sort=False)["vote"].transform("size").to_numpy()
    step = (place * (HISTORY_POINTS - 1)) // np.maximum(size - 1, 1)
    before = np.where(place == 0, -1, ((place - 1) * (HISTORY_POINTS - 1)) // np.maximum(size - 1, 1))
    kept: pd.DataFrame = history.loc[step != before, [x, "model", "rating"]]
    return kept


def _spread_labels(wanted: FloatArray, height: float) -> FloatArray:
    """[M] places of labels (px from the top), at least `LINE_PX` apart and as near as can be to those wanted (sorted).

    Labels that would touch merge into a block around the mean of their places, until no two blocks touch.
    """
    blocks: list[tuple[float, int]] = []  # centre, number of labels

    def inside(centre: float, count: int) -> float:
        half = (count - 1) * LINE_PX / 2
        return min(max(centre, half), height - half)

    for place in wanted:
        centre, count = inside(float(place), 1), 1
        while blocks and centre - (count - 1) * LINE_PX / 2 < blocks[-1][0] + (blocks[-1][1] + 1) * LINE_PX / 2:
            above, number = blocks.pop()
            centre = inside((centre * count + above * number) / (count + number), count + number)
            count += number
        blocks.append((centre, count))
    places = [centre + (k - (count - 1) / 2) * LINE_PX for centre, count in blocks for k in range(count)]
    return np.array(places)


def _short(name: str, longest: int = 32) -> str:
    head = longest // 2
    return name if len(name) <= longest else f"{name[:head]}…{name[head + 1 - longest :]}"


def _finish(chart: Chart, theme: Theme, title: str) -> Chart:
    """Title, background and the look of axes and legend."""
    lettering = {"labelColor": theme.text, "titleColor": theme.text, "titleFontWeight": "normal"}
    header = alt.TitleParams(title, anchor="start", frame="group", fontSize=13, color=theme.text, offset=22)
    if title:
        chart = chart.properties(title=header)
    configured: Chart = (
        chart.properties(background=theme.background, padding=16)
        .configure(font=FONT)
        .configure_view(stroke=None)
        .configure_axis(
            gridColor=theme.faint, domainColor=theme.faint, tickColor=theme.faint, labelFontSize=12, **lettering
        )
        .configure_legend(**lettering)
    )
    return configured
