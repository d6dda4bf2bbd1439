"""The demo, small: the same bytes for the same seed, whatever interrupted it, and truths that its table must show."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paragone.arena import Store
from paragone.cli.leaderboard import publish_leaderboard
from paragone.data.errors import UsageError
from paragone.data.project import Project
from paragone.demo.contestants import CONTESTANTS, DemoSettings
from paragone.demo.loop import run_demo
from paragone.demo.tracks import FLOOR
from paragone.judges.digits import DigitsJudge

SMALL = DemoSettings(seed=1, training_steps=150, samples_per_prompt=12, n_battles=252)
PROGRAM = f"""
from pathlib import Path
from paragone.cli.leaderboard import publish_leaderboard
from paragone.demo.contestants import DemoSettings
from paragone.demo.loop import run_demo
import sys
if __name__ == "__main__":
    run_demo(Path(sys.argv[1]), {SMALL!r})
    publish_leaderboard(Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "project"
    run_demo(folder, SMALL)
    publish_leaderboard(folder)
    return folder


def rows(folder: Path) -> dict[str, dict[str, float]]:
    document = json.loads((folder / "leaderboard.json").read_text())
    assert document["schema"] == "paragone.leaderboard/1"
    return {row["model"]: row for row in document["models"]}


def test_every_contestant_is_ranked_and_measured(finished: Path) -> None:
    board = rows(finished)
    assert set(board) == {contestant.card.name for contestant in CONTESTANTS}
    for row in board.values():
        assert row["rating_lower"] < row["rating"] < row["rating_upper"]
        assert row["elo"] is not None
        for metric in ("fd", "kid", "precision", "recall", "authenticity", "alignment"):
            assert row[metric] is not None
    assert (finished / "leaderboard.csv").read_text().count("\n") == len(CONTESTANTS) + 1


def test_the_table_tells_the_truth(finished: Path) -> None:
    board = rows(finished)
    assert board["flow-early"]["fd"] > board["flow-middle"]["fd"] > board["flow"]["fd"]
    assert min(board.values(), key=lambda row: row["fd"])["model"] == "replay"
    assert board["replay"]["authenticity"] == 0
    assert min(row["authenticity"] for name, row in board.items() if name != "replay") > 0.2
    assert {row["model"] for row in board.values() if row["rank"] >= 8} == {"three-digits", "flow-early"}
    assert board["three-digits"]["recall"] < board["flow"]["recall"] / 2
    assert board["flow-guided"]["alignment"] > board["flow"]["alignment"]


def test_every_battle_was_judged_in_both_orders_and_gave_one_vote(finished: Path) -> None:
    with Store(Project(finished).database) as store:
        votes = store.votes()
        assert len(votes) == len(store.judged_battle_ids(DigitsJudge.name)) >= SMALL.n_battles
        assert store.counts()["judge_calls"] == 2 * len(votes)


def test_a_second_run_changes_nothing_and_makes_nothing(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*.png")} | {
        path: path.stat().st_mtime_ns for path in finished.rglob("*.safetensors")
    }
    board = (finished / "leaderboard.json").read_bytes()
    measures = run_demo(finished, SMALL)
    publish_leaderboard(finished)
    assert (finished / "leaderboard.json").read_bytes() == board
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert FLOOR in measures


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_leaderboard(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    kills = 0
    for landmark in ("*.safetensors", "samples/flow*/**/*.png", None):  # in training, in sampling, never
        process = subprocess.Popen([sys.executable, str(program), str(folder)], start_new_session=True)
        while process.poll() is None and not (landmark and any(folder.rglob(landmark))):
            time.sleep(0.02)
        if process.poll() is not None:
            break
        kills += 1
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == 0
    assert kills == 2
    assert (folder / "leaderboard.json").read_bytes() == (finished / "leaderboard.json").read_bytes()


def test_another_seed_needs_another_folder(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="seed 2"):
        run_demo(finished, DemoSettings(seed=2))
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="not empty"):
        run_demo(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
