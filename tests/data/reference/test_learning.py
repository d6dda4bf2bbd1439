"""Every model of pictures, trained for seconds: far nearer to the digits than untrained, and each answer its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paragone.data.digits import PROMPTS, Digits, load_digits_split, prompt_class
from paragone.data.generators.base import GenerationRequest, GeneratorAdapter
from paragone.data.generators.reference.autoregressive import Autoregressive, train_autoregressive
from paragone.data.generators.reference.block_diffusion import BlockDiffusion, train_block_diffusion
from paragone.data.generators.reference.ddim import DDIM
from paragone.data.generators.reference.ddpm import DDPM, train_ddpm
from paragone.data.generators.reference.dit import DiT
from paragone.data.generators.reference.flow_matching import (
    FlowMatching,
    integrate,
    logit_normal_times,
    train_flow_matching,
)
from paragone.data.generators.reference.latent_diffusion import LatentDiffusion, train_latent_diffusion
from paragone.data.generators.reference.masked_diffusion import MaskedDiffusion, train_masked_diffusion
from paragone.data.generators.reference.network import N_PIXELS, DigitNetwork
from paragone.data.generators.reference.progressive_distillation import (
    VelocityDiffusion,
    distil,
    train_velocity,
    walk,
)
from paragone.data.generators.reference.rectified_flow import bend, train_rectified_flow
from paragone.data.generators.reference.score_matching import ScoreModel, score, train_score
from paragone.data.generators.reference.sde import SDE, VarianceExploding, VariancePreserving
from paragone.data.generators.reference.token_network import TokenNetwork
from paragone.data.generators.reference.unet import UNet
from paragone.data.generators.runner import requests_for
from paragone.metrics import frechet_distance

TRAINING, REFERENCE = load_digits_split(seed=0)
REQUESTS = requests_for(PROMPTS, seeds=range(8))
STEPS = 60
VE, VP = VarianceExploding(), VariancePreserving()

Weights = Mapping[str, Tensor]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Recipe:
    """How a model is trained for a few seconds, and how its weights answer requests."""

    train: Callable[[], Weights]
    build: Callable[[Weights], GeneratorAdapter]
    exact: bool = True  # computes in float64: the bytes of an answer do not depend on its neighbours


@cache
def flow() -> Weights:
    return train_flow_matching(TRAINING, steps=2 * STEPS, seed=0)[2 * STEPS]


@cache
def velocity() -> Weights:
    return train_velocity(TRAINING, steps=2 * STEPS, seed=0)


@cache
def students() -> dict[int, dict[str, Tensor]]:
    return distil(TRAINING, velocity(), rounds=(4, 2), steps=STEPS, seed=0)


RECIPES = {
    "ddim": Recipe(lambda: train_ddpm(TRAINING, steps=2 * STEPS, seed=0), lambda w: DDIM("m", w, steps=10)),
    "score-ve": Recipe(
        lambda: train_score(TRAINING, sde=VE, steps=3 * STEPS, seed=0), lambda w: ScoreModel("m", w, sde=VE, steps=50)
    ),
    "score-vp": Recipe(
        lambda: train_score(TRAINING, sde=VP, steps=3 * STEPS, seed=0), lambda w: ScoreModel("m", w, sde=VP, steps=50)
    ),
    "flow-logit": Recipe(
        lambda: train_flow_matching(TRAINING, steps=STEPS, seed=0, times=logit_normal_times)[STEPS],
        lambda w: FlowMatching("m", w, steps=10),
        exact=False,
    ),
    "rectified": Recipe(
        lambda: train_rectified_flow(TRAINING, flow(), steps=STEPS, seed=0, n_pairs=1024),
        lambda w: FlowMatching("m", w, steps=1),
        exact=False,
    ),
    "distilled": Recipe(lambda: students()[2], lambda w: VelocityDiffusion("m", w, steps=2)),
    "latent": Recipe(
        lambda: train_latent_diffusion(TRAINING, vae_steps=2 * STEPS, steps=2 * STEPS, seed=0),
        lambda w: LatentDiffusion("m", w, steps=20),
    ),
    "autoregressive": Recipe(
        lambda: train_autoregressive(TRAINING, steps=STEPS, seed=0), lambda w: Autoregressive("m", w)
    ),
    "masked": Recipe(
        lambda: train_masked_diffusion(TRAINING, steps=STEPS, seed=0), lambda w: MaskedDiffusion("m", w, steps=8)
    ),
    "rows": Recipe(
        lambda: train_block_diffusion(TRAINING, block=8, steps=STEPS, seed=0),
        lambda w: BlockDiffusion("m", w, block=8, steps=2),
    ),
}
trained = cache(lambda name: RECIPES[name].train())


def images(model: GeneratorAdapter, requests: list[GenerationRequest]) -> NDArray[np.uint8]:
    answers = {(g.request.prompt.id, g.request.seed): g.image for g in model.generate(requests)}
    return np.stack([answers[r.prompt.id, r.seed] for r in requests])


def distance(pictures: NDArray[np.uint8]) -> float:
    """Fréchet distance to the reference half in pixels 0..1 and, so that classes count, in pixels times class."""
    labels = np.array([prompt_class(request.prompt) for request in REQUESTS])

    def features(grey: NDArray[np.uint8], digit: NDArray[np.int64]) -> NDArray[np.float64]:
        pixels = grey.reshape(len(grey), -1) / 255
        mine = np.eye(10)[digit] @ CLASS_MEANS  # what a picture of this class should look like
        return np.concatenate([pixels, (pixels - mine) ** 2], axis=1)

    return float(frechet_distance(features(REFERENCE.images, REFERENCE.labels), features(pictures, labels)))


CLASS_MEANS = np.stack([TRAINING.of_class(digit).reshape(-1, N_PIXELS).mean(0) / 255 for digit in range(10)])


def untrained(weights: Weights) -> Weights:
    """Weights of the same shapes as a new network's might be."""
    rng = torch.Generator().manual_seed(1)
    return {
        name: value if value.ndim == 1 else torch.randn(value.shape, generator=rng) / value.shape[1] ** 0.5
        for name, value in weights.items()
    }


