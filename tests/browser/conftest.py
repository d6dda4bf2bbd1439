"""A real server on a real project, and a real Chromium to look at it with."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from paragone.arena.store import Store
from paragone.data import (
    GeneratorCard,
    Judgement,
    MetricResult,
    Price,
    PriceUnit,
    Prompt,
    Sample,
    Verdict,
    Winner,
    sample_id,
)
from paragone.data.battles import round_robin
from paragone.data.files import file_digest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = Path(os.environ.get("PARAGONE_CHROMIUM", "/usr/bin/chromium"))
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MODELS = ("tracing", "blurred", "noisy", "faint", "<img src=x onerror=alert(1)> **bold** [link](http://evil.example)")
PROMPTS = (
    "a handwritten 3",
    "a handwritten 8 <script>alert(1)</script> ![x](http://evil.example/x.png) :red[no]",
    "a handwritten 0",
    "a handwritten 5",
)
DIGITS = (3, 8, 0, 5)  # of each prompt
TAGS = (("open",), ("closed", "<b>bold</b>"), ("closed",), ())
PEOPLE = 6  # who have voted
VOTES_EACH = 20


def degrade(model: int, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Five ways to redraw a digit, each a little worse than the one before."""
    blurred = (pixels + np.roll(pixels, 1, axis=0) + np.roll(pixels, 1, axis=1)) / 3
    noisy = pixels + rng.normal(0, 50, pixels.shape)
    redrawn = (pixels, blurred, noisy, pixels * 0.4, 255 - pixels)[model]
    return np.clip(redrawn, 0, 255).astype(np.uint8)


def make_samples(folder: Path) -> list[Sample]:
    digits, rng = load_digits(), np.random.default_rng(0)
    samples = []
    for number, model in enumerate(MODELS):
        directory = folder / "samples" / f"model-{number}"
        directory.mkdir(parents=True)
        for prompt, digit in enumerate(DIGITS):
            for seed, index in enumerate(np.flatnonzero(digits.target == digit)[:20]):
                path = directory / f"{prompt}-{seed}.png"
                Image.fromarray(degrade(number, digits.images[index] * 255 / 16, rng)).save(path)
                digest = file_digest(path)
                place = path.relative_to(folder).as_posix()
                name = sample_id(model, f"p{prompt}", seed, digest)
                latency = 0.5 + 0.7 * number if number < 4 else None
                samples.append(Sample(name, digest, place, f"p{prompt}", model, seed, 8, 8, latency))
    return samples


def judge(samples: list[Sample], rng: np.random.Generator) -> Iterator[Judgement]:
    """A judge that mostly prefers the model that comes first in `MODELS`."""
    for battle in round_robin(samples, n_battles=200):
        strength = MODELS.index(battle.model_b) - MODELS.index(battle.model_a)
        wins = rng.random() < 1 / (1 + 10 ** (-strength / 4))
        winner = Winner.MODEL_A if wins else Winner.MODEL_B
        verdict = Verdict(winner, judge="ruler")
        yield Judgement(battle, (verdict, verdict), winner, consistent=True)


def people_vote(store: Store, rng: random.Random) -> None:
    """People who mostly prefer the model that comes first in `MODELS`, and sometimes cannot decide."""
    for number in range(PEOPLE * VOTES_EACH):
        voter = f"guest-{number % PEOPLE}"
        issued = store.issue_battle(voter, rng)
        strength = MODELS.index(issued.battle.model_b) - MODELS.index(issued.battle.model_a)
        chance = 1 / (1 + 10 ** (-strength / 3))
        decided = Winner.MODEL_A if rng.random() < chance else Winner.MODEL_B
        store.mark_shown(issued.token)
        store.record_vote(issued.token, Winner.TIE if rng.random() < 0.15 else decided, voter=voter, dwell_ms=2000)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real digits, five models that redraw them, measures and a judge's votes."""
    folder = tmp_path_factory.mktemp("project")
    samples = make_samples(folder)
    with Store(folder / "arena.db", create=True) as store:
        store.add_generators(
            GeneratorCard(
                name,
                licence="MIT" if n % 2 else "Apache-2.0",
                open_weights=n != 1,
                provider="digits",
                released="2026-01-02",
            )
            for n, name in enumerate(MODELS)
        )
        prices = [
            Price(name, unit, Decimal("0.002") * (5 - n) ** 2, "2026-01-01")
            for n, name in enumerate(MODELS[:4])
            for unit in (PriceUnit.IMAGE, PriceUnit.MEGAPIXEL)
        ]
        store.add_prices(prices)
        store.add_prompts(Prompt(f"p{n}", text, tags=TAGS[n]) for n, text in enumerate(PROMPTS))
        store.add_samples(samples)
        for n, model in enumerate(MODELS):
            fd = MetricResult("fd", 2.0 + 9.0 * n, False, 40, 100, signature="fd|ext:digits|n:40")
            precision = MetricResult("precision", 0.95 - 0.15 * n, True, 40, 100, signature="precision|n:40")
            store.add_metric_results(model, [fd, precision])
        store.record_judgements(judge(samples, np.random.default_rng(1)), judge="ruler")
        people_vote(store, random.Random(2))
    return folder


@dataclass(frozen=True)
class Server:
    url: str
    folder: Path
    process: subprocess.Popen[str]


@contextmanager
def _serving(folder: Path) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "paragone", "serve", "--dir", str(folder), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{url}/_stcore/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, process.stdout.read() if process.stdout else ""
                time.sleep(0.1)
        yield Server(url, folder, process)
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def serving() -> Callable[[Path], AbstractContextManager[Server]]:
    """`paragone serve` of a project folder on a free port."""
    return _serving


@pytest.fixture(scope="session")
def server(project: Path) -> Iterator[Server]:
    """The server of the project of digits."""
    with _serving(project) as server:
        yield server


@pytest.fixture(scope="module")  # its event loop must not be running when other modules have loops of their own
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.is_file():
        missing = f"no Chromium at {CHROMIUM}; install one, or name it with PARAGONE_CHROMIUM"
        if os.environ.get("PARAGONE_REQUIRE_BROWSER"):
            pytest.fail(missing)
        pytest.skip(missing)
    with playwright.sync_playwright() as tools:
        chromium = tools.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("PARAGONE_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
