"""Outputs that exist already: found by name or by a manifest, kept byte for byte, never guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paragone.data.errors import InputError, UsageError
from paragone.data.generators.base import GenerationRequest
from paragone.data.generators.conformance import check_generator
from paragone.data.generators.folder import FolderGenerator
from paragone.data.generators.runner import requests_for, write_samples
from paragone.data.records import Prompt, Status, Task

PROMPTS = [Prompt("one", "a cat, red"), Prompt("two", "a dog")]
REQUESTS = requests_for(PROMPTS, seeds=range(2))


@pytest.fixture
def outputs(tmp_path: Path, media: Any) -> Path:
    """{prompt_id}-{seed}.png for each request."""
    for request in REQUESTS:
        (tmp_path / f"{request.prompt.id}-{request.seed}.png").write_bytes(media.png(request.prompt.text, request.seed))
    return tmp_path


def folder(path: Path, task: Task = Task.TEXT_TO_IMAGE, **settings: Any) -> FolderGenerator:
    return FolderGenerator("m", task, path, **settings)


def test_it_conforms(outputs: Path) -> None:
    assert check_generator(folder(outputs), requests=REQUESTS, seeded=True).n_ok > 4


def test_names_by_rule(outputs: Path, media: Any) -> None:
    for pattern in ("{prompt_id}-{seed}.png", "{prompt_id}-{seed}", "{prompt_id}-{seed:d}.png"):
        made = list(folder(outputs, pattern=pattern).generate(REQUESTS))
        assert [generation.file.content for generation in made] == [
            media.png(request.prompt.text, request.seed) for request in REQUESTS
        ]


def test_names_of_vbench(tmp_path: Path, media: Any) -> None:
    for index in range(5):
        (tmp_path / f"a cat, red-{index}.mp4").write_bytes(media.clip_file(f"a cat {index}"))
    requests = requests_for([Prompt("x", "a cat, red", Task.TEXT_TO_VIDEO)], seeds=range(6))
    made = list(folder(tmp_path, Task.TEXT_TO_VIDEO, pattern="{prompt}-{seed}.mp4").generate(requests))
    assert [generation.status for generation in made] == ["ok"] * 5 + ["error"]
    assert made[4].file.content == media.clip_file("a cat 4")
    assert "a cat, red-5.mp4" in made[5].message


def test_a_prompt_cannot_lead_out_of_the_folder(outputs: Path) -> None:
    (outputs / "inner").mkdir()
    request = GenerationRequest(Prompt("../one", "x"), 0)
    (made,) = folder(outputs / "inner", pattern="{prompt_id}-{seed}.png").generate([request])
    assert made.status is Status.ERROR
    assert "lies outside" in made.message


def test_a_manifest_may_hold_refusals(outputs: Path) -> None:
    rows = [
        {"prompt_id": "one", "seed": 0, "file": "one-0.png", "latency_s": 1.5, "cost_usd": "0.04"},
        {"prompt": "a dog", "seed": 1, "file": "two-1.png", "revised_prompt": "a dog, in oil"},
        {"prompt_id": "two", "seed": 0, "status": "refused", "message": "no dogs"},
    ]
    (outputs / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = {generation.request.key: generation for generation in folder(outputs).generate(REQUESTS)}
    assert (made["one", 0].latency_s, str(made["one", 0].cost_usd)) == (1.5, "0.04")
    assert made["two", 1].revised_prompt == "a dog, in oil"
    assert (made["two", 0].status, made["two", 0].message) == (Status.REFUSED, "no dogs")
    assert "no row" in made["one", 1].message
    (outputs / "table.csv").write_text("prompt_id,seed,file\none,0,one-0.png\n")
    (first, *_) = folder(outputs, manifest=outputs / "table.csv").generate(REQUESTS[:1])
    assert first.status is Status.OK


def test_our_own_manifests_are_read(tmp_path: Path, outputs: Path) -> None:
    write_samples(folder(outputs), REQUESTS, tmp_path / "first", recipe="r")
    manifest = tmp_path / "first" / "manifest.jsonl"
    manifest.write_text(manifest.read_text() + manifest.read_text().splitlines()[-1] + "\n")  # asked twice
    again = folder(tmp_path / "first")
    assert [generation.status for generation in again.generate(REQUESTS)] == ["ok"] * 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"seed": 0, "file": "x"}', "row 1: needs prompt_id or prompt"),
        ('{"prompt_id": "one"}', "row 1: names no file"),
        ('{"prompt_id": "one", "seed": "x", "file": "y"}', "row 1: invalid literal"),
        ('{"prompt_id": "one", "status": "great"}', "row 1: 'great'"),
        ('{"prompt_id": "one", "file": "y"}\n{"prompt_id": "one", "file": "z"}', "row 2: prompt 'one', seed 0 has two"),
        ("[1]", "no object"),
        ("{half", "cannot be read"),
    ],
)
def test_a_broken_manifest_names_the_row(outputs: Path, text: str, words: str) -> None:
    (outputs / "manifest.jsonl").write_text(text)
    with pytest.raises(InputError, match=words):
        folder(outputs)


def test_settings_that_cannot_work(outputs: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        folder(outputs / "none")
    for pattern in ("{name}.png", "x.png", "{prompt_id"):
        with pytest.raises(UsageError, match="pattern"):
            folder(outputs, pattern=pattern)
    with pytest.raises(UsageError, match="leave out one"):
        folder(outputs, pattern="{prompt_id}.png", manifest=outputs / "x.csv")
