"""The audit page (admins): the stream of votes, what checks say of them, and exclusions that can be taken back.

Nothing is deleted here: a flag, an exclusion, a restoration is an event of its own, with a reason and the name of who
said it. What an exclusion would do to the board is shown before it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import pandas as pd
import streamlit as st

from paragone.arena import store_audit
from paragone.arena.chain import EventKind
from paragone.arena.influence import votes_to_flip
from paragone.arena.leaderboard import PRIOR_SD
from paragone.arena.snapshots import check_snapshots, take_snapshot
from paragone.arena.store import Store
from paragone.arena.store_audit import STATES, VoteFilter
from paragone.arena.ui import address, origin
from paragone.arena.ui.access import require_admin
from paragone.arena.ui.board import INK
from paragone.arena.ui.reading import OpenProject
from paragone.arena.vote_events import VoteEvent
from paragone.arena.vote_quality import flag_votes
from paragone.arena.what_if import what_if
from paragone.data.errors import NotIdentifiable, ParagoneError, UsageError
from paragone.data.records import VoterKind

PAGE = 50  # votes
MOST = 10_000  # votes that one decision is about
ANY = "any"
SECTIONS = ("Votes", "Checks", "Exclusions", "Influence", "Record", "Origin and safety")
ACTIONS = {
    EventKind.EXCLUDE: "Exclude",
    EventKind.RESTORE: "Restore",
    EventKind.FLAG: "Flag",
    EventKind.UNFLAG: "Unflag",
}
REASON_LENGTH = 500
ALARM = 0.05  # share of a day's votes excluded that is worth a look
LISTED = 500  # flags


@dataclass(frozen=True, slots=True)
class Chosen:
    """Votes that something is to be said of."""

    ids: tuple[int, ...]
    what: str  # in words
    rule: str = "by hand"


def show(project: OpenProject) -> None:
    """Draw the page."""
    actor = require_admin()
    if (told := st.session_state.pop("audit-told", None)) is not None:
        st.success(told, icon=":material/check:")
    section = address.segments("Show", SECTIONS, name="show", page="audit")
    draw = {
        "Votes": _votes,
        "Checks": _checks,
        "Exclusions": _exclusions,
        "Influence": _influence,
        "Record": _record,
        "Origin and safety": origin.draw,
    }
    draw[section](project, actor)


def _votes(project: OpenProject, actor: str) -> None:
    """The stream, latest first, filtered and paged in the database."""
    wanted = _draw_filter(project)
    n_votes = store_audit.count_votes(project.store, wanted)
    if not n_votes:
        st.info("No such votes.", icon=":material/how_to_vote:")
        return
    number = address.page_number(-(-n_votes // PAGE), name="page", page="audit", what="votes", n_items=n_votes)
    frame = store_audit.vote_page(project.store, wanted, page=number, size=PAGE)
    columns = ["id", "created_at", "voter", "model_a", "model_b", "winner", "dwell_ms", "flags", "excluded", "prompt"]
    picked = st.dataframe(
        frame[columns],
        hide_index=True,
        placeholder="–",
        on_select="rerun",
        selection_mode="multi-row",
        key=f"stream-{number}-{wanted}",
        column_config={
            "created_at": st.column_config.TextColumn("given"),
            "dwell_ms": st.column_config.NumberColumn("after, ms"),
            "model_a": st.column_config.TextColumn("A", width=150),
            "model_b": st.column_config.TextColumn("B", width=150),
        },
    )
    rows = [row for row in picked["selection"]["rows"] if row < len(frame)]
    ids = tuple(int(number) for number in frame["id"].iloc[rows])
    narrowed = wanted != VoteFilter()
    if not ids and not narrowed:
        st.caption("Select votes, or narrow the list, to say something of them.")
        return
    if ids:
        events = store_audit.events_of(project.store, list(ids))
        if not events.empty:
            st.caption("What was said of the selected votes")
            st.dataframe(events[["vote_id", "kind", "rule", "reason", "actor", "created_at"]], hide_index=True)
    else:
        ids = tuple(store_audit.vote_ids(project.store, wanted))
    _draw_action(project, actor, Chosen(ids, f"{len(ids):,} {'selected' if rows else 'listed'} votes"))


def _draw_filter(project: OpenProject) -> VoteFilter:
    models = sorted(card.name for card in project.store.generators())
    with st.container(horizontal=True, vertical_alignment="bottom"):
        place = st.container(horizontal=True, vertical_alignment="bottom")
        voter = address.search(place, "Voter", name="voter", page="audit", placeholder="whole name")
        model = address.select(place, "Model", (ANY, *models), name="model", page="audit", width=200)
        state = address.select(place, "State", STATES, name="state", page="audit", width=130)
        kind = address.select(place, "Given by", (ANY, *map(str, VoterKind)), name="kind", page="audit", width=120)
        rule = address.select(
            place, "Said by", (ANY, *store_audit.rules(project.store)), name="rule", page="audit", width=150
        )
    blank = {ANY: ""}
    return VoteFilter(
        voter=voter.strip(),
        model=blank.get(model, model),
        rule=blank.get(rule, rule),
        kind=blank.get(kind, kind),
        state=next(known for known in STATES if known == state),
    )


def _draw_action(project: OpenProject, actor: str, chosen: Chosen) -> None:
    """What to say of votes: first what it would do to the board, then (with a reason) the writing of it."""
    st.subheader(chosen.what, anchor=False)
    if len(chosen.ids) > MOST:
        st.caption(f"More than {MOST:,} votes at once are not taken; narrow the choice.")
        return
    key = f"{chosen.rule}-{hash(chosen.ids)}"
    kind = EventKind(
        st.segmented_control(
            "What to do",
            list(ACTIONS),
            default=EventKind.EXCLUDE,
            required=True,
            format_func=ACTIONS.__getitem__,
            key=f"action-{key}",
        )
    )
    reason = st.text_input("Reason (stored with your name)", max_chars=REASON_LENGTH, key=f"reason-{key}")
    if kind in (EventKind.EXCLUDE, EventKind.RESTORE) and st.toggle(
        "What would it do to the board?", key=f"what-{key}"
    ):
        _draw_what_if(project, chosen.ids, kind)
    # Written here and not in a callback: the admin is asked for anew before every run of this page.
    if st.button(
        f"{ACTIONS[kind]} {len(chosen.ids):,} votes",
        type="primary",
        disabled=not reason.strip(),
        key=f"write-{kind}-{key}",
    ):
        _write(project.store, chosen, kind, reason.strip(), actor)
        st.rerun()
    if not reason.strip():
        st.caption("A reason is needed.")


def _write(store: Store, chosen: Chosen, kind: EventKind, reason: str, actor: str) -> None:
    events = [VoteEvent(number, kind, chosen.rule, reason, actor) for number in chosen.ids]
    store.add_events(events)
    st.session_state["audit-told"] = f"{ACTIONS[kind]}: {len(events):,} votes. It is on record and can be taken back."


def _draw_what_if(project: OpenProject, ids: tuple[int, ...], kind: EventKind) -> None:
    out, back = (ids, ()) if kind is EventKind.EXCLUDE else ((), ids)
    try:
        table = _what_if(project.store, project.key, project.store.data_version(), out, back)
    except ParagoneError as error:
        st.text(str(error))
        return
    moved = int((table["rank"] != table["rank_then"]).fillna(True).sum())
    st.caption(f"Bradley-Terry, all votes that count. {moved} of {len(table)} models would change their rank.")
    whole = st.column_config.NumberColumn(format="%.0f")
    st.dataframe(
        table,
        hide_index=True,
        placeholder="–",
        column_config={
            "model": st.column_config.TextColumn(pinned=True, width=150),
            "rating": whole,
            "rating_then": st.column_config.NumberColumn("then", format="%.0f"),
            "change": st.column_config.NumberColumn(format="%+.1f"),
            "rank_then": st.column_config.NumberColumn("rank then"),
            "n_votes": st.column_config.NumberColumn("votes"),
            "n_votes_then": st.column_config.NumberColumn("votes then"),
        },
    )


@st.cache_resource(max_entries=1, show_spinner="Reading all votes")
def _all_votes(_store: Store, key: str, version: int) -> pd.DataFrame:
    return _store.votes(excluded=True)


@st.cache_resource(max_entries=4, show_spinner="Fitting twice")
def _what_if(_store: Store, key: str, version: int, out: tuple[int, ...], back: tuple[int, ...]) -> pd.DataFrame:
    return what_if(_all_votes(_store, key, version), leave_out=out, take_in=back)


def _checks(project: OpenProject, actor: str) -> None:
    """Flags of `flag_votes` with their evidence; nothing is written until somebody says so."""
    st.caption(
        "Tests of whether votes may be no person's honest answer. A flag found here is a finding, not yet an event."
    )
    if not st.session_state.get("audit-checked"):
        st.button("Run the checks", on_click=_remember, args=("audit-checked",), type="primary")
        return
    flags, not_run = _flags(project.store, project.key, project.store.data_version())
    for name, reason in not_run.items():
        st.caption(f"{name}: not run, {reason}.")
    if flags.empty:
        st.success("No check found anything.", icon=":material/check:")
        return
    shown = flags.head(LISTED)
    st.caption(f"{len(flags):,} flags{f', the first {LISTED} shown' if len(flags) > LISTED else ''}.")
    picked = st.dataframe(
        shown[["flag", "severity", "voter", "vote", "votes", "evidence"]],
        hide_index=True,
        placeholder="–",
        on_select="rerun",
        selection_mode="multi-row",
        key=f"flags-{project.store.data_version()}",
        column_config={
            "vote": st.column_config.NumberColumn(help="empty: the flag is about all votes of the voter"),
            "votes": st.column_config.NumberColumn("about", help="votes that the flag is about"),
            "evidence": st.column_config.TextColumn(width="large"),
        },
    )
    rows = [row for row in picked["selection"]["rows"] if row < len(shown)]
    if not rows:
        st.caption("Select flags to say something of their votes.")
        return
    ids = tuple(sorted({number for found in shown["ids"].iloc[rows] for number in found}))
    names = list(dict.fromkeys(shown["flag"].iloc[rows]))
    _draw_action(project, actor, Chosen(ids, f"{len(ids):,} votes of {len(rows)} flags", "+".join(names)))


@st.cache_resource(max_entries=1, show_spinner="Checking all votes of people")
def _flags(_store: Store, key: str, version: int) -> tuple[pd.DataFrame, dict[str, str]]:
    """Flags of people's votes that count, with the ids they are about, and which checks could not run."""
    votes = _store.votes(VoterKind.HUMAN)
    flags = flag_votes(votes)
    of_voter = votes.groupby("voter")["id"].agg(list).to_dict() if len(flags) else {}
    ids = [
        of_voter[voter] if pd.isna(row) else [int(votes["id"].loc[row])]
        for row, voter in zip(flags["row"], flags["voter"], strict=True)
    ]
    single = [None if pd.isna(row) else found[0] for row, found in zip(flags["row"], ids, strict=True)]
    table = flags.assign(
        ids=pd.Series(ids, index=flags.index, dtype=object),
        vote=pd.array(single, dtype="Int64"),
        votes=[len(found) for found in ids],
    )
    order = {"high": 0, "medium": 1, "low": 2}
    table = table.sort_values(
        ["severity", "votes"], key=lambda column: column.map(order) if column.name == "severity" else -column
    )
    return table.reset_index(drop=True), dict(flags.attrs["not_run"])


