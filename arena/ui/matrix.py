"""The win matrix: who wins against whom, what the ratings expect of it, and where the two disagree."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from scipy.special import ndtri

from paragone.arena.cycles import three_cycles
from paragone.arena.pairs import win_matrix
from paragone.arena.plots import MatrixKind, win_matrix_plot
from paragone.arena.ui.address import segments
from paragone.arena.ui.board import open_board
from paragone.arena.ui.filters import draw_filters, voters_of
from paragone.arena.ui.reading import OpenProject, dark_page
from paragone.arena.votes import Cells

VALUES: dict[str, tuple[str, MatrixKind, str]] = {
    "observed": (
        "win_rate",
        "score",
        "Share of its votes that the row's model won against the column's; a tie is half.",
    ),
    "expected": ("expected", "score", "What the ratings expect of each pair that met."),
    "residual": (
        "residual",
        "residual",
        "Observed less expected, in standard errors.",
    ),
    "votes": ("n_votes", "count", "Votes on each pair."),
}
SIZES = (15, 30, 60, 200)
ALPHA = 0.05  # chance of any surprise where there is none
SURPRISES = 20  # listed


def show(project: OpenProject) -> None:
    """Draw the page."""
    filters = draw_filters(project, page="matrix", only=("voters",))
    board = open_board(project, filters)
    if board is None:
        return
    if board.ratings is None:
        st.info("No votes yet: there are no pairs to show.", icon=":material/how_to_vote:")
        return
    cells = Cells.from_counts(project.pair_counts(voters_of(filters)))
    known = set(board.ratings.models) >= set(cells.models)
    pairs = win_matrix(cells, ratings=board.ratings if known else None)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        values = [name for name in VALUES if VALUES[name][0] in pairs]
        chosen = segments("Show", values, name="value", page="matrix")
        size = _choose_size(len(board.ratings.models))
    column, kind, meaning = VALUES[chosen]
    st.caption(meaning)
    models = board.ratings.models[:size]
    if len(models) < 2:
        st.info("A matrix needs two models with votes.")
        return
    st.altair_chart(
        win_matrix_plot(square(pairs, models, column), kind=kind, dark=dark_page(), width=None, tips=_tips(pairs)),
        width="stretch",
        theme=None,
        alt=f"Matrix of pairs: {chosen}",
    )
    _draw_cycles(pairs)
    _draw_surprises(pairs)


def _choose_size(n_models: int) -> int:
    """How many of the best models to show: asked where there are many."""
    if n_models <= SIZES[0]:
        return n_models
    sizes = [*(size for size in SIZES if size < n_models), n_models]
    size: int | None = st.selectbox(
        "Models", sizes, format_func=lambda n: "all" if n == n_models else f"the best {n}", key="matrix-size", width=140
    )
    return size or sizes[0]


def square(pairs: pd.DataFrame, models: tuple[str, ...], column: str) -> pd.DataFrame:
    """[M, M] a column of `win_matrix` as a matrix of these models, NaN where two never met."""
    matrix = pairs.pivot(index="model_a", columns="model_b", values=column)
    return matrix.reindex(index=models, columns=models).astype("float64")


def _tips(pairs: pd.DataFrame) -> pd.DataFrame:
    """For the tooltips: the votes of a pair, and the interval of its win rate."""
    bounds = zip(pairs["win_rate_lower"], pairs["win_rate_upper"], strict=True)
    return pd.DataFrame(
        {
            "model": pairs["model_a"],
            "against": pairs["model_b"],
            "votes": [f"{n:,}" for n in pairs["n_votes"]],
            "observed": [f"{rate:.0%}" for rate in pairs["win_rate"]],
            "95 %": [f"{low:.0%} … {high:.0%}" for low, high in bounds],
        }
    )


def _draw_cycles(pairs: pd.DataFrame) -> None:
    st.subheader("Cycles", anchor=False)
    rings = three_cycles(pairs)
    if not rings:
        st.text("None: no three models beat each other in a ring, as far as the 95 % intervals of their votes show.")
        return
    st.caption(
        "Each beats the next, and the last the first, with 95 % intervals above one half. Ratings cannot show this."
    )
    for ring in rings:
        st.text(" → ".join((*ring, ring[0])))


def surprises(pairs: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """The pairs that win more than expected by more standard errors than all pairs' chance explains, and how many.

    The limit is Bonferroni's: without any real surprise, one arena in twenty has a pair beyond it.
    """
    limit = -float(ndtri(ALPHA / max(len(pairs), 1)))  # every pair stands there twice, once for each side
    far = pairs[pairs["residual"] > limit].sort_values("residual", ascending=False, kind="stable")
    return far.reset_index(drop=True), limit


def _draw_surprises(pairs: pd.DataFrame) -> None:
    if "residual" not in pairs:
        return
    st.subheader("Pairs that the ratings do not explain", anchor=False)
    far, limit = surprises(pairs)
    if far.empty:
        st.text(f"None is {limit:.1f} standard errors or more from what is expected: chance explains all.")
        return
    st.caption(f"{len(far)} beyond {limit:.1f} standard errors, which is more than chance among all pairs explains.")
    shown = far.head(SURPRISES)
    st.dataframe(
        shown[["model_a", "model_b", "n_votes", "residual"]].assign(
            observed=100 * shown["win_rate"], expected=100 * shown["expected"]
        ),
        hide_index=True,
        column_order=["model_a", "model_b", "n_votes", "observed", "expected", "residual"],
        column_config={
            "model_a": "wins more than expected",
            "model_b": "against",
            "n_votes": "votes",
            "observed": st.column_config.NumberColumn("observed, %", format="%.0f"),
            "expected": st.column_config.NumberColumn("expected, %", format="%.0f"),
            "residual": st.column_config.NumberColumn(format="%.1f", help="in standard errors"),
        },
    )
