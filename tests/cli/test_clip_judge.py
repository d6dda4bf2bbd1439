"""CLIPScore as a judge: the metric's own numbers, on a tiny CLIP with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from paragone.cli.clip_judge import ClipJudge
from paragone.data import InputError, MissingWeights, Prompt, UsageError, Winner
from paragone.judges.table import JudgeOptions
from paragone.metrics.alignment import clip_score_of_pictures
from paragone.metrics.features import ExtractionOptions

NAME = "tiny-clip-for-judging"
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("configs")
    (folder / f"{NAME}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = open_clip.CLIP(**CONFIG)
        for parameter in built.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    path = tmp_path_factory.mktemp("clip") / "clip.pt"
    torch.save({"state_dict": built.state_dict()}, path)  # as training code writes it
    return path


def test_it_decides_by_the_metrics_own_numbers(weights: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(tmp_path / name)
    judge = ClipJudge.from_options(JudgeOptions(model=f"{NAME}={weights}"))
    prompt = Prompt("p", "a sharp dog")
    values = clip_score_of_pictures(
        tmp_path,
        ["a sharp dog"] * 3,
        model=NAME,
        weights=weights,
        options=ExtractionOptions("cpu", workers=0),
    ).score.values
    assert len(set(values)) > 1
    judge.prepare([(prompt, tmp_path / "a.png"), (Prompt("q", "another thing"), tmp_path / "b.png")])
    for (i, x), (j, y) in ((("0", "a"), ("1", "b")), (("2", "c"), ("1", "b"))):
        verdict = judge.compare(prompt, tmp_path / f"{x}.png", tmp_path / f"{y}.png")
        assert verdict.scores == pytest.approx((values[int(i)], values[int(j)]), abs=1e-6)
        difference = values[int(i)] - values[int(j)]
        wanted = Winner.TIE if difference == 0 else Winner.MODEL_A if difference > 0 else Winner.MODEL_B
        assert verdict.winner is wanted
    assert judge.name.startswith(f"clip_score-hessel-2021 clip:{NAME}@")


def test_what_it_cannot_use_is_named(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match="nothing"):
        ClipJudge.from_options(JudgeOptions(model=f"{NAME}={tmp_path / 'nothing.pt'}"))
    with pytest.raises(UsageError, match="no such model"):
        ClipJudge.from_options(JudgeOptions(model="tiny-clop"))
    with pytest.raises(UsageError, match="leave out protocol"):
        ClipJudge.from_options(JudgeOptions(model=f"{NAME}={weights}", protocol="pairwise"))
    judge = ClipJudge.from_options(JudgeOptions(model=f"{NAME}={weights}"))
    with pytest.raises(InputError, match="a prompt is empty"):
        judge.compare(Prompt("e", " "), tmp_path / "a.png", tmp_path / "b.png")
