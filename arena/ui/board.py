"""The leaderboard page: ratings with their intervals, drawn and as a table."""

from __future__ import annotations

import json

import altair as alt
import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from paragone.arena.leaderboard import Leaderboard, Voters, leaderboard_csv, rank_text
from paragone.arena.ui.reading import OpenProject

LABELS: dict[Voters, str] = {"human": "People", "judge": "Judges", "all": "Both, mixed"}
ROW_PX = 34
MODEL_PX = 150
INK = "#6f6ee8"  # of marks: legible on light and on dark
FEW_VOTES = 30  # of a model: a rating from fewer is preliminary


def show(project: OpenProject) -> None:
    """Draw the page."""
    board = project.board(choose_voters(project, key="board-voters"))
    if board.ratings is None:
        st.info("No votes yet: the first one makes a leaderboard.", icon=":material/how_to_vote:")
    else:
        st.caption(describe(board))
        st.altair_chart(interval_chart(board.frame), width="stretch")
    _draw_table(board)
    _draw_downloads(board)
    show_notes(board)


def choose_voters(project: OpenProject, *, key: str) -> Voters:
    """Whose votes to show: asked only where there is a choice. The mix has to be asked for."""
    kinds = project.kinds()
    if len(kinds) < 2:
        return kinds[0] if kinds else "all"
    options: list[Voters] = [*sorted(kinds), "all"]
    chosen: Voters = st.segmented_control(
        "Votes of", options, default=kinds[0], required=True, format_func=LABELS.__getitem__, key=key
    )
    return chosen


def describe(board: Leaderboard) -> str:
    """One line on what the ratings are."""
    n = board.ratings.n_votes if board.ratings else 0
    whose = {"human": "people", "judge": "judges", "all": "people and judges together"}[board.voters]
    few = int((board.frame["n_votes"] < FEW_VOTES).sum())
    preliminary = f" {few} of {len(board.frame)} models have fewer than {FEW_VOTES} votes: preliminary." if few else ""
    return f"{n:,} vote{'s' * (n != 1)} of {whose}. Bradley-Terry ratings with 95 % intervals.{preliminary}"


def show_notes(board: Leaderboard) -> None:
    """Warnings, as plain text: they may quote model names."""
    if board.warnings:
        with st.expander("Notes on these numbers", icon=":material/info:"):
            for warning in board.warnings:
                st.text(warning)


def interval_chart(frame: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Ratings as points with their 95 % intervals, best first; models without votes are left out."""
    columns = ["model", "rating", "rating_lower", "rating_upper", "n_votes"]
    rated = frame.loc[frame["rating"].notna(), columns]
    order = list(rated["model"])
    axis = alt.Axis(labelLimit=150, ticks=False, domain=False)
    scale = alt.Scale(zero=False, nice=True)
    base = alt.Chart(rated).encode(
        y=alt.Y("model:N", sort=order, title=None, axis=axis),
        tooltip=[
            alt.Tooltip("model:N"),
            alt.Tooltip("rating:Q", format=".0f"),
            alt.Tooltip("rating_lower:Q", format=".0f", title="from"),
            alt.Tooltip("rating_upper:Q", format=".0f", title="to"),
            alt.Tooltip("n_votes:Q", title="votes"),
        ],
    )
    rule = base.mark_rule(strokeWidth=3, opacity=0.5, color=INK).encode(
        x=alt.X("rating_lower:Q", scale=scale, title="rating", axis=alt.Axis(tickCount=7, format="d")),
        x2="rating_upper:Q",
    )
    point = base.mark_point(filled=True, size=110, opacity=1, color=INK).encode(
        x=alt.X("rating:Q", scale=scale, title="rating")
    )
    return alt.layer(rule, point).properties(height=alt.Step(ROW_PX))


def _draw_table(board: Leaderboard) -> None:
    frame = board.frame
    table = pd.DataFrame(
        {
            "rank": [rank_text(row) for row in frame.to_dict("records")],
            "model": frame["model"],
            "rating": frame["rating"],
            "± 95 %": (frame["rating_upper"] - frame["rating_lower"]) / 2,
            "Elo": frame["elo"],
            "votes": frame["n_votes"],
            "win %": 100 * frame["win_rate"],
        }
    )
    extra = frame[[*board.measures.frame.columns, "licence", "open_weights", "usd_per_image"]].dropna(
        axis="columns", how="all"
    )
    numbers: dict[str, ColumnConfig] = {
        name: st.column_config.NumberColumn(format="%.3g") for name in board.measures.frame.columns
    }
    st.dataframe(
        table.join(extra),
        hide_index=True,
        row_height=ROW_PX,
        placeholder="–",
        height=(len(table) + 1) * ROW_PX + 3 if len(table) <= 20 else "auto",
        column_config=numbers
        | {
            "rank": st.column_config.TextColumn(
                width="small", help="best and worst rank that the intervals leave open"
            ),
            "model": st.column_config.TextColumn(pinned=True, width=MODEL_PX),
            "rating": st.column_config.NumberColumn(format="%.0f"),
            "± 95 %": st.column_config.NumberColumn(format="%.0f"),
            "Elo": st.column_config.NumberColumn(format="%.0f", help="online Elo: depends on the order of the votes"),
            "win %": st.column_config.NumberColumn(format="%.0f", help="a tie counts as half a win"),
            "licence": st.column_config.TextColumn(),
            "open_weights": st.column_config.CheckboxColumn("open weights"),
            "usd_per_image": st.column_config.NumberColumn("USD per image", format="%.4f"),
        },
    )


def _draw_downloads(board: Leaderboard) -> None:
    document = json.dumps(board.document(), indent=2, ensure_ascii=False, allow_nan=False)
    with st.container(horizontal=True):
        st.download_button(
            "CSV",
            leaderboard_csv(board.frame),
            "leaderboard.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/download:",
        )
        st.download_button(
            "JSON", document, "leaderboard.json", "application/json", on_click="ignore", icon=":material/download:"
        )
