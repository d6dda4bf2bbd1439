"""The full demo: its measures are closed, its runs wait for each other, and killed it ends with the same boards."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from paragone.arena import Store
from paragone.arena.leaderboard import store_leaderboard
from paragone.cli.leaderboard import publish_leaderboard
from paragone.data.digits import load_digits_split
from paragone.data.errors import UsageError
from paragone.data.generators.media import encode_clip
from paragone.data.moving_digits import draw_moves
from paragone.data.project import Project
from paragone.data.records import (
    Battle,
    GeneratorCard,
    Judgement,
    MetricResult,
    Prompt,
    Sample,
    Task,
    Verdict,
    Winner,
    fingerprint,
)
from paragone.demo.cast import cast_of
from paragone.demo.contestants import DemoSettings
from paragone.demo.full_plots import line_plot, write_plots
from paragone.demo.full_settings import FullSettings
from paragone.demo.full_sheets import write_sheets
from paragone.demo.full_tracks import CLIP_MEASURES, EDIT_MEASURES, EDITS, MOVING
from paragone.demo.loop import run_demo
from paragone.demo.training import Run, next_runs, save_weights

SMALL = FullSettings(
    seed=1,
    training_steps=90,
    samples_per_prompt=9,
    n_battles=1,
    n_clip_battles=90,
    n_edit_battles=90,
    clips_per_prompt=1,
    edits_per_digit=3,
    n_generations=3,
)
PROGRAM = f"""
from pathlib import Path
from paragone.cli.leaderboard import publish_leaderboard
from paragone.demo.cast import cast_of
from paragone.demo.full_settings import FullSettings
from paragone.demo.loop import run_demo
import sys
if __name__ == "__main__":
    settings = {SMALL!r}
    run_demo(Path(sys.argv[1]), settings)
    publish_leaderboard(Path(sys.argv[1]), tasks=[track.task for track in cast_of(settings).tracks])
