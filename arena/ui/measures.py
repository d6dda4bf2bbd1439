"""The metrics page: what the metrics say, beside what the votes say, and how far the two agree.

Numbers of different protocols are never in one picture: the signature is chosen where a metric has several.
"""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from paragone.arena.correlation import RankCorrelation, kendall, spearman
from paragone.arena.leaderboard import Leaderboard
from paragone.arena.ui import address
from paragone.arena.ui.board import INK, MODEL_PX, show_notes
from paragone.arena.ui.clip_wall import draw_clips, has_frames, is_clip
from paragone.arena.ui.filters import METHOD_LABELS, draw_filters
from paragone.arena.ui.reading import OpenProject
from paragone.data.records import Sample, Task

LABEL = "#85858f"  # legible on light and on dark
LABEL_PX = 132  # room for names at the right of the plot
LINE_PX = 15  # from one name to the next
LEAST_PX = 300  # of the plot's height
AXES_PX = 80  # of the chart's height, below the plot
OF_CLIPS = frozenset({"warp_error", "motion", "jerk", "brightness_flicker", "frozen_frames", "scene_cuts", "looped"})
MOST_CLIPS = 8
NAMED = 40  # models with a name in the plot: the best rated, the others are points that tell theirs when pointed at


def show(project: OpenProject) -> None:
    """Draw the page."""
    results = project.metric_results()
    if results.empty:
        st.info("No metrics have been recorded for this project.", icon=":material/monitoring:")
        return
    filters = draw_filters(project, page="measures", only=("voters", "method"))
    board = project.board(filters.board_voters, method=filters.method)
    metric_side, protocol_side = st.columns([1, 2])
    metric = address.select(
        metric_side, "Metric", tuple(dict.fromkeys(results["metric"])), name="metric", page="measures"
    )
    rows = results[results["metric"] == metric]
    protocol = _choose_protocol(rows, protocol_side)
    rows = rows[rows["signature"] == protocol]
    if board.ratings is None:
        st.info("No votes yet, so there are no ratings to compare with.", icon=":material/how_to_vote:")
    else:
        _draw_against_ratings(board, metric, rows)
    if metric in OF_CLIPS and has_frames(project.folder):
        st.subheader("The clips, frame by frame", anchor=False)
        _draw_clips(project)
    st.subheader("Does a metric order models as the votes do?", anchor=False)
    _draw_correlations(results, board)
    st.subheader("All measurements", anchor=False)
    _draw_table(results)
    show_notes(board)


def _draw_clips(project: OpenProject) -> None:
    """Every model's clip for one prompt, with what was measured of its frames."""
    prompts = project.prompts()
    videos = [prompt for prompt in prompts if prompt.task in (Task.TEXT_TO_VIDEO, Task.IMAGE_TO_VIDEO)] or prompts
    words = {prompt.id: prompt.text for prompt in videos}
    chosen = address.select(
        st.container(), "Prompt", tuple(words), name="prompt", page="measures", format_func=lambda name: words[name]
    )
    first: dict[str, Sample] = {}
    for sample in project.samples(chosen):
        if is_clip(project.folder, sample):
            first.setdefault(sample.model, sample)
    if first:
        draw_clips(project, list(first.values())[:MOST_CLIPS], key="measures-clips")
    else:
        st.text("No clips of this prompt.")


def _choose_protocol(rows: pd.DataFrame, place: st.delta_generator.DeltaGenerator) -> str:
    """The signature to show: of most models, among equals the latest, unless another is chosen."""
    seen = {signature: at for at, signature in enumerate(rows["signature"])}
    n_models = rows.groupby("signature")["model"].nunique()
    options: list[str] = sorted(seen, key=lambda signature: (-n_models[signature], -seen[signature]))
    if len(options) == 1:
        place.text_input("Protocol", options[0], disabled=True, key=f"protocol-{options[0]}")
        return options[0]
    return address.select(
        place,
        f"Protocol, one of {len(options)}: their numbers cannot be compared",
        options,
        name="protocol",
        page="measures",
        format_func=lambda signature: f"{signature} ({n_models[signature]} models)",
    )


