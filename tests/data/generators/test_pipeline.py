"""Diffusers' own pipelines, tiny and random, saved and loaded by the real code: five families through one adapter."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("diffusers", reason="the extra `local` is not installed")
pytest.importorskip("accelerate", reason="the extra `local` is not installed")

from paragone.data.errors import InputError, MissingWeights, UsageError
from paragone.data.generators.base import GenerationRequest
from paragone.data.generators.conformance import check_generator
from paragone.data.generators.pipeline import PipelineGenerator, weights_digest
from paragone.data.records import Prompt, Status, Task

pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers and transformers warn of one another
SETTINGS: dict[str, dict[str, Any]] = {
    "ddpm": {"num_inference_steps": 3},
    "stable-diffusion": {"num_inference_steps": 2, "height": 16, "width": 16},
    "instruct-pix2pix": {"num_inference_steps": 2},
    "flux": {"num_inference_steps": 2, "height": 16, "width": 16, "max_sequence_length": 16},
    "wan": {"num_inference_steps": 2, "height": 16, "width": 16, "num_frames": 9, "max_sequence_length": 16},
}
TASKS = {"instruct-pix2pix": Task.IMAGE_EDITING, "wan": Task.TEXT_TO_VIDEO}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny pipeline, made when it is first asked for."""
    spec = importlib.util.spec_from_file_location("tiny_pipelines", Path(__file__).with_name("tiny_pipelines.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root = tmp_path_factory.mktemp("pipelines")

    def folder(name: str) -> Path:
        import torch

        path = root / name
        if not path.is_dir():
            torch.manual_seed(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module.PIPELINES[name](path)
        return path

    return folder


def adapter(folder: Path, **settings: Any) -> PipelineGenerator:
    name = folder.name
    task = settings.pop("task", TASKS.get(name, Task.TEXT_TO_IMAGE))
    call = {**SETTINGS[name], **settings.pop("call", {})}
    return PipelineGenerator(name, task, folder, device="cpu", call=call, **settings)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("name", ["ddpm", "stable-diffusion"])
def test_a_batch_gives_what_each_request_gives_alone(models: Callable[[str], Path], name: str) -> None:
    """The suite asks for the rule `neighbours`; one generator on the CPU for each request is what makes it hold."""
    made = adapter(models(name), batch=3)
    report = check_generator(made, hostile=False, seeded=True)
    assert report.n_ok == report.n_requests
    assert made.fingerprint == weights_digest(models(name))


@pytest.mark.parametrize("name", ["instruct-pix2pix", "flux", "wan"])
def test_other_families_conform(models: Callable[[str], Path], name: str) -> None:
    """Sums of a batch round in another way at times: by 1 of 255 in one pixel of ten thousand."""
    report = check_generator(
        adapter(models(name), batch=2), hostile=False, seeded=True, tolerance=1
    )  # sums of a batch round otherwise
    assert report.n_ok == report.n_requests


def test_clips_have_the_frames_that_the_pipeline_made(models: Callable[[str], Path]) -> None:
    """Wan makes 4 k + 1 frames, whatever it is asked for."""
    made = adapter(models("wan"), call={"num_frames": 11}, fps=12.0)
    (generation,) = made.generate([GenerationRequest(Prompt("p", "waves", Task.TEXT_TO_VIDEO), 0)])
    assert generation.status is Status.OK, generation.message
    assert generation.clip is not None
    assert generation.clip.shape == (9, 16, 16, 3)
    assert generation.fps == 12.0


def test_what_may_be_set_is_what_the_pipeline_takes(models: Callable[[str], Path]) -> None:
    with pytest.raises(
        UsageError, match=r"call of DDPMPipeline: has no setting 'num_steps'.*it has: .*num_inference_steps"
    ):
        adapter(models("ddpm"), call={"num_steps": 3})
    with pytest.raises(UsageError, match="has no setting 'generator'"):  # ours
        adapter(models("ddpm"), call={"generator": 3})
    with pytest.raises(UsageError, match="takes no image, so it cannot do image-editing"):
        adapter(models("ddpm"), task=Task.IMAGE_EDITING)
    with pytest.raises(UsageError, match="has no pipeline 'NoSuchPipeline'"):
        adapter(models("ddpm"), pipeline="NoSuchPipeline")
    with pytest.raises(UsageError, match="dtype 'int4' is unknown"):
        adapter(models("ddpm"), dtype="int4")


def test_a_pipeline_may_be_loaded_as_another_class(models: Callable[[str], Path]) -> None:
    made = adapter(models("ddpm"), pipeline="DDIMPipeline")
    assert type(made._pipe).__name__ == "DDIMPipeline"


def test_what_the_safety_checker_blackened_is_filtered(models: Callable[[str], Path]) -> None:
    made = adapter(models("ddpm"), batch=2)
    made._pipe = lambda **_: SimpleNamespace(images=np.zeros((2, 8, 8, 3)), nsfw_content_detected=[True, False])
    answers = list(made.generate([GenerationRequest(Prompt("p", "x"), seed) for seed in range(2)]))
    assert [answer.status for answer in answers] == [Status.FILTERED, Status.OK]
    assert answers[0].image is None


def test_one_request_that_fails_does_not_take_its_batch_with_it(models: Callable[[str], Path]) -> None:
    made = adapter(models("stable-diffusion"), batch=2)
    real = made._pipe

    def fails_on_cats(**keywords: Any) -> Any:
        if any("cat" in prompt for prompt in keywords["prompt"]):
            raise RuntimeError("CUDA out of memory")
        return real(**keywords)

    made._pipe = fails_on_cats
    requests = [GenerationRequest(Prompt(text, text), 0) for text in ("a cat", "a dog")]
    cat, dog = made.generate(requests)
    assert (cat.status, cat.message) == (Status.ERROR, "RuntimeError: CUDA out of memory")
    assert dog.status is Status.OK


def test_nothing_is_fetched_unasked(offline: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights, match="allow_download = true"):
        PipelineGenerator("m", Task.TEXT_TO_IMAGE, "no-body/no-model")
    with pytest.raises(InputError, match=r"no model_index\.json"):
        PipelineGenerator("m", Task.TEXT_TO_IMAGE, tmp_path)


def test_other_weights_have_another_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "w.bin").write_bytes(b"1")
    first = weights_digest(tmp_path)
    (tmp_path / "a" / "w.bin").write_bytes(b"2")
    assert weights_digest(tmp_path) != first
    assert "torch" in sys.modules