"""
BOARDS = ("leaderboard.json", "leaderboard-image-to-video.json", "leaderboard-image-editing.json")
REFERENCE = load_digits_split(seed=1)[1]


# ---- In parts ------------------------------------------------------------------------------------------------------


def test_the_casts_belong_to_their_settings() -> None:
    default, full = cast_of(DemoSettings()), cast_of(FullSettings())
    assert len(default.contestants) == 9
    assert [track.task for track in default.tracks] == [Task.TEXT_TO_IMAGE]
    assert full.contestants[:9] == default.contestants
    assert [track.task for track in full.tracks] == [Task.TEXT_TO_IMAGE, Task.IMAGE_TO_VIDEO, Task.IMAGE_EDITING]
    names = [one.card.name for one in full.contestants]
    assert len(set(names)) == len(names) == sum(len(full.names(track)) for track in full.tracks)
    assert all(set(run.needs) <= set(full.runs) for run in full.runs.values())
    assert len({line.id for line in full.lines}) == len(full.lines)
    assert DemoSettings().fingerprint() != FullSettings().fingerprint()


def test_a_run_waits_for_those_that_it_needs(tmp_path: Path) -> None:
    import torch

    settings = DemoSettings()

    def leave(name: str) -> Run:
        def train(models: Path, settings: DemoSettings, progress: object) -> None:
            save_weights(models / name, {"x": torch.zeros(1)}, settings)

        return Run(train, lambda settings: [name], needs=("a",) if name == "b" else ())

    runs = {name: leave(name) for name in ("b", "a", "c")}
    assert next_runs(runs, tmp_path, settings) == ["a", "c"]
    runs["a"].train(tmp_path, settings, lambda *message: None)
    assert next_runs(runs, tmp_path, settings) == ["b", "c"]
    assert next_runs(runs, tmp_path, replace(settings, seed=7)) == ["a", "c"]
    for name in ("b", "c"):
        runs[name].train(tmp_path, settings, lambda *message: None)
    assert next_runs(runs, tmp_path, settings) == []


def test_clip_measures_know_the_real_clip_and_what_is_wrong_with_others() -> None:
    move = draw_moves(REFERENCE, seed=1)[11]
    of = {row.name: row.of for row in CLIP_MEASURES}
    real = {name: measure(move.clip, move, 1) for name, measure in of.items()}
    assert real["velocity_error"] < 1e-9
    assert real["anchor_error"] == 0
    assert real["frame_psnr"] > 60
    frozen = np.repeat(move.clip[:1], 16, axis=0)
    assert of["velocity_error"](frozen, move, 1) >= 1
    assert of["anchor_error"](frozen, move, 1) == 0
    assert of["identity"](frozen, move, 1) < real["identity"] / 2
    brighter = move.clip.copy()
    brighter[0] = np.minimum(brighter[0].astype(int) + 3, 255).astype(np.uint8)
    assert 0 < of["anchor_error"](brighter, move, 1) <= 3
    assert of["frame_psnr"](brighter, move, 1) == real["frame_psnr"]
    noisy = np.clip(move.clip.astype(int) + 10 * (np.indices(move.clip.shape).sum(0) % 2), 0, 255).astype(np.uint8)
    assert 31 < of["frame_psnr"](noisy, move, 1) < 32  # half of the black pixels are 10 off: 255² / 50 is 31.1 dB


def test_edit_measures_tell_inside_from_outside() -> None:
    edit = next(edit for edit in cast_of(SMALL).tracks[2].prompts(SMALL) if edit.id == "edit-3-to-5-0")
    assert edit.mask == "sources/mask-top.png"
    from paragone.demo.full_tracks import _edits

    request = next(one for one in _edits(SMALL) if one.prompt == edit)
    of = {row.name: row.of for row in EDIT_MEASURES}
    inside, outside = request.image.copy(), request.image.copy()
    inside[:4] = 255 - inside[:4]
    outside[4:] = np.where(outside[4:] > 100, outside[4:] - 8, outside[4:] + 8)
    assert of["outside_change"](request.image, request, 1) == 0
    assert of["outside_change"](inside, request, 1) == 0
    assert of["outside_change"](outside, request, 1) == 8
    five = REFERENCE.of_class(5)[0]
    assert of["alignment"](five, request, 1) > 0.9 > 0.1 > of["alignment"](request.image, request, 1)


def test_the_judge_of_clips_prefers_what_really_happens(tmp_path: Path) -> None:
    referee = MOVING.referee(Project(tmp_path), SMALL)
    move = draw_moves(REFERENCE, seed=1)[3]
    rng = np.random.default_rng(0)
    clips = {
        "real": move.clip,
        "frozen": np.repeat(move.clip[:1], 16, axis=0),
        "shuffled": np.concatenate([move.clip[:1], move.clip[1:][rng.permutation(15)]]),
    }
    paths = {name: tmp_path / f"{name}.mp4" for name in clips}
    for name, clip in clips.items():
        paths[name].write_bytes(encode_clip(np.repeat(clip[..., None], 3, axis=-1), 8.0))
    for other in ("frozen", "shuffled"):
        assert referee.compare(move.prompt, paths["real"], paths[other]).winner is Winner.MODEL_A
        assert referee.compare(move.prompt, paths[other], paths["real"]).winner is Winner.MODEL_B


def test_the_judge_of_edits_wants_the_digit_and_the_rest_kept(tmp_path: Path) -> None:
    from paragone.demo.full_tracks import _edits

    referee = EDITS.referee(Project(tmp_path), SMALL)
    edit = next(one for one in _edits(SMALL) if one.target == 5)
    five = REFERENCE.of_class(5)[3]
    grafted = np.where(edit.mask == 255, five, edit.image).astype(np.uint8)
    harmed = grafted.copy()
    harmed[4:] = 255 - harmed[4:]
    for name, image in (("kept", grafted), ("harmed", harmed), ("unedited", edit.image)):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    for other in ("harmed", "unedited"):
        verdict = referee.compare(edit.prompt, tmp_path / "kept.png", tmp_path / f"{other}.png")
        assert verdict.winner is Winner.MODEL_A, verdict.reason


def test_the_board_of_a_task_leaves_out_the_models_of_others(tmp_path: Path) -> None:
    def result(metric: str) -> MetricResult:
        return MetricResult(metric, 1.0, higher_is_better=False, n_generated=1, signature=metric)

    with Store(tmp_path / "arena.db", create=True) as store:
        store.add_generators([GeneratorCard(name) for name in ("still-a", "still-b", "clip-a", "clip-b", "untried")])
        store.add_prompts([Prompt("p", "a 7"), Prompt("v", "a 7 moves", Task.IMAGE_TO_VIDEO, source="s.png")])
        samples = {
            name: Sample(name, fingerprint(name), f"{name}.png", "p" if "still" in name else "v", name, 0, 8, 8)
            for name in ("still-a", "still-b", "clip-a", "clip-b")
        }
        store.add_samples(samples.values())
        for name in samples:
            store.add_metric_results(name, [result("fd" if "still" in name else "velocity_error")])
        battles = [Battle(f"b{k}", p, a, b, a, b) for k, (p, a, b) in enumerate([("p", "still-a", "still-b")] * 3)]
        judged = [
            Judgement(battle, (Verdict(winner), Verdict(winner)), winner, True)
            for battle, winner in zip(battles, (Winner.MODEL_A, Winner.MODEL_B, Winner.TIE), strict=True)
        ]
        store.record_judgements(judged, judge="j")
        board = store_leaderboard(store, voters="judge", task="text-to-image")
        assert set(board.frame["model"]) == {"still-a", "still-b", "untried"}
        assert list(board.measures.frame.columns) == ["fd"]
        everything = store_leaderboard(store, voters="judge")
        assert len(everything.frame) == 5
        assert set(everything.measures.frame.columns) == {"fd", "velocity_error"}


@pytest.mark.parametrize("log_y", [False, True])
def test_names_at_the_ends_of_lines_stay_apart_and_near(log_y: bool) -> None:
    points = pd.DataFrame({"line": list("abcabc"), "x": [1, 1, 1, 2, 2, 2], "y": [0.5, 0.6, 0.9, 0.7, 0.701, 0.702]})
    document = line_plot(points, x=("x", "x"), y=("y", "y"), log_y=log_y, lowest=0.1).to_dict()
    labels = next(rows for rows in document["datasets"].values() if "place" in rows[0])
    places = sorted(row["place"] for row in labels)
    assert min(np.diff(places)) >= 14 - 1e-9
    share = np.log(0.7 / 0.1) / np.log(0.945 / 0.1) if log_y else (0.7 - 0.1) / (0.945 - 0.1)
    assert max(places) == pytest.approx(260 * (1 - share))


# ---- As a whole ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "project"
    measures = run_demo(folder, SMALL)
    cast = cast_of(SMALL)
    boards = publish_leaderboard(folder, tasks=[track.task for track in cast.tracks])
    floor = {result.metric: result.value for result in measures[cast.tracks[0].floor]}
    write_plots(Project(folder), SMALL, boards[0], floor)
    write_sheets(Project(folder), SMALL)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_each_task_has_its_board_with_its_measures(finished: Path) -> None:
    cast = cast_of(SMALL)
    for track, name in zip(cast.tracks, BOARDS, strict=True):
        document = json.loads((finished / name).read_text())
        assert {row["model"] for row in document["models"]} == set(cast.names(track))
        assert document["category"] == {"task": str(track.task)}
        assert set(track.metrics) <= set(document["measures"])
        assert all(row[metric] is not None for row in document["models"] for metric in track.metrics)
        assert all(row["n_votes"] > 0 for row in document["models"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_boards_show_what_each_careless_contestant_gets_wrong(finished: Path) -> None:
    clips, edits = (
        {row["model"]: row for row in json.loads((finished / name).read_text())["models"]} for name in BOARDS[1:]
    )
    assert clips["frozen"]["frame_fd"] == min(row["frame_fd"] for row in clips.values())
    assert clips["shuffled"]["frame_fd"] == pytest.approx(clips["moving"]["frame_fd"])
    assert clips["moving-loose"]["anchor_error"] > 0
    assert {row["anchor_error"] for name, row in clips.items() if name != "moving-loose"} == {0.0}
    assert edits["mask-blind"]["outside_change"] > 20
    assert {row["outside_change"] for name, row in edits.items() if name != "mask-blind"} == {0.0}
    assert edits["unedited"]["alignment"] < 0.1 < edits["inpaint"]["alignment"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_plot_is_drawn(finished: Path) -> None:
    for name in ("steps", "guidance", "price-quality", "collapse"):
        assert (finished / "plots" / f"{name}.svg").read_text().startswith("<svg")
    for name in ("steps", "guidance", "price-quality", "collapse", "clips", "edits"):
        with Image.open(finished / "plots" / f"{name}.png") as picture:
            assert np.asarray(picture.convert("L")).std() > 5


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_again_and_again_it_ends_with_the_same_boards(finished: Path, tmp_path: Path) -> None:
    folder, program = tmp_path / "project", tmp_path / "program.py"
    program.write_text(PROGRAM)
    kills = 0
    for landmark in ("video-flow*.safetensors", "samples/**/*.mp4", "studies/*.json", None):
        process = subprocess.Popen([sys.executable, str(program), str(folder)], start_new_session=True)
        while process.poll() is None and not (landmark and any(folder.rglob(landmark))):
            time.sleep(0.05)
        if process.poll() is not None:
            break
        kills += 1
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == 0
    assert kills == 3
    for board in BOARDS:
        assert (folder / board).read_bytes() == (finished / board).read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_default_demo_does_not_go_on_with_a_full_one(finished: Path) -> None:
    with pytest.raises(UsageError, match="not made by this demo"):
        run_demo(finished, DemoSettings(seed=1))