def _draw_against_ratings(board: Leaderboard, metric: str, rows: pd.DataFrame) -> None:
    points = points_of(board, rows)
    if points.empty:
        st.info("No model has both a rating and this measurement.", icon=":material/monitoring:")
        return
    higher = bool(rows["higher_is_better"].iloc[0])
    without = len(set(rows["model"]) | set(board.frame.loc[board.frame["rating"].notna(), "model"])) - len(points)
    missing = f" {without} lack one of the two." if without else ""
    bars = " Bars are 95 % intervals." if points["ci_low"].notna().any() else " This metric has no intervals here."
    st.caption(f"{'Higher' if higher else 'Lower'} is better. {len(points)} models with both numbers.{missing}{bars}")
    st.altair_chart(scatter(points, metric, higher_is_better=higher), width="stretch")


def points_of(board: Leaderboard, rows: pd.DataFrame) -> pd.DataFrame:
    """Models with a rating and a measurement, best rated first: model, rating and value with their intervals."""
    measured = rows[["model", "value", "ci_low", "ci_high"]].astype({"ci_low": float, "ci_high": float})
    rated = board.frame[["model", "rating", "rating_lower", "rating_upper"]]
    points = rated.merge(measured, on="model").dropna(subset=["rating", "value"])
    return points.sort_values("rating", ascending=False, kind="stable").reset_index(drop=True)


def _draw_correlations(results: pd.DataFrame, board: Leaderboard) -> None:
    if board.ratings is None:
        st.text("No votes yet.")
        return
    table = correlations(results, board.frame, rated_by=METHOD_LABELS[board.ratings.method])
    number = st.column_config.NumberColumn(format="%.2f")
    st.caption(
        "Rank correlations over models, signs turned so that +1 means: the metric orders the models as the votes do. "
        "p-values are of permutations; 95 % intervals are of the models only, not of each number's own uncertainty."
    )
    st.dataframe(
        table,
        hide_index=True,
        placeholder="–",
        column_config={
            "metric": st.column_config.TextColumn(pinned=True),
            "models": st.column_config.NumberColumn(width=70),
            "Spearman ρ": number,
            "Kendall τ": number,
            "p (ρ)": st.column_config.NumberColumn(format="%.3g"),
            "p (τ)": st.column_config.NumberColumn(format="%.3g"),
            "signature": st.column_config.TextColumn(width="large"),
        },
    )


def correlations(results: pd.DataFrame, board: pd.DataFrame, *, rated_by: str) -> pd.DataFrame:
    """One row for each metric, signature and rating: Spearman's ρ and Kendall's τ, intervals, p-values, or why not."""
    rows = []
    columns = {"online Elo": "elo"} | {rated_by: "rating"}
    for (metric, signature), measured in results.groupby(["metric", "signature"], sort=False):
        sign = 1.0 if bool(measured["higher_is_better"].iloc[0]) else -1.0
        for name, column in reversed(columns.items()):
            both = board[["model", column]].merge(measured[["model", "value"]], on="model").dropna()
            rho, tau = (f(both[column], sign * both["value"]) for f in (spearman, kendall))
            rows.append(
                {
                    "metric": metric,
                    "with": name,
                    "models": rho.n,
                    "Spearman ρ": rho.value,
                    "95 % (ρ)": _interval(rho),
                    "p (ρ)": rho.p_value,
                    "Kendall τ": tau.value,
                    "95 % (τ)": _interval(tau),
                    "p (τ)": tau.p_value,
                    "note": rho.note,
                    "signature": signature,
                }
            )
    table = pd.DataFrame(rows)
    return table if table["note"].any() else table.drop(columns="note")


def _interval(found: RankCorrelation) -> str | None:
    if found.lower is None or found.upper is None:
        return None
    return f"{found.lower:+.2f} to {found.upper:+.2f}".replace("-", "−")