def _exclusions(project: OpenProject, actor: str) -> None:
    """How many votes were given and excluded, day by day, and every event."""
    days = store_audit.daily_votes(project.store)
    if days.empty:
        st.info("No votes of people yet.", icon=":material/how_to_vote:")
        return
    days["share"] = days["n_excluded"] / days["n_votes"]
    n_votes, n_excluded = int(days["n_votes"].sum()), int(days["n_excluded"].sum())
    st.caption(f"{n_excluded:,} of {n_votes:,} votes of people are excluded ({n_excluded / n_votes:.1%}).")
    alarming = days[days["share"] > ALARM]
    if not alarming.empty:
        worst = alarming.sort_values("share").iloc[-1]
        st.warning(
            f"On {len(alarming)} days more than {ALARM:.0%} of the votes are excluded, on {worst['day']} "
            f"{worst['share']:.0%}. See that a rule does not take honest votes for bad ones.",
            icon=":material/warning:",
        )
    x = alt.X("day:T", title=None, axis=alt.Axis(format="%d %b", labelOverlap=True, tickCount="day"))
    base = alt.Chart(days).encode(
        x=x,
        tooltip=[
            "day:N",
            alt.Tooltip("n_votes:Q", title="votes"),
            "n_excluded:Q",
            alt.Tooltip("share:Q", format=".1%"),
        ],
    )
    st.altair_chart(
        base.mark_bar(color=INK, opacity=0.5).encode(y=alt.Y("n_votes:Q", title="votes a day")).properties(height=150)
    )
    scale = alt.Scale(domain=[0, max(ALARM, float(days["share"].max()))])
    y = alt.Y("share:Q", title="excluded", scale=scale, axis=alt.Axis(format=".0%", tickCount=4))
    st.altair_chart(base.mark_line(color=INK, point={"color": INK, "size": 50}).encode(y=y).properties(height=150))
    st.subheader("Events", anchor=False)
    _draw_events(project.store.events())


