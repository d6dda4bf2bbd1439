"""How long a judge takes whose every reply is known: 1,000 comparisons into a new store, out of the cache of replies.

    python benchmarks/judge_cache.py [--battles 1000] [--side 256]

Starts the tests' server on the loopback interface, lets a first project be judged over HTTP, copies its samples to a
second one without votes, and judges that: no call may be made. The third run finds all answered in the store.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from paragone.arena.store import Store
from paragone.data.files import file_digest
from paragone.data.records import GeneratorCard, Prompt, Sample, sample_id

SERVER = Path(__file__).parents[1] / "tests" / "judges" / "fake_server.py"
N_MODELS, N_PROMPTS = 5, 10


def make_project(folder: Path, *, n_seeds: int, side: int) -> None:
    """Pictures of noise by models that differ in brightness."""
    rng = np.random.default_rng(0)
    samples = []
    for model in range(N_MODELS):
        for prompt in range(N_PROMPTS):
            for seed in range(n_seeds):
                name = f"samples/{model}/{prompt}-{seed}.png"
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                noise = rng.integers(0, 100 + 30 * model, (side, side, 3), dtype=np.uint8)
                Image.fromarray(noise).save(path, compress_level=1)
                digest, made_by = file_digest(path), f"model-{model}"
                name_of = sample_id(made_by, f"p{prompt}", seed, digest)
                samples.append(Sample(name_of, digest, name, f"p{prompt}", made_by, seed, side, side))
    with Store(folder / "arena.db", create=True) as store:
        store.add_generators(GeneratorCard(f"model-{model}") for model in range(N_MODELS))
        store.add_prompts(Prompt(f"p{prompt}", f"a picture of {prompt} things") for prompt in range(N_PROMPTS))
        store.add_samples(samples)


def copy_without_votes(folder: Path, target: Path) -> None:
    """The same samples in a store of their own."""
    with Store(folder / "arena.db") as old, Store(target / "arena.db", create=True) as new:
        new.add_generators(old.generators())
        new.add_prompts(old.prompts())
        new.add_samples(old.samples())
    (target / "samples").symlink_to(folder / "samples")


def judge(folder: Path, home: Path, url: str, n_battles: int) -> tuple[float, dict[str, Any]]:
    """Seconds of the whole command, and its JSON."""
    arguments = ["judge", "--judge", "mllm", "--model", "fake", "--base-url", url, "--order", "balanced"]
    options = ["--dir", str(folder), "--battles", str(n_battles), "--max-concurrency", "32", "--json", "-"]
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "paragone", *arguments, *options],
        env=os.environ | {"PARAGONE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - begun, json.loads(done.stdout)


def main() -> None:
    """Print the three runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--battles", type=int, default=1000)
    parser.add_argument("--side", type=int, default=256, help="px")
    options = parser.parse_args()
    n_seeds = -(-options.battles // (N_MODELS * (N_MODELS - 1) // 2) // N_PROMPTS)
    with tempfile.TemporaryDirectory() as name:
        folder, again, home = (Path(name) / part for part in ("first", "again", "home"))
        make_project(folder, n_seeds=n_seeds, side=options.side)
        copy_without_votes(folder, again)
        server = subprocess.Popen([sys.executable, str(SERVER), "--port", "0"], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            for title, where in (("over HTTP", folder), ("out of the cache", again), ("all answered", again)):
                seconds, said = judge(where, home, url, options.battles)
                print(f"{title:17} {seconds:6.2f} s  {said['n_calls']} calls, {said['n_cached']} cached")
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
