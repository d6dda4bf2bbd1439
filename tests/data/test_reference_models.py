"""The reference models follow their formulas, learn, and answer each request on its own."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from paragone.data.digits import PROMPTS, load_digits_split, prompt_class
from paragone.data.generators.base import GenerationRequest, GeneratorAdapter
from paragone.data.generators.reference.cautionary import ModeDropping, Replay
from paragone.data.generators.reference.ddpm import DDPM, T, ancestral, cosine_alpha_bar, train_ddpm
from paragone.data.generators.reference.flow_matching import FlowMatching, integrate, train_flow_matching
from paragone.data.generators.reference.gaussian_mixture import GaussianMixture, train_gaussian_mixture
from paragone.data.generators.runner import requests_for

TRAINING, REFERENCE = load_digits_split(seed=0)
REQUESTS = requests_for(PROMPTS, seeds=range(6))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def flow_weights() -> dict[int, dict[str, torch.Tensor]]:
    return train_flow_matching(TRAINING, steps=400, keep=[20, 400], seed=0)


@pytest.fixture(scope="module")
def ddpm_weights() -> dict[str, torch.Tensor]:
    return train_ddpm(TRAINING, steps=400, seed=0)


def images(model: GeneratorAdapter, requests: list[GenerationRequest]) -> np.ndarray:
    answers = {(g.request.prompt.id, g.request.seed): g.image for g in model.generate(requests)}
    return np.stack([answers[r.prompt.id, r.seed] for r in requests])


def nearest_class_accuracy(pictures: np.ndarray, requests: list[GenerationRequest]) -> float:
    """Share of pictures whose nearest reference digit has the class that was asked for."""
    flat = REFERENCE.images.reshape(len(REFERENCE), -1).astype(float)
    distances = ((pictures.reshape(len(pictures), 1, -1).astype(float) - flat) ** 2).sum(-1)
    wanted = np.array([prompt_class(r.prompt) for r in requests])
    return float((REFERENCE.labels[distances.argmin(1)] == wanted).mean())


def test_the_halves_are_disjoint_and_stratified() -> None:
    train, reference = load_digits_split(seed=3)
    assert len(train) + len(reference) == 1797
    assert abs(np.bincount(train.labels) - np.bincount(reference.labels)).max() <= 1
    assert train.images.max() == 255
    assert train.images.min() == 0


def test_flow_matching_improves_with_training(flow_weights: dict[int, dict[str, torch.Tensor]]) -> None:
    late = nearest_class_accuracy(images(FlowMatching("late", flow_weights[400]), REQUESTS), REQUESTS)
    early = nearest_class_accuracy(images(FlowMatching("early", flow_weights[20]), REQUESTS), REQUESTS)
    assert late > 0.85
    assert early < late


def test_guidance_of_one_is_the_plain_model_and_more_is_not(flow_weights: dict[int, dict[str, torch.Tensor]]) -> None:
    plain = images(FlowMatching("plain", flow_weights[400], steps=8), REQUESTS)
    guided = images(FlowMatching("guided", flow_weights[400], steps=8, guidance=3.0), REQUESTS)
    assert not np.array_equal(plain, guided)
    assert nearest_class_accuracy(guided, REQUESTS) >= nearest_class_accuracy(plain, REQUESTS)


def test_euler_steps_integrate_a_constant_velocity_exactly() -> None:
    noise = torch.randn(3, 1, 64)
    end = integrate(lambda x, time, digit: torch.full_like(x, 2.0), noise, torch.zeros(3, dtype=torch.long), steps=7)
    torch.testing.assert_close(end, noise[:, 0] + 2.0)


def test_ddpm_learns_the_digits(ddpm_weights: dict[str, torch.Tensor]) -> None:
    assert nearest_class_accuracy(images(DDPM("ddpm", ddpm_weights), REQUESTS), REQUESTS) > 0.8


def test_ancestral_sampling_with_a_perfect_denoiser_returns_the_image() -> None:
    target = torch.linspace(-1, 1, 64)

    def oracle(x: torch.Tensor, time: torch.Tensor, digit: torch.Tensor) -> torch.Tensor:
        """ε = (x_t - √ᾱ x₀) / √(1 - ᾱ), for data that is one known image."""
        alpha_bar = cosine_alpha_bar()[(time * T).round().long()][:, None]
        return (x - alpha_bar.sqrt() * target) / (1 - alpha_bar).sqrt()

    end = ancestral(oracle, torch.randn(4, T, 64), torch.zeros(4, dtype=torch.long))
    torch.testing.assert_close(end, target.expand(4, 64), atol=1e-2, rtol=0)


def test_the_noise_schedule_falls_from_image_to_noise() -> None:
    alpha_bar = cosine_alpha_bar()
    assert alpha_bar[0] == 1
    assert alpha_bar[-1] < 1e-4
    assert (alpha_bar.diff() < 0).all()


def test_the_mixture_matches_class_means() -> None:
    weights = train_gaussian_mixture(TRAINING, seed=0)
    requests = requests_for(PROMPTS[3:4], seeds=range(400))
    drawn = images(GaussianMixture("mixture", weights), requests).astype(float)
    assert abs(drawn.mean(0) - TRAINING.of_class(3).astype(float).mean(0)).max() < 25


@pytest.mark.parametrize(
    "build",
    [
        lambda flow, ddpm: FlowMatching("m", flow[400], steps=4),
        lambda flow, ddpm: DDPM("m", ddpm),
        lambda flow, ddpm: GaussianMixture("m", train_gaussian_mixture(TRAINING, seed=0)),
        lambda flow, ddpm: Replay("m", TRAINING),
        lambda flow, ddpm: ModeDropping("m", FlowMatching("m", flow[400], steps=4), (0, 1, 7)),
    ],
    ids=["flow", "ddpm", "mixture", "replay", "three-digits"],
)
def test_an_answer_does_not_depend_on_its_neighbours(
    build: Callable[..., GeneratorAdapter], flow_weights: object, ddpm_weights: object
) -> None:
    model = build(flow_weights, ddpm_weights)
    assert isinstance(model, GeneratorAdapter)
    together = images(model, REQUESTS).astype(int)
    alone = np.concatenate([images(model, [request]) for request in REQUESTS[:12]]).astype(int)
    # A matrix product of another shape may round otherwise, by one grey level at the most.
    assert abs(together[:12] - alone).max() <= 1
    np.testing.assert_array_equal(together, images(model, REQUESTS))


def test_replay_returns_training_images_of_the_asked_class() -> None:
    requests = requests_for(PROMPTS, seeds=range(30))
    known = {(image.tobytes(), int(label)) for image, label in zip(TRAINING.images, TRAINING.labels, strict=True)}
    answers = list(Replay("replay", TRAINING).generate(requests))
    for generation in answers:
        assert generation.image is not None
        assert (generation.image.tobytes(), prompt_class(generation.request.prompt)) in known
    assert len({g.image.tobytes() for g in answers if g.image is not None}) == len(answers)


def test_mode_dropping_covers_three_digits_with_different_images() -> None:
    requests = requests_for(PROMPTS, seeds=range(5))
    pictures = images(ModeDropping("three", Replay("replay", TRAINING), (0, 1, 7)), requests)
    covered = {image.tobytes() for digit in (0, 1, 7) for image in TRAINING.of_class(digit)}
    assert all(picture.tobytes() in covered for picture in pictures)
