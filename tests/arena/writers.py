"""Writers to be killed, or to be let go: forked from one warm process, so that a round costs milliseconds.

`python writers.py kill URL ROUNDS` kills four writers a round with SIGKILL, in the middle of their work, and prints
the battles whose votes had been acknowledged. `python writers.py all URL VOTES` lets eight writers give VOTES each.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
import traceback

from paragone.arena.store import Store
from paragone.data import Winner

WRITERS = 4


def give_votes(url: str, n: int, seed: int, pipe: int) -> None:
    """Vote `n` times and write the id of each battle to `pipe` once its vote is stored."""
    rng = random.Random(seed)
    with Store(url) as store:
        for number in range(n):
            voter = f"voter-{seed}-{number}"
            issued = store.issue_battle(voter, rng)
            store.record_vote(issued.token, rng.choice(list(Winner)), voter=voter)
            os.write(pipe, f"{issued.battle.id}\n".encode())


def start(url: str, n: int, seed: int) -> tuple[int, int]:
    """Fork a writer; returns its process and the end of the pipe to read from."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        code = 1
        try:
            give_votes(url, n, seed, theirs)
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(theirs)
    return child, ours


def read_all(pipe: int) -> list[str]:
    """The lines that came whole."""
    chunks = []
    while chunk := os.read(pipe, 65536):
        chunks.append(chunk)
    os.close(pipe)
    *whole, _half = b"".join(chunks).decode().split("\n")
    return whole


def kill_rounds(url: str, rounds: int) -> list[str]:
    rng = random.Random(0)
    acknowledged = []
    for number in range(rounds):
        writers = [start(url, 10_000, seed=WRITERS * number + n) for n in range(WRITERS)]
        select.select([pipe for _, pipe in writers], [], [], 30)  # somebody has begun
        time.sleep(rng.uniform(0, 0.06))
        for child, _ in writers:
            os.kill(child, signal.SIGKILL)
        for child, pipe in writers:
            acknowledged += read_all(pipe)
            os.waitpid(child, 0)
    return acknowledged


def all_votes(url: str, votes: int, writers: int = 8) -> list[str]:
    started = [start(url, votes, seed) for seed in range(writers)]
    acknowledged = [line for _, pipe in started for line in read_all(pipe)]
    for child, _ in started:
        _, status = os.waitpid(child, 0)
        if status:
            raise SystemExit(f"a writer ended with {status}")
    return acknowledged


if __name__ == "__main__":
    how, url, number = sys.argv[1:]
    print(json.dumps((kill_rounds if how == "kill" else all_votes)(url, int(number))))
