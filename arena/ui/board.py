"""The leaderboard page: ratings with their intervals, drawn and as a table, filtered as the address says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from paragone.arena.leaderboard import Leaderboard, is_missing, leaderboard_csv, rank_text, store_leaderboard
from paragone.arena.ui.filters import METHOD_LABELS, Filters, draw_filters
from paragone.arena.ui.reading import OpenProject
from paragone.data.errors import ParagoneError

WHOSE = {
    "human": "people",
    "judge": "judges",
    "joint": "people, sharpened by those of judges",
    "all": "people and judges together",
}
ROW_PX = 34
MODEL_PX = 150
INK = "#6f6ee8"  # of marks: legible on light and on dark
FEW_VOTES = 30  # of a model: a rating from fewer is preliminary
DRAWN_MODELS = 40  # at most, in the chart; the table has them all
TABLE_ROWS = 20  # of a table that is as high as its rows
REPORT = re.compile(r"https?://[^\s<>\"']{1,500}")
PRICES = {
    "usd_per_image": "USD per image",
    "usd_per_megapixel": "USD per megapixel",
    "usd_per_second": "USD per second",
}
PAID = {
    "usd_paid": "USD paid",
    "usd_per_delivered": "USD per delivered",
    "usd_per_accepted": "USD per accepted",
    "usd_paid_per_megapixel": "USD paid per megapixel",
}
REQUESTS = {"n_requests": "requests", "n_refused": "refused", "n_filtered": "filtered", "n_failed": "failed"}


def show(project: OpenProject) -> None:
    """Draw the page."""
    filters = draw_filters(project, page="board")
    board = open_board(project, filters)
    if board is None:
        return
    seen = filters.rows(board.frame)
    if board.ratings is None:
        st.info("No votes yet: the first one makes a leaderboard.", icon=":material/how_to_vote:")
    else:
        st.text(describe(board))
        if seen["rating"].notna().any():
            st.altair_chart(interval_chart(seen.head(DRAWN_MODELS)), width="stretch", alt="Ratings with 95 % intervals")
    if seen.empty and not board.frame.empty:
        st.info(f"None of the {len(board.frame)} models is left by these filters.", icon=":material/filter_alt:")
    else:
        if len(seen) < len(board.frame):
            st.caption(f"{len(seen)} of {len(board.frame)} models; ranks are those among all.")
        show_refusals(board)
        _draw_table(board, seen)
    _draw_downloads(project, filters)
    show_notes(board)


def open_board(project: OpenProject, filters: Filters, *, day: str | None = None) -> Leaderboard | None:
    """The board that the filters ask for; what hinders it is said on the page, and gives None."""
    try:
        return project.board(filters.board_voters, method=filters.method, tag=filters.tag, task=filters.task, day=day)
    except ParagoneError as error:
        st.warning("These votes give no ratings.", icon=":material/help:")
        st.text(str(error))
        return None


def describe(board: Leaderboard) -> str:
    """One line on what the ratings are."""
    ratings = board.ratings
    n = ratings.n_votes if ratings else 0
    method = METHOD_LABELS.get(ratings.method, "Bradley-Terry") if ratings else "No"
    intervals = "" if ratings is None or ratings.rating_lower is None else " with 95 % intervals"
    few = int((board.frame["n_votes"] < FEW_VOTES).sum())
    preliminary = f" {few} of {len(board.frame)} models have fewer than {FEW_VOTES} votes: preliminary." if few else ""
    of = "".join(f", on prompts of the {kind} {name!r}" for kind, name in board.category.items())
    return f"{n:,} vote{'s' * (n != 1)} of {WHOSE[board.voters]}{of}. {method} ratings{intervals}.{preliminary}"


def show_refusals(board: Leaderboard) -> None:
    """Say where models differ in what they decline: a board is of what was delivered."""
    if board.refusals:
        st.warning("Models differ in what they decline, which moves ratings.", icon=":material/block:")
        st.text(board.refusals)


def show_notes(board: Leaderboard) -> None:
    """Warnings, as plain text: they may quote model names."""
    if board.warnings:
        with st.expander("Notes on these numbers", icon=":material/info:"):
            for warning in board.warnings:
                st.text(warning)


def tied_groups(frame: pd.DataFrame) -> list[str]:
    """[M] a letter for each group of rated models whose rank intervals overlap with the group's best; "" of no rating.

    Going down the board, a model whose interval reaches that of the group's first model is tied with it; the next one
    that does not begins a group of its own. So two models of one group may not be told apart, and two models of
    different groups may still be neighbours that overlap.
    """
    names, best, letter = [], float("inf"), 0
    for lower, upper in zip(frame["rating_lower"], frame["rating_upper"], strict=True):
        if pd.isna(upper):
            names.append("")
            continue
        if upper < best:
            best, letter = lower, letter + 1
        names.append(_letter(letter))
    return names


def _letter(n: int) -> str:
    """1 → A, 26 → Z, 27 → AA."""
    text = ""
    while n:
        n, digit = divmod(n - 1, 26)
        text = chr(65 + digit) + text
    return text


def interval_chart(frame: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Ratings as points with their 95 % intervals, best first; hollow where preliminary, absent without votes."""
    columns = ["model", "rating", "rating_lower", "rating_upper", "n_votes"]
    rated = frame.loc[frame["rating"].notna(), columns]
    rated = rated.assign(standing=["preliminary" if n < FEW_VOTES else "settled" for n in rated["n_votes"]])
    order = list(rated["model"])
    axis = alt.Axis(labelLimit=130, labelOverlap=False, labelBound=False, labelFlush=False, ticks=False, domain=False)
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
        x=alt.X(
            "rating_lower:Q", scale=scale, title="rating", axis=alt.Axis(tickCount=7, format="d", labelFlush=False)
        ),
        x2="rating_upper:Q",
    )
    point = base.mark_point(size=110, opacity=1, color=INK).encode(
        x=alt.X("rating:Q", scale=scale, title="rating"),
        fill=alt.condition("datum.standing == 'settled'", alt.value(INK), alt.value("transparent")),
    )
    return alt.layer(rule, point).properties(height=alt.Step(ROW_PX if len(rated) <= TABLE_ROWS else 20))


