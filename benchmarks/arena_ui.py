"""What a vote costs the server: real sessions over websockets, beside a plain Streamlit app with default settings.

    python benchmarks/arena_ui.py [--voters 40] [--rounds 5] [--votes 1000000] [--models 200]

A round is what a voter does: the vote, the reveal, the next pair; and its two pictures, where the line says so. CPU is
the server process's own (utime + stime of /proc), so other load on the machine matters little; times to answer are wall
time and do suffer. The control is the same arena as one would first write it: st.image, four buttons, SQLite through
our store; its pictures are not fetched. Everything stays on 127.0.0.1, on free ports, and ends by itself. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow
from PIL import Image
from pyarrow import parquet
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

from paragone.arena.import_votes import import_votes
from paragone.arena.store import Store
from paragone.data import GeneratorCard, Prompt, Sample, sample_id
from paragone.data.files import file_digest

PATIENCE_S = 120.0
DWELL_S = 0.45  # a little longer than the shortest look that counts
SIDE_PX = 256
CONTROL_TOOL = "control"
TOOLS = ("paragone", "paragone, with pictures", CONTROL_TOOL)
CONTROL = """
import secrets, sys
import streamlit as st
from paragone.arena.store import Store
from paragone.data import Winner

@st.cache_resource
def store():
    return Store(sys.argv[1] + "/arena.db")

st.session_state.setdefault("voter", secrets.token_hex(8))

def vote(winner):
    store().record_vote(st.session_state["battle"].token, winner, voter=st.session_state["voter"])
    st.session_state["voted"] = True

def go_on():
    st.session_state["battle"] = store().issue_battle(st.session_state["voter"])
    st.session_state["voted"] = False

if "battle" not in st.session_state:
    go_on()
battle = st.session_state["battle"]
st.write(battle.prompt.text)
left, right = st.columns(2)
left.image(sys.argv[1] + "/" + battle.sample_a.path)
right.image(sys.argv[1] + "/" + battle.sample_b.path)
if st.session_state["voted"]:
    left.write(battle.battle.model_a)
    right.write(battle.battle.model_b)
    st.button("next", on_click=go_on)
else:
    left.button("A is better", on_click=vote, args=(Winner.MODEL_A,))
    right.button("B is better", on_click=vote, args=(Winner.MODEL_B,))
    left.button("Tie", on_click=vote, args=(Winner.TIE,))
    right.button("Both bad", on_click=vote, args=(Winner.BOTH_BAD,))
"""


class Session:
    """One visitor's connection, as the browser holds it."""

    def __init__(self, connection: ClientConnection, page: str = "") -> None:
        self.connection = connection
        self.page = page
        self.page_hash = ""  # of the page that is open, once the server has said it
        self.elements: dict[str, Any] = {}  # by widget id, of the last run

    async def run(self, trigger: Callable[[Any], None] | None = None) -> float:
        """Have the script run and read all it sends; returns how long that took, s."""
        message = BackMsg()
        message.rerun_script.query_string = ""
        message.rerun_script.page_name = "" if self.page_hash else self.page
        message.rerun_script.page_script_hash = self.page_hash
        if trigger is not None:
            trigger(message.rerun_script.widget_states.widgets.add())
        started = time.perf_counter()
        self.elements = {}
        await self.connection.send(message.SerializeToString())
        while True:
            content = await asyncio.wait_for(self.connection.recv(), PATIENCE_S)
            answer = ForwardMsg.FromString(content if isinstance(content, bytes) else content.encode())
            kind = answer.WhichOneof("type")
            if kind == "delta" and answer.delta.WhichOneof("type") == "new_element":
                element = answer.delta.new_element
                inside = getattr(element, element.WhichOneof("type"))
                self.elements[getattr(inside, "id", "") or str(len(self.elements))] = inside
            elif kind == "navigation":
                self.page_hash = answer.navigation.page_script_hash
            elif kind == "script_finished":
                return time.perf_counter() - started


class Voter(Protocol):
    """A way to vote on one kind of server."""

    async def vote(self, session: Session, rng: random.Random) -> list[float]: ...  # s, of each answer


class OurVoter:
    """Votes through the battle's widget; with `pictures`, fetches those of the next battle as the widget does."""

    def __init__(self, base: str, cookie: str, *, pictures: bool) -> None:
        self.base, self.cookie, self.pictures = base, cookie, pictures

    async def vote(self, session: Session, rng: random.Random) -> list[float]:
        await asyncio.sleep(DWELL_S)
        times = [await self._act(session, rng.choice(("model_a", "model_b", "tie", "both_bad")))]
        _, told = self._battle(session)
        assert told["reveal"] is not None, told["notice"]
        if self.pictures:
            await asyncio.gather(*(asyncio.to_thread(self._fetch, address) for address in told["next"]))
        return [*times, await self._act(session, "next")]

    def _battle(self, session: Session) -> tuple[str, dict[str, Any]]:
        found = next(e for e in session.elements.values() if getattr(e, "component_name", "") == "paragone_battle")
        return found.id, json.loads(found.json)

    async def _act(self, session: Session, what: str) -> float:
        widget, told = self._battle(session)
        answer = {"battle": told["battle"], "act": what, "dwell_ms": 450}

        def trigger(state: Any) -> None:
            state.id = f"$$STREAMLIT_INTERNAL_KEY_{widget}__events"
            state.json_trigger_value = json.dumps([{"event": "act", "value": answer}])

        return await session.run(trigger)

    def _fetch(self, address: str) -> None:
        request = urllib.request.Request(self.base + address, headers={"Cookie": self.cookie})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            answer.read()


