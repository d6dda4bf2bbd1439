"""Moving digits: the data keep their promises, the latent is causal, the anchor is kept, and time has a direction."""

from pathlib import Path

import numpy as np
import pytest
import torch

from paragone.data.digits import load_digits_split
from paragone.data.errors import InputError, UnreadableImage
from paragone.data.generators.base import GenerationRequest, GeneratorAdapter
from paragone.data.generators.media import encode_png
from paragone.data.generators.reference.causal_video import CausalAutoencoder, to_tensor, train_autoencoder
from paragone.data.generators.reference.video_flow import VideoFlow, train_video_flow
from paragone.data.generators.runner import requests_for, to_sample, write_samples
from paragone.data.moving_digits import (
    DIRECTIONS,
    N_FRAMES,
    centroids,
    draw_moves,
    prompt_direction,
    seen_at,
    trajectory,
    velocity_error,
)
from paragone.data.records import Prompt, Task

TRAINING, REFERENCE = load_digits_split(seed=0)
MOVES = draw_moves(REFERENCE, seed=0)
REAL = np.stack([move.clip for move in MOVES])


@pytest.fixture(scope="module")
def autoencoder() -> dict[str, torch.Tensor]:
    torch.set_num_threads(1)
    return train_autoencoder(TRAINING, steps=120, seed=0)


@pytest.fixture(scope="module")
def model(autoencoder: dict[str, torch.Tensor]) -> VideoFlow:
    weights = train_video_flow(TRAINING, autoencoder, steps=200, seed=0, n_clips=512)
    return VideoFlow("moving", weights[200], autoencoder, steps=8)


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> list[GenerationRequest]:
    folder = tmp_path_factory.mktemp("project")
    (folder / "sources").mkdir()
    for move in MOVES:
        (folder / move.source).write_bytes(encode_png(move.clip[0]))
    return requests_for([move.prompt for move in MOVES], seeds=[0], folder=folder)


def clips(model: GeneratorAdapter, requests: list[GenerationRequest]) -> np.ndarray:
    made = {generation.request.key: generation.clip for generation in model.generate(requests)}
    return np.stack([made[request.key] for request in requests])


def test_a_digit_flies_straight_until_the_wall_and_back() -> None:
    np.testing.assert_array_equal(trajectory((6, 0), (1, -1), 5), [[6, 0], [7, 1], [8, 2], [7, 3], [6, 4]])


@pytest.mark.parametrize("move", MOVES[::7], ids=lambda move: move.prompt.id)
def test_velocity_is_known_and_the_digit_whole_in_every_frame(move) -> None:  # type: ignore[no-untyped-def]
    assert velocity_error(move.clip, move.places) < 1e-9
    assert (seen_at(move.clip, move.places) == move.image).all()
    assert (move.clip.sum(axis=(1, 2)) == move.image.sum()).all()
    inside = (move.places[:-1] > 0).all(axis=1) & (move.places[:-1] < 8).all(axis=1)
    flown = np.diff(centroids(move.clip), axis=0)[inside]
    assert abs(abs(flown) - np.abs(DIRECTIONS[move.direction])).max(initial=0.0) < 1e-9


def test_moves_are_the_same_for_the_same_seed_and_ask_for_every_direction() -> None:
    again = draw_moves(REFERENCE, seed=0)
    assert [move.prompt for move in again] == [move.prompt for move in MOVES]
    np.testing.assert_array_equal(np.stack([move.clip for move in again]), REAL)
    assert not np.array_equal(np.stack([move.clip for move in draw_moves(REFERENCE, seed=1)]), REAL)
    assert len({move.prompt.id for move in MOVES}) == len(MOVES) == 80
    assert [prompt_direction(move.prompt) for move in MOVES[:8]] == list(range(8))
    with pytest.raises(InputError, match="none of moving digits"):
        prompt_direction(Prompt("x", "a cat moves right"))


def test_shuffling_and_standing_still_show_in_the_velocity() -> None:
    rng = np.random.default_rng(0)
    for move in MOVES[::9]:
        still = velocity_error(np.repeat(move.clip[:1], N_FRAMES, axis=0), move.places)
        assert still == pytest.approx(np.hypot(*DIRECTIONS[move.direction]))
        assert velocity_error(move.clip[rng.permutation(N_FRAMES)], move.places) > 1.0