def _draw_table(board: Leaderboard, seen: pd.DataFrame) -> None:
    groups = dict(zip(board.frame["model"], tied_groups(board.frame), strict=True))
    intervals = seen["rating_lower"].notna().any()
    table = pd.DataFrame(
        {
            "rank": [rank_text(row) for row in seen.to_dict("records")],
            "model": seen["model"],
            "rating": seen["rating"],
            "± 95 %": (seen["rating_upper"] - seen["rating_lower"]) / 2,
            "95 % interval": [_interval(row) for row in seen.to_dict("records")],
            "tied": [groups[model] for model in seen["model"]],
            "Elo": seen["elo"],
            "votes": seen["n_votes"],
            "win %": 100 * seen["win_rate"],
            "standing": ["preliminary" if 0 < n < FEW_VOTES else "" for n in seen["n_votes"]],
        }
    )
    if not intervals:
        table = table.drop(columns=["± 95 %", "95 % interval", "tied"])
    if not (table["standing"] != "").any():
        table = table.drop(columns="standing")
    frame = seen.assign(
        parameters=seen["parameters"].astype("Float64") / 1e9,
        report_url=pd.array([_report(url) for url in seen["report_url"]], dtype="str"),
        delivered=100 * seen["delivered"],
        delivered_range=pd.array([_percent(row) for row in seen.to_dict("records")], dtype="str"),
    )
    about = ("licence", "open_weights", "provider", "version", "family", "space", "text_encoder", "parameters")
    extra = [
        *board.measures.frame.columns,
        *("n_requests", "delivered", "delivered_range", "n_refused", "n_filtered", "n_failed"),
        *(*PRICES, *PAID, "latency_s", "latency_p95_s"),
        *(*about, "released", "report_url"),
    ]
    st.dataframe(
        table.join(frame[[name for name in extra if name in frame]].dropna(axis="columns", how="all")),
        hide_index=True,
        row_height=ROW_PX,
        placeholder="–",
        height=(len(table) + 1) * ROW_PX + 3 if len(table) <= TABLE_ROWS else (TABLE_ROWS + 1) * ROW_PX,
        column_config=_columns(list(board.measures.frame.columns)),
    )


def _interval(row: Mapping[Any, Any]) -> str | None:
    lower, upper = row["rating_lower"], row["rating_upper"]
    return None if is_missing(lower) else f"{lower:.0f} – {upper:.0f}"


def _report(url: object) -> str | None:
    return url if isinstance(url, str) and REPORT.fullmatch(url) else None


def _percent(row: Mapping[Any, Any]) -> str | None:
    lower, upper = row["delivered_lower"], row["delivered_upper"]
    return None if is_missing(lower) else f"{100 * lower:.0f} – {100 * upper:.0f}"


def _columns(measures: list[str]) -> dict[str, ColumnConfig]:
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    config: dict[str, ColumnConfig] = {name: number(format="%.3g") for name in measures}
    return config | {
        "rank": text(width="small", help="best and worst rank that the intervals leave open"),
        "model": text(pinned=True, width=MODEL_PX),
        "rating": number(format="%.0f"),
        "± 95 %": number(format="%.0f", help="half the width of the 95 % interval"),
        "tied": text(width="small", help="models with the same letter are not told apart from the best of them"),
        "Elo": number(format="%.0f", help="online Elo: depends on the order of the votes"),
        "win %": number(format="%.0f", help="a tie counts as half a win"),
        "standing": text(help=f"preliminary: fewer than {FEW_VOTES} votes"),
        "licence": text(),
        "open_weights": st.column_config.CheckboxColumn("open weights"),
        "latency_s": number("latency, s", format="%.2f", help="median over what was delivered"),
        "latency_p95_s": number("p95, s", format="%.2f", help="one in twenty took longer"),
        "text_encoder": text("text encoder"),
        "parameters": number("parameters, 10⁹", format="%.3g"),
        "report_url": st.column_config.LinkColumn("report", display_text="report"),
        "delivered": number("delivered %", format="%.0f", help="of its requests, a prompt with a seed being one"),
        "delivered_range": text("95 %", help="Wilson's interval of the share delivered"),
        **{name: number(label, format="%d") for name, label in REQUESTS.items()},
        **{name: number(label, format="%.4f") for name, label in (PRICES | PAID).items()},
    }


def _draw_downloads(project: OpenProject, filters: Filters) -> None:
    """The whole board, as `paragone leaderboard --csv` and `--json` write it; made when it is asked for."""

    def board() -> Leaderboard:
        voters = filters.board_voters
        return store_leaderboard(
            project.store, voters=voters, method=filters.method, tag=filters.tag, task=filters.task
        )

    def document() -> str:
        return json.dumps(board().document(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def table() -> str:
        return leaderboard_csv(board().frame)

    formats: tuple[tuple[str, Callable[[], str], str], ...] = (
        ("CSV", table, "text/csv"),
        ("JSON", document, "application/json"),
    )
    with st.container(horizontal=True):
        for name, make, kind in formats:
            file = f"leaderboard.{name.lower()}"
            st.download_button(name, make, file, kind, on_click="ignore", icon=":material/download:")
