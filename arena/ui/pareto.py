"""The Pareto page: ratings against what a picture costs on a day, in dollars or in seconds, and how prices moved."""

from __future__ import annotations

import streamlit as st

from paragone.arena.costs import today
from paragone.arena.plots_pareto import frontier, pareto_plot
from paragone.arena.plots_prices import price_plot, price_steps
from paragone.arena.ui.address import day, segments
from paragone.arena.ui.board import PAID, PRICES, open_board
from paragone.arena.ui.filters import draw_filters
from paragone.arena.ui.reading import OpenProject, dark_page
from paragone.data.records import PriceUnit

COSTS = {
    **PRICES,
    **{name: PAID[name] for name in ("usd_per_delivered", "usd_per_accepted", "usd_paid_per_megapixel")},
    "latency_s": "latency, seconds",
}


def show(project: OpenProject) -> None:
    """Draw the page."""
    filters = draw_filters(project, page="pareto", only=("voters", "method", "category", "open"))
    on, choose = None, st.container(horizontal=True, vertical_alignment="bottom")
    if project.prices():
        about = "List prices as they were on a day; today, without one."
        on = day(choose, "Prices on", name="on", page="pareto", help=about)
    board = open_board(project, filters, day=on)
    if board is None:
        return
    frame = filters.rows(board.frame)
    known = [name for name in COSTS if name in frame and (frame[name] > 0).any()]
    if board.ratings is None or not known:
        st.info(
            "No votes yet." if board.ratings is None else "No model here has a price or a latency: add prices first.",
            icon=":material/payments:",
        )
        return
    with choose:
        cost = segments("Against", known, name="cost", page="pareto", format_func=COSTS.__getitem__)
    points = frame[["model", "rating", "rating_lower", "rating_upper", "n_votes"]].assign(cost=frame[cost])
    points = points[points["rating"].notna() & (points["cost"] > 0)].reset_index(drop=True)
    if points.empty:
        st.info("No model has both votes and this price.", icon=":material/payments:")
    else:
        st.caption("Up and to the left is better. On the line: nothing cheaper is rated as high.")
        st.altair_chart(
            pareto_plot(points, x_title=COSTS[cost], dark=dark_page()),
            width="stretch",
            theme=None,
            alt=f"Rating against {COSTS[cost]}",
        )
        best = frontier(points["cost"].to_numpy(), points["rating"].to_numpy())
        st.dataframe(
            points.assign(on_the_line=best).sort_values(["on_the_line", "cost"], ascending=[False, True]),
            hide_index=True,
            column_order=["model", "rating", "cost", "on_the_line", "n_votes"],
            column_config={
                "model": st.column_config.TextColumn(pinned=True),
                "rating": st.column_config.NumberColumn(format="%.0f"),
                "cost": st.column_config.NumberColumn(COSTS[cost], format="%.4g"),
                "on_the_line": st.column_config.CheckboxColumn("on the line"),
                "n_votes": "votes",
            },
        )
    _draw_missing([str(model) for model in frame["model"] if model not in set(points["model"])], COSTS[cost])
    if cost in PRICES:
        _draw_prices(project, cost, {str(model) for model in frame["model"]}, on)


def _draw_prices(project: OpenProject, cost: str, models: set[str], on: str | None) -> None:
    """How a list price moved, where any did."""
    unit = PriceUnit(cost.removeprefix("usd_per_"))
    prices = [price for price in project.prices() if price.unit is unit and price.model in models]
    if len({price.model for price in prices}) == len(prices):
        return
    st.subheader("Prices over time", anchor=False)
    steps = price_steps(prices, until=max(on or today(), today()))
    st.altair_chart(
        price_plot(steps, y_title=COSTS[cost], day=on, dark=dark_page()), width="stretch", theme=None, alt="Prices"
    )


def _draw_missing(models: list[str], cost: str) -> None:
    if models:
        with st.expander(f"{len(models)} without a rating or without {cost}", icon=":material/info:"):
            for model in models:
                st.text(model)
