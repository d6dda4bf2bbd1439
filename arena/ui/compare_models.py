"""Two models side by side: how far apart they are, how sure that is, on which prompts, and what they made of them."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st
from scipy.special import ndtr

from paragone.arena.explanation import votes_to_separate
from paragone.arena.intervals import NORMAL_QUANTILE
from paragone.arena.leaderboard import COUNTS, is_missing
from paragone.arena.pairs import wilson
from paragone.arena.ratings import Ratings
from paragone.arena.stopping import SequentialTest, e_process, scores_against
from paragone.arena.ui import veil
from paragone.arena.ui.board import INK, PAID, PRICES, REQUESTS, open_board, show_refusals
from paragone.arena.ui.filters import draw_filters, voters_of
from paragone.arena.ui.pictures import contact_sheet, read_sample_picture, to_png
from paragone.arena.ui.reading import OpenProject
from paragone.data.errors import UnreadableImage
from paragone.data.records import Prompt, Sample

PROMPT_ROWS = 200  # of the table of prompts
PAIRS = 6  # of samples, at a time
TILE_PX = 340  # of a pair
EVIDENCE_POINTS = 400  # of the chart
ALPHA = 0.05
FACTS = {  # columns of the board, and what they are called
    "provider": "provider",
    "version": "version",
    "released": "released",
    "open_weights": "open weights",
    "licence": "licence",
    "family": "family",
    "space": "space",
    "text_encoder": "text encoder",
    "parameters": "parameters",
    "report_url": "report",
    **REQUESTS,
    "delivered": "delivered",
    **PRICES,
    **PAID,
    "latency_s": "latency, s (median)",
    "latency_p95_s": "latency, s (p95)",
}
WHOLE = (*COUNTS, "parameters")


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """The votes between two models, as scores of the first: 1, ½ or 0."""

    votes: pd.DataFrame  # prompt, score; in the order of the votes

    @classmethod
    def of(cls, votes: pd.DataFrame, a: str, b: str) -> Record:
        """Of the votes between the two, as `pair_votes` gives them."""
        scores = scores_against(votes, a, b) if len(votes) else np.zeros(0)
        return cls(pd.DataFrame({"prompt": votes["prompt"].to_numpy(), "score": scores}))

    @property
    def tie_share(self) -> float:
        """Of the votes."""
        return float((self.votes["score"] == 0.5).mean()) if len(self.votes) else 0.0

    def by(self, groups: pd.Series[str], *, name: str) -> pd.DataFrame:
        """One row a group: wins, ties, losses, votes, the score and its 95 % interval; most votes first."""
        rows = self.votes.assign(group=groups.to_numpy()).groupby("group")["score"]
        table = rows.agg(
            wins=lambda s: int((s == 1).sum()),
            ties=lambda s: int((s == 0.5).sum()),
            losses=lambda s: int((s == 0).sum()),
            votes="size",
            score="mean",
        )
        lower, upper = wilson(table["score"].to_numpy(float), table["votes"].to_numpy(float))
        table = table.assign(score_lower=lower, score_upper=upper)
        named: pd.DataFrame = table.sort_values("votes", ascending=False, kind="stable").rename_axis(name).reset_index()
        return named


def show(project: OpenProject) -> None:
    """Draw the page."""
    filters = draw_filters(project, page="compare", only=("voters",))
    board = open_board(project, filters)
    if board is None:
        return
    models = [str(model) for model in board.frame["model"]]
    if len(models) < 2:
        st.info("Two models are needed to compare.", icon=":material/compare_arrows:")
        return
    a, b = choose_two(models)
    if a == b:
        st.info("These are one model: choose another beside it.", icon=":material/compare_arrows:")
        return
    record = Record.of(project.pair_votes(a, b, voters_of(filters)), a, b)
    ratings = board.ratings
    if ratings is not None and {a, b} <= set(ratings.models):
        _draw_difference(ratings, a, b, record)
    else:
        st.info("At least one of the two has no votes yet: there is no difference to show.")
    if len(record.votes):
        _draw_evidence(record, a, b)
        _draw_record(record, project.prompts())
    show_refusals(board)
    _draw_cards(board.frame, a, b)
    _draw_samples(project, a, b)


def choose_two(models: list[str]) -> tuple[str, str]:
    """The models that the address names (`a` and `b`), else the best two; a name that is unknown is noted."""

    def changed(side: str) -> None:
        st.query_params[side] = st.session_state[f"compare-{side}"]

    chosen = []
    for side, usual, column in zip("ab", models[:2], st.columns(2), strict=True):
        named = st.query_params.get(side)
        if named is not None and named not in models:
            st.text(f"The address asks for {side}={named[:60]!r}, a model that is not here; it is left out.")
        value = named if named in models else usual
        st.session_state[f"compare-{side}"] = value
        label = "First" if side == "a" else "Second"
        column.selectbox(label, models, key=f"compare-{side}", on_change=changed, args=(side,))
        chosen.append(value)
    return chosen[0], chosen[1]


def _draw_difference(ratings: Ratings, a: str, b: str, record: Record) -> None:
    expected, n = ratings.probability(a, b), len(record.votes)
    observed = f"{record.votes['score'].mean():.0%}" if n else "–"
    cells: list[tuple[str, str, str]] = []
    if ratings.covariance is not None:
        difference, error = ratings.difference(a, b)
        margin = NORMAL_QUANTILE * error
        sure = float(ndtr(difference / error)) if error else float(difference > 0)
        more = votes_to_separate(difference, error, tie_share=record.tie_share)
        cells = [
            (
                "Rating difference",
                _signed(difference),
                f"95 %: {_signed(difference - margin)} to {_signed(difference + margin)}",
            ),
            ("P(first is better)", _chance(sure), "by all votes"),
            ("More votes needed", _needed(more), "to tell them apart: 80 % power at 95 %"),
        ]
    cells.insert(
        2 if cells else 0, ("Observed score", observed, f"expected {expected:.0%}, {n:,} vote{'s' * (n != 1)}")
    )
    with st.container(horizontal=True, key="figures"):
        for label, value, note in cells:
            with st.container(width=170, gap="xxsmall"):
                st.metric(label, value)
                st.caption(note)


def _signed(value: float) -> str:
    return f"{value:+.0f}".replace("-", "−")


def _chance(p: float) -> str:
    """Never a certainty."""
    return "> 99.9 %" if p > 0.999 else "< 0.1 %" if p < 0.001 else f"{100 * p:.1f} %"


def _needed(more: int | None) -> str:
    return "never" if more is None else "none" if more == 0 else f"{more:,}"


def _draw_evidence(record: Record, a: str, b: str) -> None:
    st.subheader("Evidence, vote by vote", anchor=False)
    tests = {"first": e_process(record.votes["score"].to_numpy(), alpha=ALPHA / 2)}
    tests["second"] = e_process(1 - record.votes["score"].to_numpy(), alpha=ALPHA / 2)
    st.text(verdict(tests, {"first": a, "second": b}))
    st.caption(
        "An e-value is what a gambler who bets fairly on the claim would have made of 1: beyond the dashed line the "
        "claim is accepted, and looking after every vote costs nothing."
    )
    st.altair_chart(evidence_chart(tests), width="stretch", alt="E-values of both claims after each vote")


def verdict(tests: dict[str, SequentialTest], names: dict[str, str]) -> str:
    """One line on what the sequential tests have shown."""
    for side, test in tests.items():
        if test.decided_at is not None:
            return f"{names[side]} is the better one: shown after {test.decided_at:,} of {test.n:,} votes on this pair."
    n = next(iter(tests.values())).n
    return f"Not decided by the {n:,} vote{'s' * (n != 1)} on this pair alone."


def evidence_chart(tests: dict[str, SequentialTest]) -> alt.LayerChart | alt.FacetChart:
    """Both e-values over the votes, on a logarithmic axis, with the line that decides."""
    rows = []
    for side, test in tests.items():
        kept = np.unique(np.linspace(0, test.n - 1, min(test.n, EVIDENCE_POINTS)).astype(int))
        e_value = np.exp(np.clip(test.statistic[kept], math.log(1e-3), math.log(1e6)))
        rows.append(pd.DataFrame({"vote": kept + 1, "e_value": e_value, "claim": f"the {side} is better"}))
    table = pd.concat(rows, ignore_index=True)
    line = (
        alt.Chart(table)
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("vote:Q", title="votes on this pair", axis=alt.Axis(tickMinStep=1, format="~d")),
            y=alt.Y("e_value:Q", title="e-value", scale=alt.Scale(type="log"), axis=alt.Axis(format="~g", tickCount=5)),
            color=alt.Color(
                "claim:N", scale=alt.Scale(range=[INK, "#d9822b"]), legend=alt.Legend(orient="bottom", title=None)
            ),
            strokeDash=alt.StrokeDash("claim:N", legend=None),
            tooltip=["claim:N", "vote:Q", alt.Tooltip("e_value:Q", format=".3g", title="e-value")],
        )
    )
    limit = pd.DataFrame({"e_value": [math.exp(next(iter(tests.values())).upper)]})
    rule = alt.Chart(limit).mark_rule(strokeDash=[5, 4], color="#85858f").encode(y="e_value:Q")
    return alt.layer(line, rule).properties(height=320)


def _draw_record(record: Record, prompts: list[Prompt]) -> None:
    known = {prompt.id: prompt for prompt in prompts}
    ids = record.votes["prompt"]
    tags = pd.Series([known[p].tags if p in known else () for p in ids], dtype=object)
    if any(tags):
        st.subheader("By prompt tag", anchor=False)
        each = Record(record.votes.assign(tag=tags).explode("tag").dropna(subset=["tag"]).reset_index(drop=True))
        _draw_scores(each.by(each.votes["tag"], name="tag"))
    st.subheader("By prompt", anchor=False)
    texts = pd.Series([known[p].text if p in known else str(p) for p in ids], dtype="str")
    table = record.by(texts, name="prompt")
    if len(table) > PROMPT_ROWS:
        st.caption(f"The {PROMPT_ROWS} prompts of {len(table):,} with most votes.")
    _draw_scores(table.head(PROMPT_ROWS))


def _draw_scores(table: pd.DataFrame) -> None:
    columns = {name: 100 * table[name] for name in ("score", "score_lower", "score_upper")}
    st.dataframe(
        table.assign(score=columns["score"], score_lower=columns["score_lower"], score_upper=columns["score_upper"]),
        hide_index=True,
        column_config={
            table.columns[0]: st.column_config.TextColumn(width="medium", pinned=True),
            "wins": st.column_config.NumberColumn(help="of the first"),
            "score": st.column_config.ProgressColumn(
                "score of the first, %", format="%.0f", min_value=0, max_value=100
            ),
            "score_lower": st.column_config.NumberColumn("95 % from", format="%.0f"),
            "score_upper": st.column_config.NumberColumn("to", format="%.0f"),
        },
    )


def _draw_cards(frame: pd.DataFrame, a: str, b: str) -> None:
    """What is known of the two besides their votes."""
    rows = [row for row in (facts(frame, name) for name in FACTS) if row is not None]
    if rows:
        st.subheader("What is known of them", anchor=False)
        st.dataframe(
            pd.DataFrame([{"": label, "first": one[a], "second": one[b]} for label, one in rows]),
            hide_index=True,
            placeholder="unknown",
        )


def facts(frame: pd.DataFrame, name: str) -> tuple[str, dict[str, str | None]] | None:
    """A column of the board in words, with its label; None where it says nothing of any model."""
    values = dict(zip(frame["model"], frame[name], strict=True))
    if all(is_missing(value) for value in values.values()):
        return None
    return FACTS[name], {model: None if is_missing(v) else _in_words(name, v) for model, v in values.items()}


def _in_words(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    number = float(value)  # type: ignore[arg-type]  # columns of a board are words, truths and numbers
    if name == "delivered":
        return f"{100 * number:.1f} %"
    return f"{number:,.0f}" if name in WHOLE else f"{number:.4g}"


def _draw_samples(project: OpenProject, a: str, b: str) -> None:
    st.subheader("What they made", anchor=False)
    prompts = project.prompts()
    if not prompts:
        st.text("No prompts yet.")
        return
    prompt: Prompt = st.selectbox("Prompt", prompts, format_func=_prompt_label, key="compare-prompt")
    by_seed: dict[int, dict[str, Sample]] = defaultdict(dict)
    for sample in project.samples(prompt.id):
        if sample.model in (a, b):
            by_seed[sample.seed][sample.model] = sample
    pairs = [(by_seed[seed][a], by_seed[seed][b]) for seed in sorted(by_seed) if len(by_seed[seed]) == 2]
    if not pairs:
        st.text("The two have no samples of this prompt with the same seed.")
        return
    pages = range(math.ceil(len(pairs) / PAIRS))
    page: int = 0
    if len(pages) > 1:
        page = st.selectbox("Seeds", pages, format_func=lambda n: _seed_label(pairs, n), key="compare-seeds", width=160)
    st.text(f"left: {a}\nright: {b}")
    with st.container(horizontal=True, key="compare-samples"):
        for one, other in pairs[page * PAIRS :][:PAIRS]:
            with st.container(width=TILE_PX, gap="xxsmall"):
                _draw_pair(project, one, other)


def _draw_pair(project: OpenProject, one: Sample, other: Sample) -> None:
    behind = veil.hidden(project, (one, other))
    try:
        st.image(_pair(str(project.folder), one, other, behind), alt=f"Both models, seed {one.seed}", width="stretch")
    except UnreadableImage:  # which names files of the server
        st.text("These pictures cannot be shown.")
    veil.draw_button(behind, key=f"compare-{one.id}-{other.id}")
    st.caption(f"seed {one.seed}")


def _prompt_label(prompt: Prompt) -> str:
    return prompt.text if len(prompt.text) <= 120 else f"{prompt.text[:119]}…"


def _seed_label(pairs: list[tuple[Sample, Sample]], page: int) -> str:
    shown = pairs[page * PAIRS :][:PAIRS]
    return f"{shown[0][0].seed} – {shown[-1][0].seed}"


@st.cache_data(max_entries=64, show_spinner=False)
def _pair(folder: str, one: Sample, other: Sample, behind: frozenset[str]) -> bytes:
    read = ((sample, read_sample_picture(Path(folder), sample)) for sample in (one, other))
    pictures = [veil.veiled(picture) if sample.id in behind else picture for sample, picture in read]
    return to_png(contact_sheet(pictures, columns=2))
