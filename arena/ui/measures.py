"""The metrics page: what the distribution metrics say, beside what the votes say."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from paragone.arena.leaderboard import Leaderboard
from paragone.arena.ui.board import INK, MODEL_PX, choose_voters, show_notes
from paragone.arena.ui.reading import OpenProject

LABEL = "#85858f"  # legible on light and on dark
FEWEST_POINTS = 3  # for a correlation to be worth a number


def show(project: OpenProject) -> None:
    """Draw the page."""
    results = project.metric_results()
    if results.empty:
        st.info("No metrics have been recorded for this project.", icon=":material/monitoring:")
        return
    metric_side, voters_side = st.columns(2)
    with voters_side:
        board = project.board(choose_voters(project, key="measure-voters"))
    metric = metric_side.selectbox("Metric", list(board.measures.protocols), key="metric")
    if metric is not None and board.ratings is not None:
        _draw_against_ratings(board, metric)
    st.subheader("All measurements", anchor=False)
    _draw_table(results)
    show_notes(board)


def _draw_against_ratings(board: Leaderboard, metric: str) -> None:
    points = board.frame[["model", "rating", "rating_lower", "rating_upper"]].assign(value=board.frame[metric])
    points = points.dropna(subset=["rating", "value"])
    higher = board.measures.protocols[metric]["higher_is_better"]
    st.caption(f"{'Higher' if higher else 'Lower'} is better. {_agreement(points)}")
    st.altair_chart(scatter(points, metric), width="stretch")


def _agreement(points: pd.DataFrame) -> str:
    if len(points) < FEWEST_POINTS or points["value"].nunique() < 2 or points["rating"].nunique() < 2:
        return "Too few models, or all alike: no correlation."
    rho = points["value"].rank().corr(points["rating"].rank())
    return f"Spearman's rank correlation with the ratings: {rho:+.2f} ({len(points)} models).".replace("-", "−")


def scatter(points: pd.DataFrame, metric: str) -> alt.LayerChart | alt.FacetChart:
    """A metric (x) against ratings with their 95 % intervals (y), a label at each point."""
    base = alt.Chart(points).encode(
        x=alt.X("value:Q", scale=alt.Scale(zero=False, padding=20), title=metric, axis=alt.Axis(tickCount=8)),
        tooltip=[
            alt.Tooltip("model:N"),
            alt.Tooltip("value:Q", format=".4g", title=metric),
            alt.Tooltip("rating:Q", format=".0f"),
        ],
    )
    scale = alt.Scale(zero=False)
    rule = base.mark_rule(opacity=0.5, strokeWidth=2, color=INK).encode(
        y=alt.Y("rating_lower:Q", scale=scale, title="rating"), y2="rating_upper:Q"
    )
    point = base.mark_point(filled=True, size=90, opacity=1, color=INK).encode(
        y=alt.Y("rating:Q", scale=scale, title="rating")
    )
    label = base.mark_text(align="left", dx=8, dy=-8, limit=140, color=LABEL).encode(
        y=alt.Y("rating:Q", scale=scale), text="model:N"
    )
    return alt.layer(rule, point, label).properties(height=380)


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
