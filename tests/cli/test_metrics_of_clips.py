"""`paragone metrics`, `stats`, `compare` on folders of clips: numbers with controls, or one line that says why not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from made_clips import burned, write_clip
from PIL import Image

from paragone.__main__ import main
from paragone.metrics.feature_statistics import FeatureStatistics


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two folders of videos, and the first as folders of frames."""
    root = tmp_path_factory.mktemp("sets")
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        for clip in range(4):
            texture = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
            frames = [np.roll(texture, step * (clip + 1), axis=1) for step in range(20)]
            write_clip(root / name / f"{clip}.mkv", codec="ffv1", frames=frames, pixel_format="bgr0")
            if name == "a":
                (root / "frames" / str(clip)).mkdir(parents=True)
                for step, frame in enumerate(frames):
                    Image.fromarray(frame).save(root / "frames" / str(clip) / f"{step}.png")
    return {name: root / name for name in ("a", "b", "frames")}


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as error:
        code = int(error.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_a_folder_of_videos_is_compared_as_clips(sets: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "metrics", sets["b"], "--reference", sets["a"], "--metric", "fvd", "--no-cache")
    assert code == 0, err
    assert "fvd|ext:gist3d-1|protocol:paragone/16-first|resize:clean-64|n:4|ref:" in out
    [line] = [line for line in out.splitlines() if line.startswith("controls of fvd")]
    assert line.startswith("controls of fvd: the reference from itself (4 clips) with frames shuffled ")
    assert "with frames frozen" in line
    assert "4 clips for 283 dimensions" in err


def test_json_has_the_schema_of_pictures_and_the_controls(
    sets: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = [
        "--clip-frames",
        8,
        "--sampling",
        "random",
        "--clip-stride",
        2,
        "--fps",
        24,
        "--short",
        "loop",
        "--seed",
        3,
    ]
    code, out, err = run(capsys, "metrics", sets["b"], "--reference", sets["a"], *options, "--no-cache", "--json", "-")
    assert code == 0, err
    document = json.loads(out)
    assert document["schema"] == "paragone.metrics/1"
    names = [result["metric"] for result in document["results"]]
    assert names == ["fvd", "fvd_infinity", "kvd", "jedi", "precision", "recall", "density", "coverage"]
    fvd = document["results"][0]
    assert fvd["protocol"] == "paragone/8-random:3/2@24fps+loop"
    assert set(fvd["details"]["controls"]) == {"shuffled", "frozen", "n"}
    (tmp_path / "one.json").write_text(out)
    other = run(capsys, "metrics", sets["b"], "--reference", sets["a"], "--no-cache", "--json", "-")[1]
    (tmp_path / "two.json").write_text(other)
    code, _, err = run(capsys, "compare", tmp_path / "one.json", tmp_path / "two.json")
    assert code == 3
    assert "the protocol is paragone/8-random:3/2@24fps+loop in the one and paragone/16-first in the other" in err


def test_statistics_of_clips_stand_for_them(
    sets: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = run(capsys, "stats", sets["a"], "-o", tmp_path / "a.npz", "--clip-frames", 12)
    assert code == 0, err
    assert "paragone/12-first" in out
    assert FeatureStatistics.load(tmp_path / "a.npz").n == 4
    given = ["metrics", sets["b"], "--reference", tmp_path / "a.npz", "--metric", "fvd", "--no-cache", "--json", "-"]
    code, _, err = run(capsys, *given)
    assert code == 3
    assert "its protocol is paragone/12-first, that of the pictures is paragone/16-first" in err
    code, out, err = run(capsys, *given, "--clip-frames", 12)
    assert code == 0, err
    assert any("no controls" in line for line in json.loads(out)["warnings"])
    direct = run(capsys, "metrics", sets["b"], "--reference", sets["a"], *given[4:], "--clip-frames", 12)[1]
    assert json.loads(out)["results"][0]["value"] == pytest.approx(json.loads(direct)["results"][0]["value"], rel=1e-6)


def test_folders_of_frames(sets: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    given = ["metrics", sets["frames"], "--reference", sets["a"], "--metric", "fvd", "--no-cache"]
    code, out, err = run(capsys, *given, "--kind", "clips", "--json", "-")
    assert code == 0, err
    assert json.loads(out)["results"][0]["value"] == pytest.approx(0, abs=1e-6)
    code, _, err = run(capsys, *given)
    assert code == 2
    assert "folders of frames are read as clips with --kind clips" in err
    code, out, err = run(capsys, *given, "--clip-frames", 5, "--fps", 12, "--frame-rate", 24, "--json", "-")
    assert code == 0, err
    assert json.loads(out)["results"][0]["value"] == pytest.approx(0, abs=1e-6)


def test_compare_of_two_sets_of_clips(sets: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    given = ["compare", sets["a"], sets["b"], "--reference", sets["a"], "--metric", "fvd", "--no-cache", "--json", "-"]
    code, out, err = run(capsys, *given, "--clip-frames", 6)
    assert code == 0, err
    [row] = json.loads(out)["results"]
    assert row["metric"] == "fvd"
    assert row["value_a"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["--clip-frames", "21"],
            "0.mkv: 20 frames, and 21 are wanted; take fewer, or say what to do with short",
        ),
        (["--clips", "5"], "5 clips are asked for, and there are 4"),
        (["--kind", "pictures", "--fps", "8"], "--kind pictures goes with no option of clips"),
        (["--fps", "fast"], "--fps fast: write frames a second, such as 24 or 30000/1001"),
        (["--sampling", "centre", "--clip-stride", "2"], "stride 2: 1 or more, with the sampling first, random"),
        (["--features", "inception"], "pt_inception-2015-12-05"),
        (["--features", "gist"], "--features gist takes pictures, and these are clips; use one of gist3d, i3d"),
        (
            ["--protocol", "styleganv"],
            "the extractor i3d needs i3d_pretrained_400.pt (a state dict) or",
        ),
        (["--metric", "ssim"], "ssim: is of pictures, and"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    sets: dict[str, Path], capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    code, out, err = run(capsys, "metrics", sets["b"], "--reference", sets["a"], "--no-cache", *options)
    assert code == 2
    assert out == ""
    assert told in err
    assert "Traceback" not in err


def test_a_mixed_folder_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_clip(tmp_path / "mixed" / "a.mp4", 4)
    Image.fromarray(burned(0)).save(tmp_path / "mixed" / "b.jpg")
    code, _, err = run(capsys, "metrics", tmp_path / "mixed", "--reference", tmp_path / "mixed")
    assert code == 2
    assert "holds clips (1, such as a.mp4) and still pictures (1, such as b.jpg); keep them apart" in err