def _draw_events(events: pd.DataFrame) -> None:
    if events.empty:
        st.text("Nothing has been said of any vote.")
        return
    shown = address.page_of(events.index[::-1].tolist(), PAGE, name="events", page="audit", what="events")
    columns = ["id", "created_at", "vote_id", "kind", "winner", "rule", "reason", "actor"]
    st.dataframe(events.loc[list(shown), columns], hide_index=True, placeholder="–")


def _influence(project: OpenProject, actor: str) -> None:
    """The fewest votes without which another model would be first."""
    st.caption(
        "How few votes would have to go for the second model to be rated above the first: at most so many, as a fit "
        "without them shows."
    )
    if not st.session_state.get("audit-flip"):
        st.button("Find them", on_click=_remember, args=("audit-flip",), type="primary")
        return
    try:
        words, cells, voters = _flip(project.store, project.key, project.store.data_version())
    except ParagoneError as error:
        st.text(str(error))
        return
    st.text(words)
    if not cells.empty:
        st.dataframe(cells.rename(columns={"n": "of"}), hide_index=True)
    if voters is not None and not voters.empty:
        st.caption("Whose votes they are")
        st.dataframe(voters.head(PAGE), hide_index=True)


@st.cache_resource(max_entries=1, show_spinner="Looking for the votes that matter most")
def _flip(_store: Store, key: str, version: int) -> tuple[str, pd.DataFrame, pd.DataFrame | None]:
    votes = _store.votes(VoterKind.HUMAN)
    if votes.empty:
        votes = _store.votes()
    if votes.empty:
        raise UsageError("There are no votes yet.")
    try:
        flip, note = votes_to_flip(votes), ""
    except NotIdentifiable:
        flip, note = votes_to_flip(votes, prior=PRIOR_SD), " (ratings with a weak prior)"
    if flip.n_removed is None or flip.share is None:
        words = f"No set of votes was found without which {flip.below!r} is rated above {flip.above!r}{note}."
    else:
        words = (
            f"Without {flip.n_removed:,} of {flip.n_votes:,} votes ({flip.share:.2%}) {flip.below!r} would be rated "
            f"above {flip.above!r}, which now leads by {flip.difference:.0f} points{note}."
        )
    return words, flip.cells, flip.voters


