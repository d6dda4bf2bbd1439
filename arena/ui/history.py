"""The history page: how ratings moved, vote by vote or from kept board to kept board, and what happened meanwhile."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from paragone.arena.elo import elo_history
from paragone.arena.leaderboard import Voters, fit_or_prior
from paragone.arena.plots import history_plot, thinned, timed
from paragone.arena.store import Store
from paragone.arena.store_pairs import last_vote_before, vote_times
from paragone.arena.ui.address import segments
from paragone.arena.ui.filters import draw_filters, voters_of
from paragone.arena.ui.reading import OpenProject, dark_page
from paragone.arena.votes import CodedVotes, IntArray, fold
from paragone.data.errors import NotIdentifiable
from paragone.data.records import VoterKind

STEPS = 24  # moments at which Bradley-Terry ratings are fitted anew
FEWEST = 20  # votes at the first of them
VIEWS = {"elo": "Elo, vote by vote", "bradley-terry": "Bradley-Terry, refitted", "kept": "Kept boards"}
NO_LINES = ["vote", "model", "rating"]


def show(project: OpenProject) -> None:
    """Draw the page."""
    filters = draw_filters(project, page="history", only=("voters",), joint=False)
    voters = voters_of(filters)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        view = segments("Show", list(VIEWS), name="view", page="history", format_func=VIEWS.__getitem__)
        by_time = st.toggle("Over time", key="history-time")
    lines, events = _history(project.store, project.key, project.store.data_version(), voters, view, by_time)
    if lines.empty:
        kept = view == "kept" and bool(project.kinds())
        st.info(
            "No boards of these votes have been kept yet." if kept else "No votes yet: there is no history.",
            icon=":material/timeline:",
        )
        return
    if by_time and "time" not in lines.columns:
        st.text("The votes' times go back or cannot be read: their numbers are shown instead.")
    if view != "elo":
        st.caption("The bands are 95 % intervals.")
    st.altair_chart(
        history_plot(lines, title="", dark=dark_page(), width=None, events=events),
        width="stretch",
        theme=None,
        alt="Ratings over the votes",
    )
    _draw_events(events)


@st.cache_resource(max_entries=6, show_spinner="Following the ratings")
def _history(
    _store: Store, key: str, version: int, voters: Voters, view: str, by_time: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The lines to draw, thinned, and what happened."""
    columns = _store.running.columns()
    rows = columns.counting(None if voters == "all" else VoterKind(voters))
    ids = columns.ids[rows]
    if not ids.size:
        return pd.DataFrame(columns=NO_LINES), pd.DataFrame(columns=["vote", "event"])
    if view == "elo":
        lines = thinned(elo_history(columns.frame(rows)))
    elif view == "kept":
        lines = kept_boards(_store.snapshots(), ids, voters)
    else:
        lines = refit(columns.coded(rows))
    events = happenings(columns.coded(rows), ids, _store)
    if by_time and not lines.empty:
        lines, events = _dated(_store, ids, lines, events)
    return lines, events


def refit(votes: CodedVotes, *, steps: int = STEPS) -> pd.DataFrame:
    """Bradley-Terry ratings after growing parts of the votes: `vote`, `model`, `rating`, `lower`, `upper`.

    A moment at which the votes determine no ratings is left out.
    """
    n = votes.a.size
    ends = sorted({max(min(FEWEST, n), round(n * k / steps)) for k in range(1, steps + 1)})
    rows = []
    for end in ends:
        try:
            ratings = fit_or_prior("bradley-terry", fold(_first(votes, end))).to_frame()
        except NotIdentifiable:
            continue
        named = ratings.rename(columns={"rating_lower": "lower", "rating_upper": "upper"})
        rows.append(named[["model", "rating", "lower", "upper"]].assign(vote=end))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=NO_LINES)


def _first(votes: CodedVotes, n: int) -> CodedVotes:
    """The first n votes, and only the models that are in them."""
    a, b = votes.a[:n], votes.b[:n]
    present = np.unique(np.concatenate([a, b]))
    place = np.zeros(len(votes.models), np.int64)
    place[present] = np.arange(present.size)
    models = tuple(votes.models[k] for k in present)
    return replace(votes, models=models, a=place[a], b=place[b], outcome=votes.outcome[:n])


def kept_boards(snapshots: pd.DataFrame, ids: IntArray, voters: str) -> pd.DataFrame:
    """The ratings of a store's kept boards of these voters, each at the last of the votes (`ids`) it was made from."""
    rows = []
    for row in snapshots[snapshots["voters"] == voters].to_dict("records"):
        table = pd.DataFrame(json.loads(row["document"])["models"])
        after = int(np.searchsorted(ids, row["last_vote"], side="right"))
        named = table.rename(columns={"rating_lower": "lower", "rating_upper": "upper"})
        rows.append(named[["model", "rating", "lower", "upper"]].assign(vote=max(after, 1)))
    if not rows:
        return pd.DataFrame(columns=NO_LINES)
    lines = pd.concat(rows, ignore_index=True)
    return lines if lines[["lower", "upper"]].notna().all(axis=None) else lines.drop(columns=["lower", "upper"])


def happenings(votes: CodedVotes, ids: IntArray, store: Store) -> pd.DataFrame:
    """Models that came late and votes taken out or put back: `vote` (from 1) and `event`, in their order."""
    first = np.full(len(votes.models), ids.size)
    for side in (votes.a, votes.b):
        np.minimum.at(first, side, np.arange(ids.size))
    late = np.flatnonzero(first > max(FEWEST, ids.size // 50))
    rows = [(int(first[k]) + 1, f"{votes.models[k]} added") for k in late]
    said = store.events()
    said = said[said["kind"].isin(["exclude", "restore"])]
    if len(said):
        days = said.assign(day=said["created_at"].str[:10]).groupby(["day", "kind"], sort=True)["created_at"]
        summed = days.agg(["size", "max"]).reset_index()
        last = np.searchsorted(ids, last_vote_before(store, summed["max"].tolist()), side="right")
        for (day, kind, n, _), at in zip(summed.itertuples(index=False), last, strict=True):
            what = "taken out" if kind == "exclude" else "put back"
            rows.append((max(int(at), 1), f"{n:,} vote{'s' * (n != 1)} {what} ({day})"))
    return pd.DataFrame(sorted(rows), columns=["vote", "event"]).astype({"vote": "int64", "event": "str"})


def _dated(store: Store, ids: IntArray, lines: pd.DataFrame, events: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both with a column `time`, where the times of the votes in them never go back; else as they are."""
    wanted = np.unique(np.concatenate([lines["vote"].to_numpy(np.int64), events["vote"].to_numpy(np.int64)]))
    given = pd.DataFrame({"created_at": vote_times(store, ids[wanted - 1].tolist())})

    def dated(frame: pd.DataFrame) -> pd.DataFrame:
        places = frame.assign(vote=1 + np.searchsorted(wanted, frame["vote"].to_numpy(np.int64)))
        found = timed(places, given)
        return frame.assign(time=found["time"].to_numpy()) if "time" in found.columns else frame

    return dated(lines), dated(events)


def _draw_events(events: pd.DataFrame) -> None:
    if events.empty:
        return
    with st.expander(f"{len(events)} event{'s' * (len(events) != 1)}, marked above", icon=":material/flag:"):
        for row in events.to_dict("records"):
            st.text(f"after {row['vote']:,} votes: {row['event']}")
