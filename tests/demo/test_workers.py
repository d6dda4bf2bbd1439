"""Workers report progress, raise what their jobs raise, and never outlive the process that started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from paragone.demo.workers import Workers

def square(n, *, progress):
    progress(f"square {n}", n, n)
    return n * n

def fail(*, progress):
    raise ValueError("as planned")

def sleep(folder, *, progress):
    Path(folder, str(os.getpid())).touch()
    time.sleep(60)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with SIGINT ignored
    seen = []
    with Workers(lambda *message: seen.append(message), n_processes=2) as workers:
        if sys.argv[1] == "square":
            print(workers.run(square, [(3,), (2,), (1,)]))
        elif sys.argv[1] == "fail":
            workers.run(fail, [()])
        else:
            workers.run(sleep, [(sys.argv[1],), (sys.argv[1],)])
    print(sorted(seen))
"""


def start(tmp_path: Path, argument: str) -> subprocess.Popen[str]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    return subprocess.Popen(
        [sys.executable, str(program), argument], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition: object, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_results_keep_their_order_and_progress_arrives(tmp_path: Path) -> None:
    out, err = start(tmp_path, "square").communicate(timeout=60)
    assert out.splitlines() == ["[9, 4, 1]", "[('square 1', 1, 1), ('square 2', 2, 2), ('square 3', 3, 3)]"], err


def test_what_a_job_raises_arrives(tmp_path: Path) -> None:
    process = start(tmp_path, "fail")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "ValueError: as planned" in err


def test_no_worker_outlives_its_parent(tmp_path: Path) -> None:
    for number, how in enumerate((signal.SIGKILL, signal.SIGINT)):
        folder = tmp_path / str(number)
        folder.mkdir()
        process = start(folder, str(folder))
        wait_for(lambda folder=folder: len([p for p in folder.iterdir() if p.name.isdigit()]) == 2)
        workers = [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
        assert all(is_alive(pid) for pid in workers)
        os.kill(process.pid, how)
        process.communicate(timeout=20)
        wait_for(lambda workers=workers: not any(is_alive(pid) for pid in workers), 10.0)