class ControlVoter:
    """Votes through plain buttons."""

    async def vote(self, session: Session, rng: random.Random) -> list[float]:
        await asyncio.sleep(DWELL_S)
        labels = ("A is better", "B is better", "Tie", "Both bad")
        return [await self._press(session, rng.choice(labels)), await self._press(session, "next")]

    async def _press(self, session: Session, label: str) -> float:
        button = next(e for e in session.elements.values() if getattr(e, "label", "") == label)

        def trigger(state: Any) -> None:
            state.id = button.id
            state.trigger_value = True

        return await session.run(trigger)


def make_project(folder: Path, *, n_models: int, n_prompts: int) -> None:
    """Models and pictures without votes."""
    rng = np.random.default_rng(0)
    samples = []
    for model in range(n_models):
        for prompt in range(n_prompts):
            path = folder / "samples" / str(model) / f"{prompt}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            small = rng.integers(0, 256, (SIDE_PX // 16, SIDE_PX // 16, 3), np.uint8)
            Image.fromarray(small).resize((SIDE_PX, SIDE_PX)).save(path)
            digest, name = file_digest(path), f"model-{model:03d}"
            place = path.relative_to(folder).as_posix()
            samples.append(
                Sample(sample_id(name, f"p{prompt}", 0, digest), digest, place, f"p{prompt}", name, 0, SIDE_PX, SIDE_PX)
            )
    with Store(folder / "arena.db", create=True) as store:
        store.add_generators(GeneratorCard(f"model-{n:03d}", licence="Apache-2.0") for n in range(n_models))
        store.add_prompts(Prompt(f"p{n}", f"prompt number {n}") for n in range(n_prompts))
        store.add_samples(samples)


