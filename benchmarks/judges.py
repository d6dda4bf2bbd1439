"""What asking a judge costs: processor time per request beside the openai SDK, and many requests beside the ideal time.

    python benchmarks/judges.py [--rounds 5] [--requests 40] [--comparisons 1000] [--json FILE]

The server is the tests' own, in a process of its own on the loopback interface. Per request: two pictures of noise of
about 700 KB; ours is the whole of `MLLMJudge.ask` (messages, sending, parsing, verdict), theirs is
`chat.completions.create` with the same messages, base64 made once beforehand. Throughput: distinct small pictures,
200 ms latency, 32 at once; ideal is latency x comparisons / 32. The SDK is left out where it is not installed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from measure import Numbers, Worker, machine, serve
from PIL import Image

SERVER = Path(__file__).parents[1] / "tests" / "judges" / "fake_server.py"
LARGE_PX, SMALL_PX = 486, 120  # noise of 486 x 486 px is a PNG of about 710 KB
LATENCY_S, AT_ONCE = 0.2, 32


class Ours:
    """`MLLMJudge.ask`, pictures prepared once as in any run."""

    def __init__(self, folder: Path) -> None:
        from paragone.data.records import Prompt
        from paragone.judges import MLLMJudge

        self.given = json.loads((folder / "given.json").read_text())
        self.prompt, self.a, self.b = Prompt("p", "noise"), folder / "a.png", folder / "b.png"
        self.judge = MLLMJudge("m", base_url=self.given["base_url"])
        self.loop = asyncio.new_event_loop()
        self.run()

    def run(self) -> Numbers:
        """Ask, one after the other."""

        async def ask() -> int:
            verdicts = [await self.judge.ask(self.prompt, self.a, self.b) for _ in range(self.given["requests"])]
            return sum(verdict.winner is not None for verdict in verdicts)

        return {"answers": float(self.loop.run_until_complete(ask()))}

    def check(self, peer: str) -> Numbers:
        """The number of answers."""
        return self.run()


class OpenAI:
    """The openai SDK's asynchronous client."""

    def __init__(self, folder: Path) -> None:
        import openai

        from paragone.data.records import Prompt
        from paragone.judges.media import MediaPreparer
        from paragone.judges.messages import question
        from paragone.judges.templates import load_template

        self.given = json.loads((folder / "given.json").read_text())
        shown = MediaPreparer().prepare([(folder / "a.png", False), (folder / "b.png", False)])
        asked = question(Prompt("p", "noise"), load_template("pairwise"), protocol="pairwise", source=None, sides=shown)
        self.messages: Any = json.loads(b"".join(asked.body({})))["messages"]
        self.client = openai.AsyncOpenAI(api_key="none", base_url=self.given["base_url"])
        self.loop = asyncio.new_event_loop()
        self.run()

    def run(self) -> Numbers:
        """Ask, one after the other."""

        async def ask() -> int:
            answered = 0
            for _ in range(self.given["requests"]):
                reply = await self.client.chat.completions.create(
                    model="m", messages=self.messages, temperature=0.0, max_tokens=2048
                )
                answered += json.loads(reply.choices[0].message.content or "{}").get("overall") is not None
            return answered

        return {"answers": float(self.loop.run_until_complete(ask()))}

    def check(self, peer: str) -> Numbers:
        """The number of answers."""
        return self.run()


CONTENDERS = {"paragone": Ours, "openai": OpenAI}


@contextmanager
def test_server(latency_s: float) -> Iterator[str]:
    """The base URL of a server in a process of its own."""
    command = [sys.executable, str(SERVER), "--latency", str(latency_s), "--behaviour", "verdict"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def cpu_per_request(folder: Path, *, rounds: int, requests: int) -> dict[str, Any]:
    """Median processor time of a request, in ms, for each client."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        pixels = rng.integers(0, 256, (LARGE_PX, LARGE_PX, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    sent = len(base64.b64encode((folder / "a.png").read_bytes())) * 3 // 4
    tools = [tool for tool in CONTENDERS if tool == "paragone" or find_spec(tool)]
    with test_server(0.0) as base_url:
        (folder / "given.json").write_text(json.dumps({"base_url": base_url, "requests": requests}))
        workers = [Worker("requests", tool, folder, program="judges.py") for tool in tools]
        for _ in range(rounds):
            for worker in workers:
                assert worker.run().get("answers") == requests, worker.measured.failure
        for worker in workers:
            worker.close()
    milliseconds = {w.measured.tool: 1000.0 * w.measured.median / requests for w in workers}
    found: dict[str, Any] = {"picture_bytes": sent, "cpu_ms_per_request": milliseconds}
    if "openai" in milliseconds:
        found["ratio_to_openai"] = milliseconds["paragone"] / milliseconds["openai"]
    return found


def throughput(folder: Path, *, comparisons: int) -> dict[str, Any]:
    """Wall time of many comparisons at once, beside the ideal."""
    from paragone.data.records import Prompt
    from paragone.judges import MLLMJudge
    from paragone.judges.pace import Pace

    rng = np.random.default_rng(0)
    pictures = [folder / f"{number}.png" for number in range(64)]
    for path in pictures:
        Image.fromarray(rng.integers(0, 256, (SMALL_PX, SMALL_PX, 3), dtype=np.uint8)).save(path)
    places = [tuple(rng.choice(64, 2, replace=False)) for _ in range(comparisons)]

    async def run(base_url: str) -> int:
        judge = MLLMJudge("m", base_url=base_url, pace=Pace(max_concurrency=AT_ONCE))
        waiting, answered = iter(places), 0

        async def work() -> None:
            nonlocal answered
            for a, b in waiting:
                verdict = await judge.ask(Prompt("p", f"noise {answered}"), pictures[a], pictures[b])
                answered += verdict.winner is not None

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        await judge.aclose()
        return answered

    with test_server(LATENCY_S) as base_url:
        wall, cpu = time.perf_counter(), time.process_time()
        answered = asyncio.run(run(base_url))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert answered == comparisons
    ideal = LATENCY_S * comparisons / AT_ONCE
    return {"comparisons": comparisons, "wall_s": wall, "cpu_s": cpu, "ideal_s": ideal, "ratio_to_ideal": wall / ideal}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--comparisons", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = {
            "machine": machine(("httpx2", "openai"), ("../judges", "../data")),
            "requests": cpu_per_request(Path(name), rounds=options.rounds, requests=options.requests),
            "throughput": throughput(Path(name), comparisons=options.comparisons),
        }
    text = json.dumps(found, indent=2)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "requests":
        serve(lambda: CONTENDERS[sys.argv[2]](Path(sys.argv[3])))
    else:
        main()