def scatter(points: pd.DataFrame, metric: str, *, higher_is_better: bool) -> alt.LayerChart | alt.FacetChart:
    """A metric (x) against ratings (y), both with their 95 % intervals, and names at the right, tied to their points.

    Names stand one line below the other in the order of the ratings, so that none covers another.
    """
    named = min(len(points), NAMED)
    height = max(LEAST_PX, LINE_PX * named + 20)
    low, high = _span(points[["rating", "rating_lower", "rating_upper"]].to_numpy(np.float64))
    at = name_lines(points["rating"].to_numpy(np.float64)[:named], low, high, height)
    points = points.assign(label=pd.Series(at, index=points.index[:named]))
    left, right = _span(points[["value", "ci_low", "ci_high"]].to_numpy(np.float64))
    direction = "higher is better →" if higher_is_better else "← lower is better"
    x_scale = alt.Scale(domain=[left, right], nice=False, rangeMax={"expr": f"width - {LABEL_PX + 14}"})
    y_scale = alt.Scale(domain=[low, high], nice=False)
    x_title, y_title = f"{metric}   {direction}", "rating   better ↑"
    x = alt.X("value:Q", scale=x_scale, title=x_title, axis=alt.Axis(tickCount=5, grid=False))
    y = alt.Y("rating:Q", scale=y_scale, title=y_title, axis=alt.Axis(tickCount=6))
    name_x = alt.value({"expr": f"width - {LABEL_PX}"})
    base = alt.Chart(points).encode(
        tooltip=[
            alt.Tooltip("model:N"),
            alt.Tooltip("value:Q", format=".4g", title=metric),
            alt.Tooltip("ci_low:Q", format=".4g", title="from"),
            alt.Tooltip("ci_high:Q", format=".4g", title="to"),
            alt.Tooltip("rating:Q", format=".0f"),
        ]
    )
    bar = base.mark_rule(opacity=0.45, strokeWidth=2, color=INK)
    bars = (
        bar.encode(x=x, y=alt.Y("rating_lower:Q", scale=y_scale, title=y_title), y2="rating_upper:Q"),
        bar.transform_filter("isValid(datum.ci_low) && isValid(datum.ci_high)").encode(
            x=alt.X("ci_low:Q", scale=x_scale, title=x_title), x2="ci_high:Q", y=y
        ),
    )
    ties = (
        base.transform_filter("isValid(datum.label)")
        .mark_rule(opacity=0.35, strokeWidth=1, color=LABEL)
        .encode(x=x, y=y, x2=alt.value({"expr": f"width - {LABEL_PX + 4}"}), y2="label:Q")
    )
    point = base.mark_point(filled=True, size=80, opacity=1, color=INK).encode(x=x, y=y)
    names = (
        base.transform_filter("isValid(datum.label)")
        .mark_text(align="left", baseline="middle", limit=LABEL_PX, color=LABEL)
        .encode(x=name_x, y=alt.Y("label:Q", scale=y_scale), text="model:N")
    )
    return alt.layer(ties, *bars, point, names).properties(height=height + AXES_PX)


def _span(numbers: NDArray[np.float64]) -> tuple[float, float]:
    """What an axis shows: all numbers and a little room."""
    low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def name_lines(ratings: NDArray[np.float64], low: float, high: float, height: int) -> NDArray[np.float64]:
    """[M] where names stand (rating points), near their ratings (best first) but a line apart, all within the plot."""
    if not ratings.size:
        return ratings
    line = LINE_PX * (high - low) / height
    wanted = ratings + line * np.arange(ratings.size)  # names a line apart are names in order, in these coordinates
    placed = np.minimum.accumulate(wanted)
    blocks = (placed + np.maximum.accumulate(wanted[::-1])[::-1]) / 2  # halfway between pushing down and up
    top, bottom = high - line / 2, low + line / 2 + line * (ratings.size - 1)
    shifted: NDArray[np.float64] = np.clip(blocks, min(bottom, top), top) - line * np.arange(ratings.size)
    return shifted


def _draw_table(results: pd.DataFrame) -> None:
    columns = ["model", "metric", "value", "ci_low", "ci_high", "n_generated", "n_reference", "extractor", "signature"]
    number = st.column_config.NumberColumn(format="%.4g")
    st.dataframe(
        results[columns].dropna(axis="columns", how="all"),
        hide_index=True,
        placeholder="–",
        column_config={
            "model": st.column_config.TextColumn(pinned=True, width=MODEL_PX),
            "value": number,
            "ci_low": st.column_config.NumberColumn("95 % from", format="%.4g"),
            "ci_high": st.column_config.NumberColumn("to", format="%.4g"),
            "n_generated": st.column_config.NumberColumn("generated"),
            "n_reference": st.column_config.NumberColumn("reference"),
            "signature": st.column_config.TextColumn(width="large"),
        },
    )
