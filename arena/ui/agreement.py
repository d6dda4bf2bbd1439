"""The agreement page: people with people (the ceiling), judges with people, and a judge with itself turned round."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import cast, get_args

import altair as alt
import pandas as pd
import streamlit as st

from paragone.arena.agreement import Coefficient
from paragone.arena.agreement_tables import agreement_by_tag, confusion, judge_coverage, share_of
from paragone.arena.store import Store
from paragone.arena.store_agreement import calls_as_votes, picture_votes
from paragone.arena.ui import address
from paragone.arena.ui.board import INK
from paragone.arena.ui.reading import OpenProject
from paragone.arena.voter_agreement import (
    Agreement,
    BothBad,
    Consistency,
    agreement_by_kind,
    agreement_by_voter,
    position_consistency,
)
from paragone.data.errors import InputError
from paragone.data.records import VoterKind, Winner

COEFFICIENTS = {"raw": "agree", "kappa": "Cohen κ", "alpha": "Krippendorff α", "ac1": "Gwet AC1"}
MOST_PAIRS = 20  # pairs of voters that are listed
MANY_VOTES = 20_000  # from so many on, the page is made anew only every `KEPT_S`
KEPT_S = 300
FEWEST_PROMPTS = 10  # from so many on, intervals treat a prompt's votes as belonging together
BOTH_BAD_LABELS = {"own": "an answer of its own", "tie": "a tie", "drop": "left out"}
LABEL = "#85858f"  # legible on light and on dark
KINDS = {"human": "people", "judge": "judges"}


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the page shows."""

    n_votes: dict[str, int]  # by kind
    problem: str  # why there is no agreement to show; "" when there is
    clustered: bool  # intervals are over prompts
    kinds: tuple[Agreement, ...]
    voters: tuple[Agreement, ...]
    tags: dict[str, tuple[Agreement, ...]]
    confusion: pd.DataFrame
    consistency: tuple[Consistency, ...]
    coverage: pd.DataFrame
    first_side: tuple[int, int]  # people's decided votes: for side A, in all


def show(project: OpenProject) -> None:
    """Draw the page."""
    both_bad = cast(
        BothBad,
        address.segments(
            "“Both bad” counts as",
            get_args(BothBad),
            name="both_bad",
            page="agreement",
            format_func=BOTH_BAD_LABELS.__getitem__,
        ),
    )
    n_votes = int(project.store.pair_counts()["count"].sum())
    fresh = project.store.data_version() if n_votes < MANY_VOTES else int(time.time() // KEPT_S)
    evidence = _gather(project.store, project.key, fresh, both_bad)
    if n_votes >= MANY_VOTES:
        st.caption(f"With so many votes this page is made every {KEPT_S // 60} minutes.")
    if not sum(evidence.n_votes.values()):
        st.info("No votes yet, so nobody agrees with anybody.", icon=":material/handshake:")
        return
    _draw_kinds(evidence)
    _draw_confusion(evidence)
    _draw_tags(evidence)
    _draw_voters(evidence)
    _draw_positions(evidence)
    _draw_coverage(evidence)


@st.cache_resource(max_entries=6, show_spinner="Comparing votes")
def _gather(_store: Store, key: str, fresh: int, both_bad: BothBad) -> Evidence:
    votes = picture_votes(_store)
    clustered = votes["prompt"].nunique() >= FEWEST_PROMPTS
    cluster = "prompt" if clustered else None
    problem = ""
    kinds: tuple[Agreement, ...] = ()
    voters: tuple[Agreement, ...] = ()
    try:
        kinds = agreement_by_kind(votes, item="item", cluster=cluster, both_bad=both_bad, repeats="first")
        voters = agreement_by_voter(
            votes, item="item", cluster=cluster, both_bad=both_bad, repeats="first", most=MOST_PAIRS
        )
    except InputError as error:
        problem = str(error)
    counts = _store.pair_counts(VoterKind.HUMAN)
    sides = [int(counts.loc[counts["winner"] == side, "count"].sum()) for side in (Winner.MODEL_A, Winner.MODEL_B)]
    tags = {prompt.id: prompt.tags for prompt in _store.prompts()}
    by_kind = {str(kind): int(n) for kind, n in votes["kind"].value_counts().items()}
    return Evidence(
        n_votes=by_kind,
        problem=problem,
        clustered=clustered,
        kinds=kinds,
        voters=voters,
        tags=agreement_by_tag(votes, tags, both_bad=both_bad) if not problem else {},
        confusion=confusion(votes, both_bad=both_bad),
        consistency=_consistency(_store),
        coverage=judge_coverage(_store.judge_calls()),
        first_side=(sides[0], sum(sides)),
    )


def _consistency(store: Store) -> tuple[Consistency, ...]:
    try:
        return position_consistency(calls_as_votes(store), item="battle")
    except InputError:  # no judge was asked in both orders
        return ()


def _draw_kinds(evidence: Evidence) -> None:
    people, judges = (evidence.n_votes.get(kind, 0) for kind in KINDS)
    st.subheader("People and judges", anchor=False)
    st.caption(f"{people:,} votes of people, {judges:,} of judges. An item is the same two pictures.")
    if not (people and judges):
        only = "people have" if people else "judges have"
        st.info(f"Only {only} voted: how judges agree with people cannot be said yet.", icon=":material/handshake:")
    if evidence.problem:
        st.text(evidence.problem)
        return
    if people and judges and not any(a.first != a.second for a in evidence.kinds):
        st.info("No pictures were decided by a person and a judge.", icon=":material/handshake:")
    over = "prompts" if evidence.clustered else "items"
    st.caption(f"Chance-corrected agreement, 95 % intervals from leaving out {over} one at a time.")
    _draw_agreements(evidence.kinds, KINDS)


def _draw_agreements(found: tuple[Agreement, ...], names: dict[str, str]) -> None:
    rows = []
    for a in found:
        one, two = (names.get(name, name) for name in (a.first, a.second))
        numbers = {label: _coefficient(a.coefficients.get(name)) for name, label in COEFFICIENTS.items()}
        rows.append({"one": one, "other": two, "items": a.n_items, "votes": a.n_votes} | numbers)
    st.dataframe(pd.DataFrame(rows), hide_index=True, placeholder="–")
    notes = dict.fromkeys(
        c.note for a in found for name, c in a.coefficients.items() if name in COEFFICIENTS and c.note
    )
    for note in notes:
        st.caption(note)


def _coefficient(found: Coefficient | None) -> str:
    if found is None or found.value is None:
        return "undefined"
    shown = f"{found.value:.2f}"
    if found.lower is not None and found.upper is not None:
        shown += f"  [{found.lower:.2f}, {found.upper:.2f}]"
    return shown.replace("-", "−")


def _draw_confusion(evidence: Evidence) -> None:
    table = evidence.confusion
    if not table.to_numpy().any():
        return
    st.subheader("What each answered", anchor=False)
    st.caption("Pairs of a person's and a judge's vote on the same two pictures. Which is “one side” is arbitrary.")
    order = list(table.index)
    long = table.reset_index().melt(id_vars="people", var_name="judges", value_name="pairs")
    row_total = long.groupby("people")["pairs"].transform("sum")
    long["share"] = (long["pairs"] / row_total.where(row_total > 0)).fillna(0.0)
    base = alt.Chart(long).encode(
        x=alt.X("judges:N", sort=order, title="judges", axis=alt.Axis(orient="top", labelAngle=0)),
        y=alt.Y("people:N", sort=order, title="people"),
        tooltip=["people:N", "judges:N", "pairs:Q", alt.Tooltip("share:Q", format=".0%", title="of the row")],
    )
    shade = alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.04, 1]), legend=None)
    ink = alt.condition("datum.share > 0.6", alt.value("#ffffff"), alt.value(LABEL))
    cells = base.mark_rect(color=INK).encode(opacity=shade)
    chart = alt.layer(cells, base.mark_text(fontSize=13).encode(text="pairs:Q", color=ink))
    st.altair_chart(chart.properties(height=alt.Step(46)), width="stretch")


