"""Pictures of ratings: intervals, who wins against whom, and how ratings moved.

Every function turns a value into an Altair chart and does nothing else; `save_chart` writes one as png, svg or html,
without a browser and without a network. Colours are told apart by people who do not see them all (Okabe and Ito,
"Color universal design", 2008; the diverging scale is purple to orange), and no chart says anything by colour alone.

With `width=None` a chart is as wide as the page that holds it, from a phone's to a desk's, and lets its background
through; what has no room on the narrower one is left to the tooltips.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from paragone.arena.ratings import Ratings
from paragone.arena.votes import FloatArray
from paragone.data.errors import UsageError
from paragone.data.files import write_atomically

Chart = alt.LayerChart | alt.FacetChart  # what alt.layer gives
MatrixKind = Literal["score", "count", "residual"]
MATRIX_FORMS: dict[MatrixKind, tuple[str, str]] = {  # format of a number, title of the legend
    "score": (".0%", "score of the row"),
    "count": ("d", "votes"),
    "residual": ("+.1f", "residual, standard errors"),
}
FLUID_PADDING = {"left": 4, "right": 4, "top": 4, "bottom": 4}  # Streamlit adds to it, and fails on a number
AROUND_PX = 95  # of axis and legend, which a page counts as the chart's height
CELL_PX = 34  # of a cell that has room for its number
SUFFIXES = (".png", ".svg", ".html")
WIDTH = 560  # px of the plotting area
ROW_PX = 22
NAME_LENGTH = 44  # characters; a longer name loses its middle, for the ends tell checkpoints apart
PAGE_NAME = 18  # and on a page, which may be a phone's
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
    on_extreme: str  # text where `text` would not be read, at the ends of `diverging`


LIGHT = Theme(
    background="#ffffff",
    text="#24242b",
    faint="#e3e3ea",
    mark="#5452d6",
    lines=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8f7a00", "#3f9bd1", "#5452d6", "#6b6b76"),
    diverging=("#b35806", "#f0b46e", "#f5f5f7", "#aea6d6", "#542788"),
    on_extreme="#ffffff",
)
DARK = Theme(
    background="#17171c",
    text="#e8e8ee",
    faint="#33333d",
    mark="#9a98ff",
    lines=("#4fb3ef", "#ff8a3d", "#35c99d", "#e79bc4", "#e6d04a", "#9ad4f5", "#a6a4ff", "#b4b4c0"),
    diverging=("#ffb05c", "#8a5a2a", "#2a2a33", "#5a528f", "#b9adff"),
    on_extreme="#17171c",
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
    scale = alt.Scale(domain=padded(float(lower.min()), float(upper.max())), nice=False, zero=False)
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
    return finish(chart, theme, ratings.summary if title is None else title)


def win_matrix_plot(
    matrix: pd.DataFrame,
    *,
    title: str = "",
    dark: bool = False,
    kind: MatrixKind = "score",
    width: int | None = WIDTH,
    tips: pd.DataFrame | None = None,
) -> Chart:
    """A heat map of each row's model against each column's; blank where two never met.

    Args:
        matrix: [M, M] values, NaN where there is none; index and columns are the models, in the same order.
        title: above the chart.
        dark: on a dark background.
        kind: what the values are: scores of the row in [0, 1], counts of votes, or residuals in standard errors.
        width: None for a page's own width: columns are then numbered by their models' places. Any number is a square
            that is as large as the models need.
        tips: more columns for the tooltips, with `model` and `against` to say of which pair.
    """
    theme, models = _theme(dark), [str(model) for model in matrix.index]
    if models != [str(model) for model in matrix.columns]:
        raise UsageError("a win matrix has the same models as rows and as columns, in the same order")
    values = matrix.to_numpy(np.float64, na_value=np.nan)
    row, column = np.nonzero(np.isfinite(values) & ~np.eye(len(models), dtype=bool))
    names = np.array(models, object)
    frame = pd.DataFrame({"model": names[row], "against": names[column], "value": values[row, column]})
    scale, extreme = _matrix_scale(frame["value"], kind, theme)
    frame["extreme"] = extreme
    if tips is not None:
        frame = frame.merge(tips, on=["model", "against"], how="left")
    form, legend = MATRIX_FORMS[kind]
    side = 40 if len(models) <= NUMBERED_MODELS else max(9, 700 // max(len(models), 1))
    font = 11 if side >= 14 else 8
    across, down = _columns(models, font, numbered=width is None), _rows("model", models, font=font)
    if width is None:
        side, down = min(side, 32), _rows("model", models, font=font, numbered=True)
    colour = alt.Color("value:Q", scale=scale, legend=alt.Legend(title=legend, format=form, gradientLength=160))
    if width is None:
        colour = colour.legend(title=legend, format=form, gradientLength=160, orient="bottom")
    shown = [alt.Tooltip("model:N"), alt.Tooltip("against:N"), alt.Tooltip("value:Q", format=form, title=legend)]
    if tips is not None:
        shown += [alt.Tooltip(f"{name}:N") for name in tips.columns if name not in ("model", "against")]
    base = alt.Chart(frame).encode(x=across, y=down)
    layers: list[Any] = [base.mark_rect(stroke=theme.background, strokeWidth=1).encode(color=colour, tooltip=shown)]
    if len(models) <= NUMBERED_MODELS:
        ink = alt.condition(alt.datum.extreme, alt.value(theme.on_extreme), alt.value(theme.text))
        room = f"width >= {CELL_PX * len(models)}"
        seen = alt.value(1.0) if width else alt.condition(room, alt.value(1.0), alt.value(0.0))
        text = alt.Text("value:Q", format=form)
        layers.append(base.mark_text(fontSize=11).encode(text=text, color=ink, opacity=seen))
    size = side * len(models)
    chart = alt.layer(*layers).properties(height=size if width else size + AROUND_PX)
    return finish(chart if width is None else chart.properties(width=size), theme, title, fluid=width is None)


def _matrix_scale(values: pd.Series[float], kind: MatrixKind, theme: Theme) -> tuple[alt.Scale, NDArray[np.bool_]]:
    """Colours of a matrix's values, and where the text on them needs the other ink."""
    if kind == "count":
        low, high, colours = 0.0, float(values.max()) if len(values) else 1.0, theme.diverging[2:]
    else:
        (low, high), colours = (0.0, 1.0) if kind == "score" else (-4.0, 4.0), theme.diverging
    stops = np.linspace(low, high, len(colours))
    shades = np.array([_rgb(colour) for colour in colours])
    painted = np.stack([np.interp(values, stops, shades[:, channel]) for channel in range(3)], axis=1)
    plain, other = (_contrast(painted, np.array(_rgb(ink))) for ink in (theme.text, theme.on_extreme))
    scale = alt.Scale(domain=stops.tolist(), range=list(colours), interpolate="rgb", clamp=True)
    return scale, other > plain


