"""Programs as generators: no shell, no orphans, and the reason of every failure in the message."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paragone.data.errors import UsageError
from paragone.data.generators.base import GenerationRequest
from paragone.data.generators.command import CommandGenerator
from paragone.data.generators.conformance import check_generator
from paragone.data.generators.media import pixels_of
from paragone.data.records import Prompt, Status, Task

DRAW = """
import hashlib, struct, sys, zlib
def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
def draw(prompt, seed, out):  # a PNG by hand: importing Pillow would take longer than all the rest
    colour = hashlib.sha256(f"{prompt}|{seed}".encode()).digest()[:3]
    rows = zlib.compress((bytes(1) + colour * 8) * 8)
    head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    with open(out, "wb") as file:
        file.write(bytes([137]) + b"PNG\\r\\n" + bytes([26, 10]))
        file.write(chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
"""
ONE = DRAW + "draw(open(sys.argv[1], encoding='utf-8').read(), sys.argv[2], sys.argv[3])"
MANY = (
    DRAW
    + """
import json
with open(sys.argv[2], "w") as results:
    for line in open(sys.argv[1]):
        row = json.loads(line)
        draw(row["prompt"], row["seed"], row["out"])
        answer = {"prompt_id": row["prompt_id"], "seed": row["seed"], "file": row["out"], "cost_usd": "0.01"}
        results.write(json.dumps(answer) + chr(10))
"""
)


def program(code: str, *arguments: str, **settings: Any) -> CommandGenerator:
    """A program in Python; braces in it mean nothing, as it stands in a file."""
    folder = Path(tempfile.mkdtemp(dir=os.environ["PARAGONE_HOME"]))
    (folder / "program.py").write_text(code)
    task = settings.pop("task", Task.TEXT_TO_IMAGE)
    return CommandGenerator("m", task, [sys.executable, str(folder / "program.py"), *arguments], **settings)


def one(code: str, **settings: Any) -> CommandGenerator:
    return program(code, "{prompt_file}", "{seed}", "{out}", **settings)


def many(code: str, **settings: Any) -> CommandGenerator:
    return program(code, "{requests}", "{results}", **settings)


@pytest.mark.parametrize("make", [lambda: one(ONE), lambda: many(MANY)], ids=["one", "many"])
def test_it_conforms(make: Callable[[], CommandGenerator]) -> None:
    report = check_generator(make(), seeded=True)
    assert report.n_ok == report.n_requests


def test_words_and_seed_arrive_unchanged(ask: Callable[..., Any], media: Any) -> None:
    words = 'it\'s {seed} "$HOME"; rm -rf / && 画像'
    made = ask(one(ONE), words, 7)
    assert np.array_equal(pixels_of(made.file, "")[0, 0], media.pixels(words, 7)[0, 0])
    assert made.latency_s > 0
    straight = program(DRAW + "draw(sys.argv[1], sys.argv[2], sys.argv[3])", "{prompt}", "{seed}", "{out}")
    assert np.array_equal(pixels_of(ask(straight, words, 7).file, ""), pixels_of(made.file, ""))
    piped = program(DRAW + "draw(sys.stdin.buffer.read().decode(), 7, sys.argv[1])", "{out}", stdin=True)
    assert np.array_equal(pixels_of(ask(piped, words, 7).file, ""), pixels_of(made.file, ""))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; sys.exit('no weights')", "ended with code 1: no weights"),
        ("pass", "wrote no out.png"),
        ("import sys; print('odd', file=sys.stderr)", "wrote no out.png: odd"),
        ("import sys; open(sys.argv[3], 'w').write('hello')", "begins with 'hello'"),
        ("import sys; open(sys.argv[3], 'w')", "an empty file"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended with code -11"),
    ],
)
def test_failures_say_why(ask: Callable[..., Any], code: str, words: str) -> None:
    made = ask(one(code))
    assert made.status is Status.ERROR
    assert words in made.message


def test_a_flood_of_words_neither_blocks_nor_fills_memory(ask: Callable[..., Any]) -> None:
    flood = "[sys.stderr.write('x' * 10**6) and sys.stdout.write('y' * 10**6) for _ in range(20)]"
    code = f"import sys; {flood}; sys.exit('last words')"
    made = ask(one(code))
    assert made.message.endswith("last words")
    assert len(made.message) < 3000


def test_exit_codes_may_be_statuses(ask: Callable[..., Any]) -> None:
    adapter = one("import sys; sys.exit(3)", statuses={"3": "refused"})
    assert ask(adapter).status is Status.REFUSED
    with pytest.raises(UsageError, match="statuses"):
        one("pass", statuses={"3": "ok"})


def test_after_its_time_the_whole_family_is_killed(ask: Callable[..., Any], tmp_path: Path) -> None:
    child = tmp_path / "pid"
    code = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open({str(child)!r}, "w").write(str(child.pid))
print("thinking", file=sys.stderr, flush=True)
time.sleep(60)
"""
    started = time.monotonic()
    made = ask(one(code, timeout_s=2.0))
    assert time.monotonic() - started < 30
    assert made.status is Status.TIMEOUT
    assert "killed after 2 s: thinking" in made.message
    deadline = time.monotonic() + 10
    while _lives(int(child.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_program_that_is_not_there_or_cannot_be_told(ask: Callable[..., Any]) -> None:
    missing = CommandGenerator("m", Task.TEXT_TO_IMAGE, ["no-such-program", "{out}"])
    assert "no-such-program: cannot be started" in ask(missing).message
    direct = program(DRAW, "{prompt}", "{out}")
    assert ask(direct, "nul \0 byte").status is Status.ERROR
    assert ask(direct, "x" * 10_000_000).status is Status.ERROR


def test_batches_answer_as_far_as_they_come(tmp_path: Path) -> None:
    half = MANY.replace("    for line in open(sys.argv[1]):", "    for line in list(open(sys.argv[1]))[:2]:")
    requests = [GenerationRequest(Prompt(f"p{n}", f"words {n}"), n) for n in range(4)]
    made = list(many(half).generate(requests))
    assert [generation.status for generation in made] == ["ok", "ok", "error", "error"]
    assert "answered 2 of 4, not this one" in made[2].message
    assert str(made[0].cost_usd) == "0.01"
    hangs = MANY.replace("results.write", "results.flush(); results.write") + "import time; time.sleep(60)"
    made = list(many(hangs, timeout_s=5.0, batch=2).generate(requests[:2]))
    assert [generation.status for generation in made] == ["ok", "ok"]


def test_what_a_batch_may_answer() -> None:
    code = """
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
answers = [{"status": "refused", "message": "no"}, {"file": "/etc/hostname"}, {"status": "odd"}, {}]
with open(sys.argv[2], "w") as results:
    for row, answer in zip(rows, answers):
        results.write(json.dumps({"prompt_id": row["prompt_id"], "seed": row["seed"], **answer}) + chr(10))
    results.write('{"prompt_id": ')
"""
    requests = [GenerationRequest(Prompt("p", "x"), n) for n in range(4)]
    made = list(many(code).generate(requests))
    assert [generation.status for generation in made] == ["refused", "error", "error", "error"]
    assert made[0].message == "no"
    assert "lies outside" in made[1].message


@pytest.mark.parametrize(
    ("argv", "words"),
    [([], "argv is empty"), (["draw"], "no {out}"), (["draw", "{requests}"], "both {requests} and {results}")],
)
def test_a_command_line_that_cannot_work(argv: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("{", r"\{")):
        CommandGenerator("m", Task.TEXT_TO_IMAGE, argv)


def test_nothing_is_left_in_the_temporary_folder(ask: Callable[..., Any], tmp_path: Path, monkeypatch: Any) -> None:
    adapters = one(ONE), one("import sys; sys.exit(1)"), many(MANY)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for adapter in adapters:
        ask(adapter)
    assert os.listdir(tmp_path) == []