def _draw_tags(evidence: Evidence) -> None:
    if not evidence.tags:
        return
    st.subheader("By prompt tag", anchor=False)
    rows = [
        {
            "tag": tag,
            "one": KINDS.get(a.first, a.first),
            "other": KINDS.get(a.second, a.second),
            "items": a.n_items,
            **{label: _coefficient(a.coefficients.get(name)) for name, label in COEFFICIENTS.items()},
        }
        for tag, found in evidence.tags.items()
        for a in found
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, placeholder="–")


def _draw_voters(evidence: Evidence) -> None:
    if not evidence.voters:
        return
    st.subheader("Voter by voter", anchor=False)
    st.caption(f"The pairs who share most items, up to {MOST_PAIRS}.")
    _draw_agreements(evidence.voters, {})


def _draw_positions(evidence: Evidence) -> None:
    st.subheader("Does the side matter?", anchor=False)
    for_a, decided = evidence.first_side
    if decided:
        share, lower, upper = share_of(for_a, decided)
        st.text(
            f"People chose side A in {share:.1%} of {decided:,} decided votes (95 %: {lower:.1%} to {upper:.1%}). "
            "Sides are drawn by chance, so 50 % is no preference."
        )
    if not evidence.consistency:
        st.text("No judge was asked in both orders of the sides.")
        return
    rows = [
        {
            "judge": c.voter,
            "items": c.n_items,
            "same answer": 100 * c.consistent,
            "95 %": f"{100 * c.lower:.0f} to {100 * c.upper:.0f}",
            "to the first side": None if c.first_place is None else 100 * c.first_place,
        }
        for c in evidence.consistency
    ]
    percent = st.column_config.NumberColumn(format="%.1f %%")
    explained = "of the wins that moved with the sides, the share for the side shown first; 50 % is no position bias"
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        placeholder="–",
        column_config={
            "same answer": percent,
            "to the first side": st.column_config.NumberColumn(format="%.0f %%", help=explained),
        },
    )


def _draw_coverage(evidence: Evidence) -> None:
    if evidence.coverage.empty:
        return
    st.subheader("What judges did not answer", anchor=False)
    st.caption(
        "Calls by judge and model, each order of the sides a call; a call is on two models. A judge that refuses one "
        "model's pictures more often says less about that model, and its votes are fewer."
    )
    table = evidence.coverage.copy()
    table["95 %"] = [f"{100 * row['lower']:.1f} to {100 * row['upper']:.1f}" for row in table.to_dict("records")]
    table = table.drop(columns=["lower", "upper"])
    table["answered"] = 100 * table["answered"]
    table = table.rename(columns={"n_calls": "calls"}).sort_values(["judge", "answered"], ignore_index=True)
    empty = [name for name in ("refused", "filtered", "invalid", "error", "timeout") if not table[name].any()]
    st.dataframe(
        table.drop(columns=[*empty, "ok"]),
        hide_index=True,
        column_config={
            "model": st.column_config.TextColumn(width=150),
            "answered": st.column_config.NumberColumn(format="%.1f %%"),
        },
    )