@contextmanager
def server(command: list[str], port: int, *, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server that answers, until the block ends; `cwd` is a folder without settings for Streamlit."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    silent = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=silent, stderr=silent, env=environment, cwd=cwd) as process:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise SystemExit(f"the server did not start: {' '.join(command)}") from None
                    time.sleep(0.1)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def voter_cookie(base: str) -> str:
    """The cookie of a new visitor; empty where the server gives none."""
    with urllib.request.urlopen(base, timeout=PATIENCE_S) as page:
        given = page.headers.get_all("Set-Cookie") or []
    return "; ".join(line.split(";")[0] for line in given)


async def open_session(base: str, cookie: str, page: str = "") -> Session:
    """Connect and have the first page drawn."""
    headers = {"Cookie": cookie} if cookie else {}
    address = base.replace("http", "ws") + "/_stcore/stream"
    connection = await connect(
        address, additional_headers=headers, subprotocols=["streamlit"], max_size=None, origin=base
    )
    session = Session(connection, page)
    await session.run()
    return session


async def vote_together(base: str, pid: int, *, n_voters: int, n_rounds: int, tool: str) -> dict[str, float]:
    """Let voters vote at once; the first round of each warms up and is not counted."""
    rng = random.Random(0)
    cookies = [voter_cookie(base) for _ in range(n_voters)]
    sessions = [await open_session(base, cookie) for cookie in cookies]
    voters: list[Voter] = [
        ControlVoter() if tool == CONTROL_TOOL else OurVoter(base, cookie, pictures=tool == TOOLS[1])
        for cookie in cookies
    ]

    async def rounds(n: int) -> list[float]:
        async def one(session: Session, voter: Voter) -> list[float]:
            return [t for _ in range(n) for t in await voter.vote(session, rng)]

        done = await asyncio.gather(*(one(s, v) for s, v in zip(sessions, voters, strict=True)))
        return [t for times in done for t in times]

    await rounds(1)
    before, started = cpu_s(pid), time.perf_counter()
    times = await rounds(n_rounds)
    spent, took = cpu_s(pid) - before, time.perf_counter() - started
    for session in sessions:
        await session.connection.close()
    votes = n_voters * n_rounds
    ordered = sorted(times)
    return {
        "voters": n_voters,
        "votes": votes,
        "cpu_ms_per_vote": 1000 * spent / votes,
        "p50_ms": 1000 * statistics.median(ordered),
        "p95_ms": 1000 * ordered[int(0.95 * (len(ordered) - 1))],
        "votes_per_s": votes / took,
    }


def our_command(folder: Path, port: int) -> list[str]:
    """`paragone serve`."""
    return [sys.executable, "-m", "paragone", "serve", "--dir", str(folder), "--port", str(port)]


def control_command(folder: Path, port: int) -> list[str]:
    """The control with Streamlit's own settings, but for what a benchmark cannot have: a browser and telemetry."""
    script = folder / "control.py"
    script.write_text(CONTROL)
    flags = [f"--server.port={port}", "--server.headless=true", "--browser.gatherUsageStats=false"]
    return [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(script),
        *flags,
        "--server.address=127.0.0.1",
        "--",
        str(folder),
    ]


def import_many(folder: Path, *, n_votes: int, n_models: int) -> None:
    """A project whose store has many votes, by models of unlike strength."""
    rng = np.random.default_rng(0)
    strength = np.sort(rng.normal(0, 1, n_models))
    a = rng.integers(n_models, size=n_votes)
    b = (a + rng.integers(1, n_models, size=n_votes)) % n_models
    won = rng.random(n_votes) < 1 / (1 + np.exp(strength[b] - strength[a]))
    names = np.array([f"model-{n:03d}" for n in range(n_models)])
    table = {
        "model_a": names[a],
        "model_b": names[b],
        "winner": np.where(rng.random(n_votes) < 0.1, "tie", np.where(won, "model_a", "model_b")),
        "voter": np.array([f"voter-{n}" for n in range(20_000)])[rng.integers(20_000, size=n_votes)],
        "prompt": np.array([f"prompt {n}" for n in range(1000)])[rng.integers(1000, size=n_votes)],
    }
    parquet.write_table(pyarrow.table(table), folder / "votes.parquet")
    with Store(folder / "arena.db", create=True) as store:
        import_votes(store, folder / "votes.parquet")


async def draw_page(base: str, pid: int, page: str, *, times: int = 5) -> dict[str, float]:
    """Draw a page for a first visitor, then again and again for others; ms of CPU of the server and of the clock."""
    cookie = voter_cookie(base)
    found: dict[str, float] = {}
    for place in range(1 + times):
        before, started = cpu_s(pid), time.perf_counter()
        session = await open_session(base, cookie, page)
        took, spent = 1000 * (time.perf_counter() - started), 1000 * (cpu_s(pid) - before)
        await session.connection.close()
        assert session.elements, f"{page}: nothing came"
        name = "first" if place == 0 else "later"
        found[f"{name}_ms"] = took if place == 0 else min(took, found.get("later_ms", took))
        found[f"{name}_cpu_ms"] = spent if place == 0 else min(spent, found.get("later_cpu_ms", spent))
    return found


def measure_board(folder: Path, *, n_votes: int, n_models: int) -> dict[str, float]:
    """The leaderboard page over many votes."""
    import_many(folder, n_votes=n_votes, n_models=n_models)
    port = free_port()
    with server(our_command(folder, port), port, cwd=folder) as process:
        return asyncio.run(draw_page(f"http://127.0.0.1:{port}", process.pid, "leaderboard"))


def measure(folder: Path, *, n_voters: int, n_rounds: int, tool: str) -> dict[str, float]:
    """Start one server and vote on it."""
    port = free_port()
    command = control_command(folder, port) if tool == CONTROL_TOOL else our_command(folder, port)
    with server(command, port, cwd=folder) as process:
        base = f"http://127.0.0.1:{port}"
        return asyncio.run(vote_together(base, process.pid, n_voters=n_voters, n_rounds=n_rounds, tool=tool))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voters", type=int, default=40, help="voters at once")
    parser.add_argument("--rounds", type=int, default=5, help="votes of each")
    parser.add_argument("--votes", type=int, default=1_000_000, help="in the leaderboard page's arena; 0: leave it out")
    parser.add_argument("--models", type=int, default=200, help="in the leaderboard page's arena")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        make_project(Path(name), n_models=20, n_prompts=10)
        for n_voters in (8, options.voters):
            results = {
                tool: measure(Path(name), n_voters=n_voters, n_rounds=options.rounds, tool=tool) for tool in TOOLS
            }
            for tool, found in results.items():
                print(tool, json.dumps({key: round(value, 1) for key, value in found.items()}), flush=True)
            ratio = results[CONTROL_TOOL]["cpu_ms_per_vote"] / results[TOOLS[0]]["cpu_ms_per_vote"]
            print(f"{n_voters} voters: the control takes {ratio:.1f} times the CPU a vote", flush=True)
    if options.votes:
        with tempfile.TemporaryDirectory() as name:
            found = measure_board(Path(name), n_votes=options.votes, n_models=options.models)
            print("leaderboard page", json.dumps({key: round(value) for key, value in found.items()}))


if __name__ == "__main__":
    main()
