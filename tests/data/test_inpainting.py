"""Edits of digits keep what the mask keeps, byte by byte, and put the digit asked for inside it."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from paragone.data.digit_edits import EDITS, draw_edits, edit_target, half_mask
from paragone.data.digits import load_digits_split
from paragone.data.errors import InputError, UnreadableImage
from paragone.data.generators.base import GenerationRequest, GeneratorAdapter
from paragone.data.generators.media import encode_png
from paragone.data.generators.reference.flow_matching import train_flow_matching
from paragone.data.generators.reference.inpainting import Inpainting, back, repaint
from paragone.data.generators.runner import requests_for
from paragone.data.records import Prompt, Task

TRAINING, REFERENCE = load_digits_split(seed=0)
EDIT_REQUESTS = draw_edits(REFERENCE, per_digit=6, seed=0)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.set_num_threads(1)
    return train_flow_matching(TRAINING, steps=400, seed=0)[400]


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> list[GenerationRequest]:
    folder = tmp_path_factory.mktemp("project")
    (folder / "sources").mkdir()
    for edit in EDIT_REQUESTS:
        (folder / str(edit.prompt.source)).write_bytes(encode_png(edit.image))
        (folder / str(edit.prompt.mask)).write_bytes(encode_png(edit.mask))
    return requests_for([edit.prompt for edit in EDIT_REQUESTS], seeds=[0], folder=folder)


def pictures(model: GeneratorAdapter, requests: list[GenerationRequest]) -> np.ndarray:
    made = {generation.request.key: generation.image for generation in model.generate(requests)}
    return np.stack([made[request.key] for request in requests])


def accuracy(images: np.ndarray) -> float:
    """Share of pictures whose nearest training digit is the one that was asked for."""
    known = TRAINING.images.reshape(len(TRAINING), -1).astype(float)
    distances = ((images.reshape(len(images), 1, -1).astype(float) - known) ** 2).sum(-1)
    return float((TRAINING.labels[distances.argmin(1)] == [edit.target for edit in EDIT_REQUESTS]).mean())


def test_requests_name_source_and_mask_and_what_is_asked() -> None:
    assert {edit.target for edit in EDIT_REQUESTS} == set(EDITS) == set(range(10))
    for edit in EDIT_REQUESTS:
        assert edit.prompt.task is Task.IMAGE_EDITING
        assert edit_target(edit.prompt) == edit.target
        assert (edit.mask == 255).sum() == 32
        assert edit.image.tobytes() in {image.tobytes() for image in REFERENCE.of_class(EDITS[edit.target][0])}
    assert len({edit.prompt.id for edit in EDIT_REQUESTS}) == 60
    np.testing.assert_array_equal(half_mask("top"), 255 - half_mask("bottom"))
    np.testing.assert_array_equal(half_mask("left"), half_mask("top").T)
    with pytest.raises(InputError, match="none of digit edits"):
        edit_target(Prompt("x", "make it nicer"))


@pytest.mark.parametrize("passes", [1, 4])
def test_outside_the_mask_nothing_changes_and_inside_is_what_was_asked(
    passes: int, weights: dict[str, torch.Tensor], requests: list[GenerationRequest]
) -> None:
    images = pictures(Inpainting("edit", weights, steps=16, passes=passes), requests)
    sources = np.stack([edit.image for edit in EDIT_REQUESTS])
    masks = np.stack([edit.mask == 255 for edit in EDIT_REQUESTS])
    assert (images[~masks] == sources[~masks]).all()
    assert (images[masks] != sources[masks]).mean() > 0.3
    assert accuracy(sources) < 0.1
    assert accuracy(images) > 0.6


def test_the_mask_file_decides_and_not_the_prompt(
    weights: dict[str, torch.Tensor], requests: list[GenerationRequest], tmp_path: Path
) -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 2:6] = 255
    (tmp_path / "middle.png").write_bytes(encode_png(mask))
    request = GenerationRequest(requests[0].prompt, 0, requests[0].source, tmp_path / "middle.png")
    image = pictures(Inpainting("edit", weights, steps=4), [request])[0]
    assert (image == EDIT_REQUESTS[0].image)[mask == 0].all()
    assert not (image == EDIT_REQUESTS[0].image)[mask == 255].all()


def test_going_back_in_time_keeps_the_marginal() -> None:
    """From x_t' = t' x₁ + (1 - t') x₀ to t: mean t x₁, standard deviation 1 - t."""
    rng = torch.Generator().manual_seed(0)
    image, n = torch.tensor([0.7]), 400_000
    later = 0.6 * image + 0.4 * torch.randn(n, 1, generator=rng)
    earlier = back(later, torch.randn(n, 1, generator=rng), now=0.6, to=0.25)
    assert abs(float(earlier.mean()) - 0.25 * 0.7) < 4 * 0.75 / math.sqrt(n)
    assert abs(float(earlier.std()) - 0.75) < 4 * 0.75 / math.sqrt(2 * n)


def test_the_known_half_steers_the_unknown_one() -> None:
    """With the exact velocity of data that are two images, what is inside follows what is outside."""
    images = torch.stack([torch.ones(64), -torch.ones(64)])
    inside = torch.zeros(64, dtype=torch.bool)
    inside[:32] = True

    def velocity(x: torch.Tensor, time: torch.Tensor, digit: torch.Tensor) -> torch.Tensor:
        t = time[:, None]
        log_weight = -((x[:, None] - t[..., None] * images) ** 2).sum(-1) / (2 * (1 - t) ** 2)
        return (log_weight.softmax(1) @ images - x) / (1 - t)

    rng = torch.Generator().manual_seed(0)
    source = images[torch.arange(40) % 2]
    noise = torch.randn(40, 20 * 3, 64, generator=rng)
    drawn = repaint(
        velocity, noise, torch.zeros(40, dtype=torch.long), source, inside.expand(40, 64), steps=20, passes=3
    )
    assert (abs(drawn - source).amax(dim=1) < 1e-4).float().mean() > 0.9  # half of them by chance


def test_seeds_pair_and_neighbours_do_not_matter(
    weights: dict[str, torch.Tensor], requests: list[GenerationRequest]
) -> None:
    model = Inpainting("edit", weights, steps=8, passes=2)
    assert isinstance(model, GeneratorAdapter)
    together = pictures(model, requests[:8]).astype(int)
    alone = np.concatenate([pictures(model, [request]) for request in requests[:8]]).astype(int)
    assert abs(together - alone).max() <= 1
    other = pictures(model, [GenerationRequest(r.prompt, 1, r.source, r.mask) for r in requests[:8]])
    assert not np.array_equal(other, together)


def test_requests_that_cannot_be_answered_say_why(
    weights: dict[str, torch.Tensor], requests: list[GenerationRequest], tmp_path: Path
) -> None:
    model, request = Inpainting("edit", weights), requests[0]
    with pytest.raises(InputError, match="needs a source picture and a mask"):
        list(model.generate([GenerationRequest(request.prompt, 0, request.source)]))
    (tmp_path / "large.png").write_bytes(encode_png(np.zeros((9, 8), np.uint8)))
    with pytest.raises(UnreadableImage, match=r"large\.png: not a readable 8×8 picture of a digit \(it is 8×9\)"):
        list(model.generate([GenerationRequest(request.prompt, 0, request.source, tmp_path / "large.png")]))
