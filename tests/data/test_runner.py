"""The one path to disk: resumable, content-addressed, nothing missing in silence."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paragone.data import Generation, GenerationRequest, GeneratorAdapter, InputError, Prompt, Status, Task
from paragone.data.generators import runner
from paragone.data.generators.runner import read_manifest, requests_for, to_sample, write_samples

PROMPTS = [Prompt("one", "a 1"), Prompt("../two", "a 2")]


class Squares:
    """Answers backwards, and counts what it was asked."""

    name = "squares"
    task = Task.TEXT_TO_IMAGE

    def __init__(self) -> None:
        self.asked = 0

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        for request in reversed(requests):
            self.asked += 1
            if request.seed == 3:
                yield Generation(request, None, Status.REFUSED, "not this one")
            else:
                yield Generation(request, np.full((4, 6, 3), request.seed, np.uint8), latency_s=0.5)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "CHUNK", 3)


def test_every_request_has_an_entry_in_order(tmp_path: Path) -> None:
    requests = requests_for(PROMPTS, seeds=range(5))
    model = Squares()
    assert isinstance(model, GeneratorAdapter)
    entries = write_samples(model, requests, tmp_path, recipe="r")
    assert [entry.key for entry in entries] == [(p.id, s) for p in PROMPTS for s in range(5)]
    assert [entry.status for entry in entries if entry.seed == 3] == [Status.REFUSED] * 2
    assert entries[3].message == "not this one"
    sample = to_sample(entries[1], model="squares", folder="samples/squares")
    assert (sample.width, sample.height) == (6, 4)
    with Image.open(tmp_path / str(entries[1].file)) as picture:
        assert picture.getpixel((0, 0)) == (1, 1, 1)
        assert picture.info == {}
    with pytest.raises(InputError, match="refused"):
        to_sample(entries[3], model="squares", folder="samples/squares")


def test_no_prompt_id_leaves_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_samples(Squares(), requests_for(PROMPTS, seeds=[0]), folder, recipe="r")
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == {folder}


def test_a_second_run_asks_nothing(tmp_path: Path) -> None:
    requests = requests_for(PROMPTS, seeds=range(5))
    first = write_samples(Squares(), requests, tmp_path, recipe="r")
    again = Squares()
    assert write_samples(again, requests, tmp_path, recipe="r") == first
    assert again.asked == 0


def test_a_damaged_file_is_made_anew_with_its_chunk(tmp_path: Path) -> None:
    requests = requests_for(PROMPTS, seeds=range(5))
    first = write_samples(Squares(), requests, tmp_path, recipe="r")
    (tmp_path / str(first[0].file)).write_bytes(b"half a p")
    again = Squares()
    assert write_samples(again, requests, tmp_path, recipe="r") == first
    assert again.asked == 3


def test_a_killed_run_ends_with_the_same_manifest(tmp_path: Path) -> None:
    requests = requests_for(PROMPTS, seeds=range(5))

    class Dies(Squares):
        def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
            if requests[0].seed == 3:
                raise KeyboardInterrupt
            yield from super().generate(requests)

    with pytest.raises(KeyboardInterrupt):
        write_samples(Dies(), requests, tmp_path / "a", recipe="r")
    write_samples(Squares(), requests, tmp_path / "a", recipe="r")
    write_samples(Squares(), requests, tmp_path / "b", recipe="r")
    assert (tmp_path / "a" / "manifest.jsonl").read_bytes() == (tmp_path / "b" / "manifest.jsonl").read_bytes()


def test_samples_of_another_recipe_are_not_mixed_in(tmp_path: Path) -> None:
    requests = requests_for(PROMPTS, seeds=range(2))
    write_samples(Squares(), requests, tmp_path, recipe="old")
    assert read_manifest(tmp_path, recipe="new") == []
    again = Squares()
    write_samples(again, requests, tmp_path, recipe="new")
    assert again.asked == len(requests)


def test_an_unanswered_request_is_an_error(tmp_path: Path) -> None:
    class Lazy(Squares):
        def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
            yield from list(super().generate(requests))[1:]

    with pytest.raises(InputError, match=r"'squares' left 1 of 2 requests unanswered.*'one', seed 1"):
        write_samples(Lazy(), requests_for(PROMPTS[:1], seeds=range(2)), tmp_path, recipe="r")


def test_an_unasked_answer_is_an_error(tmp_path: Path) -> None:
    class Eager(Squares):
        def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
            yield from super().generate([*requests, *requests])

    with pytest.raises(InputError, match="twice or unasked"):
        write_samples(Eager(), requests_for(PROMPTS[:1], seeds=range(2)), tmp_path, recipe="r")


def test_a_broken_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text(json.dumps({"recipe": "r"}) + "\n{half")
    with pytest.raises(InputError, match=r"manifest\.jsonl: not a manifest"):
        read_manifest(tmp_path, recipe="r")
