"""Rating against price: which models nothing cheaper equals, with labels that never overlap.

A chart is as wide as its page, so labels are placed twice, for a phone and for a desk, and those of the desk show only
where there is room for them.
"""

from __future__ import annotations

from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd

from paragone.arena.plots import DARK, LIGHT, Chart, Theme, finish, padded, short_name
from paragone.arena.votes import FloatArray

HEIGHT = 420  # px of the plotting area
WIDTHS = (230, 620)  # px of the plotting area on a phone, and from where on there is a desk's
LETTER_PX = 6.4  # of an 11 px letter, on average and a bit
LINE_PX = 15
RULE_PX = 2  # half the width of an interval's rule, and a bit
POINT_PX = 6  # from the middle of a point to its edge, and a bit
NAME = (14, 30)  # characters of a label on each
SIDES: tuple[tuple[Literal["left", "right"], int, int], ...] = (
    ("left", 8, -9),  # first above to the right: the frontier runs below it, and the interval beside it
    ("right", -8, -9),
    ("left", 8, 10),
    ("right", -8, 10),
)
AXIS_PX = 45  # of the axis below, which a page counts as the chart's height


def frontier(cost: FloatArray, rating: FloatArray) -> FloatArray:
    """[N] whether no other point is at most as dear and at least as good, and different in one of the two."""
    order = np.lexsort((-rating, cost))
    best, kept = -np.inf, np.zeros(cost.size, bool)
    last = (np.nan, np.nan)
    for k in order:
        if rating[k] > best or (cost[k], rating[k]) == last:
            kept[k], best, last = True, rating[k], (cost[k], rating[k])
    return kept


def pareto_plot(points: pd.DataFrame, *, x_title: str, dark: bool = False) -> Chart:
    """Ratings with their intervals against a cost on a logarithmic axis, the frontier as a line.

    Args:
        points: `model`, `rating`, `rating_lower`, `rating_upper` (NaN where there is none) and `cost` > 0.
        x_title: what the cost is.
        dark: on a dark background.
    """
    theme = DARK if dark else LIGHT
    points = points.assign(on_frontier=frontier(points["cost"].to_numpy(), points["rating"].to_numpy()))
    bounds = points[["rating", "rating_lower", "rating_upper"]].to_numpy()
    domain_y = padded(float(np.nanmin(bounds)), float(np.nanmax(bounds)))
    low, high = float(points["cost"].min()), float(points["cost"].max())
    spread = max(high / low, 1.5) ** 0.12
    domain_x = [low / spread, high * spread]
    x = alt.X(
        "cost:Q",
        title=x_title,
        scale=alt.Scale(type="log", domain=domain_x, nice=False),
        axis=alt.Axis(format="~r", tickCount=5, labelOverlap=True, grid=False),
    )
    scale_y = alt.Scale(domain=domain_y, nice=False, zero=False)
    y = alt.Y("rating:Q", title="rating", scale=scale_y, axis=alt.Axis(format="~d", tickCount=7))
    tips = [
        alt.Tooltip("model:N"),
        alt.Tooltip("rating:Q", format=".0f"),
        alt.Tooltip("cost:Q", format=".4~g", title=x_title),
    ]
    base = alt.Chart(points).encode(x=x, y=y, tooltip=tips)
    edge = alt.Chart(points[points["on_frontier"]].sort_values("cost"))
    layers: list[Any] = [edge.mark_line(interpolate="step-after", color=theme.mark, opacity=0.6).encode(x=x, y=y)]
    if points["rating_lower"].notna().any():
        rule = base.mark_rule(strokeWidth=2, opacity=0.35, color=theme.text)
        layers.append(rule.encode(y=alt.Y("rating_lower:Q", scale=scale_y, title="rating"), y2="rating_upper:Q"))
    fill = alt.condition("datum.on_frontier", alt.value(theme.mark), alt.value(theme.background))
    layers.append(base.mark_point(size=80, opacity=1, color=theme.mark).encode(fill=fill))
    layers += _labels(points, domain_x, domain_y, x, y, theme)
    return finish(alt.layer(*layers).properties(height=HEIGHT + AXIS_PX), theme, "", fluid=True)