def _rgb(colour: str) -> list[float]:
    """Red, green and blue in [0, 1]."""
    return [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]


def _contrast(a: FloatArray, b: FloatArray) -> FloatArray:
    """Contrast of colours [..., 3] in [0, 1], from 1 to 21 (Web Content Accessibility Guidelines 2.2)."""
    light, dark = (
        (np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])
        for colour in (a, b)
    )
    ratio: FloatArray = (np.maximum(light, dark) + 0.05) / (np.minimum(light, dark) + 0.05)
    return ratio


def _columns(models: Sequence[str], font: int, *, numbered: bool) -> alt.X:
    """Models from left to right: named, or numbered by their places where names would not fit."""
    axis = alt.Axis(orient="top", labelAngle=-45, labelAlign="left", labelFontSize=font, **_names(28))
    if numbered:
        axis = alt.Axis(orient="top", labelFontSize=font, labelAngle=0, ticks=False, domain=False)
        axis.labelExpr = "'' + (1 + indexof(domain('x'), datum.value))"
    return alt.X("against:N", sort=list(models), scale=alt.Scale(domain=list(models)), title=None, axis=axis)


def history_plot(
    history: pd.DataFrame,
    *,
    title: str = "Elo",
    dark: bool = False,
    width: int | None = WIDTH,
    events: pd.DataFrame | None = None,
) -> Chart:
    """Each model's rating over the votes, or over time where `history` has it, with the names at the lines' ends.

    Args:
        history: columns `vote` (from 1), `model` and `rating`, as `elo_history` gives them, and optionally `time`
            (datetimes), and `lower` and `upper` for a band; a long line is drawn through at most `HISTORY_POINTS` of
            its points.
        title: above the chart.
        dark: on a dark background.
        width: px of the plotting area; None for a page's own width.
        events: what happened: `vote` (and `time`, where `history` has it) and `event`, each a mark on the x axis.
    """
    theme = _theme(dark)
    if history.empty:
        raise UsageError("a history of no votes cannot be drawn")
    timed = "time" in history.columns
    x = "time" if timed else "vote"
    last = history.groupby("model", sort=False).tail(1).sort_values(["rating", "model"], ascending=[False, True])
    ends = last[["model", "rating"]].head(HISTORY_NAMED)
    models = ends["model"].tolist()
    shown = thinned(history)
    named = shown["model"].isin(models)
    height = max(320, LINE_PX * (len(models) + 1))
    bounds = [shown[name] for name in ("rating", "lower", "upper") if name in shown]
    low, high = padded(min(float(b.min()) for b in bounds), max(float(b.max()) for b in bounds))
    points_a_px = (high - low) / height
    places = _spread_labels((high - ends["rating"].to_numpy()) / points_a_px, height)
    longest = 32 if width else 16
    texts = [
        f"{short_name(model, longest)}  {rating:.0f}" for model, rating in zip(models, ends["rating"], strict=True)
    ]
    ends = ends.assign(label=high - places * points_a_px, text=texts)
    colours = [theme.lines[k % len(theme.lines)] for k in range(len(models))]
    colour = alt.Color("model:N", scale=alt.Scale(domain=models, range=colours), legend=None)
    scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    rating = alt.Y("rating:Q", scale=scale, title="rating", axis=alt.Axis(format="~d"))
    axis = alt.Axis() if width else alt.Axis(labelOverlap=True, tickCount=5)
    title_x, scale_x = None if timed else "vote", alt.Scale(nice=False)
    along = alt.X(f"{x}:{'T' if timed else 'Q'}", title=title_x, scale=scale_x, axis=axis)
    tips = [alt.Tooltip("model:N"), alt.Tooltip(x), alt.Tooltip("rating:Q", format=".0f")]
    line = {"x": along, "y": rating, "tooltip": tips}
    layers: list[Any] = []
    if events is not None and not events.empty:
        marks = alt.Chart(events).encode(x=along, tooltip=[alt.Tooltip(x), alt.Tooltip("event:N")])
        layers.append(marks.mark_rule(strokeDash=[3, 3], color=theme.text, opacity=0.45))
        layers.append(marks.mark_point(shape="triangle-down", filled=True, size=60, color=theme.text).encode(y=_TOP))
    if "lower" in shown:
        band = alt.Chart(shown[named]).mark_area(opacity=0.14)
        layers.append(band.encode(x=along, y=alt.Y("lower:Q", scale=scale), y2="upper:Q", color=colour))
    if not named.all():
        others = alt.Chart(shown[~named]).mark_line(strokeWidth=1, color=theme.text, opacity=0.15)
        layers.append(others.encode(detail="model:N", **line))
        title = f"{title}, the best {len(models)} of {len(last)} models named".removeprefix(", ")
    layers.append(alt.Chart(shown[named]).mark_line(strokeWidth=1.6).encode(color=colour, **line))
    layers += _end_labels(alt.Chart(ends).encode(color=colour), rating, scale, width)
    chart = alt.layer(*layers).properties(height=height if width else height + AROUND_PX)
    return finish(chart.properties(width=width) if width else chart, theme, title, fluid=width is None)