@pytest.mark.parametrize("changed", range(1, N_FRAMES))
def test_the_latent_ignores_future_frames_bit_exactly(changed: int) -> None:
    torch.manual_seed(0)
    network = CausalAutoencoder().eval()
    before, after = to_tensor(REAL[:2]), to_tensor(REAL[:2])
    after[:, changed:] = torch.rand(after[:, changed:].shape) * 2 - 1
    with torch.inference_mode():
        one, other = network.encode(before), network.encode(after)
    first = -(-changed // 3)  # the first latent that may see the frame
    assert torch.equal(one[:, :first], other[:, :first])
    assert all(not torch.equal(one[:, i], other[:, i]) for i in range(first, 6))


@pytest.mark.parametrize("changed", range(1, 6))
def test_frames_are_drawn_from_past_latents_only(changed: int) -> None:
    torch.manual_seed(0)
    network = CausalAutoencoder().eval()
    before = torch.randn(2, 6, 4, 4, 4)
    after = before.clone()
    after[:, changed:] = torch.randn(after[:, changed:].shape)
    with torch.inference_mode():
        one, other = network.decode(before), network.decode(after)
    assert one.shape == (2, N_FRAMES, 16, 16)
    first = 3 * changed - 2
    assert torch.equal(one[:, :first], other[:, :first])
    assert not torch.equal(one[:, first], other[:, first])


def test_a_still_picture_has_the_first_latent_of_its_clips() -> None:
    torch.manual_seed(0)
    network = CausalAutoencoder().eval()
    with torch.inference_mode():
        still, moving = network.encode(to_tensor(REAL[:3, :1])), network.encode(to_tensor(REAL[:3]))
    assert still.shape == (3, 1, 4, 4, 4)
    torch.testing.assert_close(still[:, 0], moving[:, 0])


def test_the_anchor_frame_is_reproduced(
    model: VideoFlow, autoencoder: dict[str, torch.Tensor], requests: list[GenerationRequest]
) -> None:
    made = clips(model, requests)
    assert made.shape == (80, N_FRAMES, 16, 16, 3)
    np.testing.assert_array_equal(made[:, 0], np.repeat(REAL[:, 0, :, :, None], 3, axis=-1))
    loose = VideoFlow("loose", model._network.state_dict(), autoencoder, steps=8, keep_anchor=False)
    own = clips(loose, requests)
    assert not np.array_equal(own[:, 0], made[:, 0])
    np.testing.assert_array_equal(own[:, 1:], made[:, 1:])
    # The decoder's own first frame still resembles the source more than it resembles those of other requests.
    error = abs(own[:, 0, :, :, 0].astype(int) - REAL[:, 0].astype(int)).mean()
    assert error < 0.9 * abs(own[:, 0, :, :, 0].astype(int) - np.roll(REAL[:, 0], 1, axis=0).astype(int)).mean()


def test_time_has_a_direction(model: VideoFlow, requests: list[GenerationRequest]) -> None:
    """Velocities are nearer to the real ones than those of the same frames in another order."""
    made = clips(model, requests)[..., 0]
    rng = np.random.default_rng(0)
    shuffled = np.stack([clip[rng.permutation(N_FRAMES)] for clip in made])
    errors = [
        np.mean([velocity_error(clip, move.places) for clip, move in zip(all_clips, MOVES, strict=True)])
        for all_clips in (made, shuffled)
    ]
    assert errors[0] < 0.75 * errors[1]


def test_seeds_pair_and_neighbours_do_not_matter(model: VideoFlow, requests: list[GenerationRequest]) -> None:
    together = clips(model, requests[:6])
    np.testing.assert_array_equal(together, clips(model, requests[:6]))
    alone = np.concatenate([clips(model, [request]) for request in requests[:6]])
    assert abs(together.astype(int) - alone).max() <= 1
    first = requests[0]
    other = clips(model, [GenerationRequest(first.prompt, 1, first.source)])
    assert not np.array_equal(other[0], together[0])
    coarse = VideoFlow("coarse", model._network.state_dict(), model._autoencoder.state_dict(), steps=7)
    between = abs(clips(coarse, requests[:6]).astype(int) - together).mean()
    unpaired = abs(np.roll(together, 1, axis=0).astype(int) - together).mean()
    assert between < unpaired / 3


def test_clips_take_the_common_path_to_disk(
    model: VideoFlow, requests: list[GenerationRequest], tmp_path: Path
) -> None:
    assert isinstance(model, GeneratorAdapter)
    entries = write_samples(model, requests[:3], tmp_path / "moving", recipe="r")
    sample = to_sample(entries[0], model="moving", folder="samples/moving")
    assert (sample.frames, sample.fps, sample.width, sample.height) == (16, 8.0, 16, 16)


def test_requests_that_cannot_be_answered_say_why(model: VideoFlow, tmp_path: Path) -> None:
    prompt = MOVES[0].prompt
    with pytest.raises(InputError, match="no source picture"):
        list(model.generate([GenerationRequest(prompt, 0)]))
    (tmp_path / "small.png").write_bytes(encode_png(np.zeros((8, 8), np.uint8)))
    with pytest.raises(UnreadableImage, match=r"small\.png: not a readable 16×16 picture of a digit \(it is 8×8\)"):
        list(model.generate([GenerationRequest(prompt, 0, tmp_path / "small.png")]))
    assert prompt.task is Task.IMAGE_TO_VIDEO