def _record(project: OpenProject, actor: str) -> None:
    """The chain's head, its check, and kept boards."""
    summary = store_audit.chain_summary(project.store)
    st.text(
        f"{summary['last_vote']:,} votes, {summary['last_event']:,} events, {summary['n_excluded']:,} votes excluded"
    )
    st.caption(
        "Heads of the chains of votes and of events: whoever noted them can tell later whether anything before was "
        "changed."
    )
    st.code(f"{summary['head']}\n{summary['event_head']}", language=None, wrap_lines=True)
    if st.button("Check the whole store", help="Chains, counts and states; reads every vote."):
        with st.spinner("Checking"):
            problems = project.store.verify()
        _draw_findings(problems, "All sound: chains, counts and references.")
    st.subheader("Kept boards", anchor=False)
    snapshots = project.store.snapshots()
    if snapshots.empty:
        st.text("None yet.")
    else:
        st.dataframe(
            snapshots[["id", "created_at", "voters", "method", "last_vote", "last_event", "head"]], hide_index=True
        )
    with st.container(horizontal=True):
        for kind in project.kinds():
            if st.button(f"Keep the {kind} board", key=f"keep-{kind}"):
                number = take_snapshot(project.store, voters=kind)
                st.session_state["audit-told"] = f"Kept as snapshot {number}."
                st.rerun()
        if not snapshots.empty and st.button("Make them again and compare"):
            with st.spinner("Fitting"):
                _draw_findings(list(check_snapshots(project.store)), "Every kept board is what its votes give.")


def _remember(name: str) -> None:
    st.session_state[name] = True


def _draw_findings(problems: Sequence[str], sound: str) -> None:
    if not problems:
        st.success(sound, icon=":material/verified:")
        return
    st.error(f"{len(problems)} problems.", icon=":material/error:")
    for problem in problems:
        st.text(problem)