_TOP = alt.value(4)


def _end_labels(end: alt.Chart, rating: alt.Y, scale: alt.Scale, width: int | None) -> list[Any]:
    """Names beside the ends of lines, and a leader from each end to its name."""

    def beside(px: int) -> Any:
        return alt.value(width + px) if width else alt.value({"expr": f"width + {px}"})

    leaders = end.mark_rule(strokeWidth=0.8, opacity=0.7)
    names = end.mark_text(align="left", fontSize=11)
    return [
        leaders.encode(x=beside(2), x2=beside(16), y=rating, y2="label:Q"),
        names.encode(x=beside(20), y=alt.Y("label:Q", scale=scale), text="text:N"),
    ]


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


def _rows(field: str, models: Sequence[str], *, font: int = 12, numbered: bool = False) -> alt.Y:
    """Models from top to bottom, all of them named; `numbered` puts their places before short names."""
    axis = alt.Axis(labelFontSize=font, labelOverlap=False, **_names(PAGE_NAME if numbered else NAME_LENGTH))
    if numbered:
        axis.labelExpr = f"'' + (1 + indexof(domain('y'), datum.value)) + '  ' + ({axis.labelExpr})"
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


def padded(low: float, high: float) -> list[float]:
    """A domain with some air on both sides; never of no width."""
    air = max(0.04 * (high - low), 5.0)
    return [low - air, high + air]


def thinned(history: pd.DataFrame) -> pd.DataFrame:
    """At most `HISTORY_POINTS` rows a model, its first and last among them."""
    place = history.groupby("model", sort=False).cumcount().to_numpy()
    size = history.groupby("model", sort=False)["vote"].transform("size").to_numpy()
    step = (place * (HISTORY_POINTS - 1)) // np.maximum(size - 1, 1)
    before = np.where(place == 0, -1, ((place - 1) * (HISTORY_POINTS - 1)) // np.maximum(size - 1, 1))
    kept: pd.DataFrame = history.loc[step != before]
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


def short_name(name: str, longest: int = 32) -> str:
    head = longest // 2
    return name if len(name) <= longest else f"{name[:head]}…{name[head + 1 - longest :]}"


def finish(chart: Chart, theme: Theme, title: str, *, fluid: bool = False) -> Chart:
    """Title, background and the look of axes and legend."""
    lettering = {"labelColor": theme.text, "titleColor": theme.text, "titleFontWeight": "normal"}
    header = alt.TitleParams(title, anchor="start", frame="group", fontSize=13, color=theme.text, offset=22)
    if title:
        chart = chart.properties(title=header)
    configured: Chart = (
        chart.properties(
            background="transparent" if fluid else theme.background, padding=FLUID_PADDING if fluid else 16
        )
        .configure(font=f"'Source Sans', {FONT}" if fluid else FONT)
        .configure_view(stroke=None)
        .configure_axis(
            gridColor=theme.faint, domainColor=theme.faint, tickColor=theme.faint, labelFontSize=12, **lettering
        )
        .configure_legend(**lettering)
    )
    return configured