@pytest.mark.parametrize("name", RECIPES)
def test_training_brings_a_model_far_nearer_to_the_digits(name: str) -> None:
    recipe = RECIPES[name]
    after = distance(images(recipe.build(trained(name)), REQUESTS))
    before = distance(images(recipe.build(untrained(trained(name))), REQUESTS))
    assert after < before / 4


@pytest.mark.parametrize("name", RECIPES)
def test_an_answer_does_not_depend_on_its_neighbours(name: str) -> None:
    recipe = RECIPES[name]
    model = recipe.build(trained(name))
    together = images(model, REQUESTS).astype(int)
    alone = np.concatenate([images(model, [request]) for request in REQUESTS[4:10]]).astype(int)
    assert abs(together[4:10] - alone).max() <= (0 if recipe.exact else 1)
    np.testing.assert_array_equal(
        images(model, REQUESTS[::-1])[::-1], together if recipe.exact else images(model, REQUESTS)
    )
    assert len(np.unique(together.reshape(len(together), -1), axis=0)) == len(together)


@pytest.mark.parametrize("sde", [VE, VP])
def test_a_score_learnt_from_gaussian_pictures_is_the_analytic_score(sde: SDE) -> None:
    mean, sd = -0.1, 0.3
    pixels = np.random.default_rng(0).normal(mean, sd, (4000, 8, 8))
    gaussian = Digits(np.clip(np.round((pixels + 1) * 127.5), 0, 255).astype(np.uint8), np.zeros(4000, np.int64))
    network = DigitNetwork()
    network.load_state_dict(train_score(gaussian, sde=sde, steps=100, seed=0))
    digit = torch.zeros(500, dtype=torch.long)
    for time in (0.4, 0.6, 0.9):
        t = torch.full((500,), time)
        a, s = sde.signal(t)[:, None], sde.noise(t)[:, None]
        x = a * (mean + sd * torch.randn(500, 64)) + s * torch.randn(500, 64)
        exact = -(x - a * mean) / (a**2 * sd**2 + s**2)
        with torch.no_grad():
            error = (score(network, sde, digit, x, t) - exact).square().mean() / exact.square().mean()
        assert error < 0.1


def network_of(weights: Weights) -> DigitNetwork:
    network = DigitNetwork()
    network.load_state_dict(weights)
    return network


def test_a_rectified_flow_is_straighter_than_its_teacher() -> None:
    noise = torch.randn(300, N_PIXELS, generator=torch.Generator().manual_seed(5))
    digit = torch.arange(300) % 10
    teacher, student = network_of(flow()), network_of(trained("rectified"))
    assert bend(student, noise, digit) < bend(teacher, noise, digit) / 2

    def loss_of_one_step(network: nn.Module) -> float:
        with torch.no_grad():
            one, many = (integrate(network, noise[:, None], digit, steps=steps) for steps in (1, 50))
        return float((one - many).square().mean())

    assert loss_of_one_step(student) < loss_of_one_step(teacher) / 2


def test_a_student_in_k_steps_is_nearer_to_its_teacher_in_2k_than_the_teacher_in_k() -> None:
    noise = torch.randn(300, 1, N_PIXELS, generator=torch.Generator().manual_seed(5))
    digit = torch.arange(300) % 10
    teacher = network_of(velocity())
    for k, weights in students().items():
        student = network_of(weights)
        with torch.no_grad():
            goal = walk(teacher, noise, digit, steps=2 * k)
            ours = float((walk(student, noise, digit, steps=k) - goal).square().mean())
            theirs = float((walk(teacher, noise, digit, steps=k) - goal).square().mean())
        assert ours < theirs / 1.5
        teacher = student


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [UNet, DiT])
def test_a_backbone_can_be_exchanged_in_diffusion_and_in_flow(backbone: type[nn.Module]) -> None:
    flow_weights = train_flow_matching(TRAINING, steps=STEPS, seed=0, build=backbone)[STEPS]
    ddpm_weights = train_ddpm(TRAINING, steps=STEPS, seed=0, build=backbone)
    for build in (
        lambda w: FlowMatching("m", w, steps=10, build=backbone),
        lambda w: DDIM("m", w, steps=10, build=backbone),
        lambda w: DDPM("m", w, build=backbone),
    ):
        weights = flow_weights if isinstance(build(flow_weights), FlowMatching) else ddpm_weights
        after, before = (distance(images(build(w), REQUESTS)) for w in (weights, untrained(weights)))
        assert after < before / 3


def test_the_discrete_models_share_one_network() -> None:
    for name in ("autoregressive", "masked", "rows"):
        TokenNetwork().load_state_dict(trained(name))