def _labels(
    points: pd.DataFrame, domain_x: list[float], domain_y: list[float], x: alt.X, y: alt.Y, theme: Theme
) -> list[Any]:
    layers = []
    for k, width in enumerate(WIDTHS):
        placed = place_labels(points, domain_x, domain_y, widths=(width, WIDTHS[-1] * 2), longest=NAME[k])
        room = f"width >= {WIDTHS[1]}" if k else f"width < {WIDTHS[1]}"
        for side, (align, dx, dy) in enumerate(SIDES):
            rows = placed[placed["side"] == side]
            if rows.empty:
                continue
            text = alt.Chart(rows).mark_text(align=align, dx=dx, dy=dy, fontSize=11, color=theme.text)
            seen = alt.condition(room, alt.value(1.0), alt.value(0.0))
            layers.append(text.encode(x=x, y=y, text="label:N", opacity=seen))
    return layers


def place_labels(
    points: pd.DataFrame, domain_x: list[float], domain_y: list[float], *, widths: tuple[int, ...], longest: int
) -> pd.DataFrame:
    """The points that get a label, which, and on which of `SIDES`: clear of points and labels at all these widths.

    Those on the frontier choose first, then the better rated; a point without a free place has its tooltip.
    """
    across = np.log(points["cost"].to_numpy() / domain_x[0]) / np.log(domain_x[1] / domain_x[0])
    down = HEIGHT * (domain_y[1] - points["rating"].to_numpy()) / (domain_y[1] - domain_y[0])
    upper, lower = (points[f"rating_{end}"].fillna(points["rating"]).to_numpy() for end in ("upper", "lower"))
    centre = HEIGHT * (domain_y[1] - (upper + lower) / 2) / (domain_y[1] - domain_y[0])
    half = HEIGHT * (upper - lower) / 2 / (domain_y[1] - domain_y[0])

    def rules(x: FloatArray) -> FloatArray:
        return _boxes(x, centre, RULE_PX, half)

    labels = [short_name(str(model), longest) for model in points["model"]]
    order = np.lexsort((-points["rating"].to_numpy(), ~points["on_frontier"].to_numpy()))
    marks = {width: np.vstack([_boxes(across * width, down, POINT_PX), rules(across * width)]) for width in widths}
    taken: dict[int, list[FloatArray]] = {width: [] for width in widths}
    chosen = []
    for k in order:
        length = LETTER_PX * len(labels[k])
        for side, (align, dx, dy) in enumerate(SIDES):
            middle = dx + (length / 2 if align == "left" else -length / 2)
            boxes = {
                width: _boxes(across[k : k + 1] * width + middle, down[k : k + 1] + dy, length / 2, LINE_PX / 2)[0]
                for width in widths
            }
            own = (k, k + across.size)
            if all(_free(boxes[w], w, np.vstack([np.delete(marks[w], own, axis=0), *taken[w]])) for w in widths):
                chosen.append((k, side))
                for width in widths:
                    taken[width].append(boxes[width])
                break
    rows = points.iloc[[k for k, _ in chosen]]
    return rows.assign(side=[side for _, side in chosen], label=[labels[k] for k, _ in chosen])


def _boxes(x: FloatArray, y: FloatArray, half_x: float, half_y: float | FloatArray | None = None) -> FloatArray:
    """[N, 4] left, top, right, bottom of boxes around points."""
    high = half_x if half_y is None else half_y
    return np.stack([x - half_x, y - high, x + half_x, y + high], axis=1)


def _free(box: FloatArray, width: int, others: FloatArray) -> bool:
    """Whether a box is inside the chart and touches none of the others [N, 4]."""
    if box[0] < 0 or box[2] > width or box[1] < 0 or box[3] > HEIGHT:
        return False
    apart = (box[2] <= others[:, 0]) | (box[0] >= others[:, 2]) | (box[3] <= others[:, 1]) | (box[1] >= others[:, 3])
    return bool(apart.all())
