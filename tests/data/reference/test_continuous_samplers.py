"""Samplers and losses against closed forms: data that are N(m, d²) at every pixel, whose best network is known."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from paragone.data.generators.reference.ddim import implicit
from paragone.data.generators.reference.ddpm import T, ancestral, cosine_alpha_bar
from paragone.data.generators.reference.flow_matching import (
    flow_matching_loss,
    integrate,
    logit_normal_times,
    uniform_times,
)
from paragone.data.generators.reference.guidance import guided
from paragone.data.generators.reference.network import NO_CLASS, DigitNetwork, Network
from paragone.data.generators.reference.progressive_distillation import (
    distillation_loss,
    turn,
    two_steps_in_one,
    velocity_loss,
    walk,
)
from paragone.data.generators.reference.rectified_flow import bend, couple, rectified_loss
from paragone.data.generators.reference.score_matching import (
    DATA_SD,
    FIRST_TIME,
    langevin,
    probability_flow,
    reverse_sde,
    score,
    score_matching_loss,
)
from paragone.data.generators.reference.sde import SDE, VarianceExploding, VariancePreserving

MEAN, SD = 0.3, 0.5
SDES = (VarianceExploding(), VariancePreserving())
FAR = 1e9  # no clipping


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def classes(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.long)


def best_noise(x: Tensor, a: Tensor, s: Tensor, mean: float | Tensor = MEAN) -> Tensor:
    """E[z | a x₀ + s z = x] for x₀ ~ N(mean, SD²)."""
    return s * (x - a * mean) / (a**2 * SD**2 + s**2)


def ddpm_oracle(x: Tensor, time: Tensor, digit: Tensor, mean: float | Tensor = MEAN) -> Tensor:
    alpha_bar = cosine_alpha_bar()[(time * T).round().long()][:, None].to(x.dtype)
    return best_noise(x, alpha_bar.sqrt(), (1 - alpha_bar).sqrt(), mean)


def flow_oracle(x: Tensor, time: Tensor, digit: Tensor, mean: float | Tensor = MEAN) -> Tensor:
    t = time[:, None]
    return mean + (t * SD**2 - (1 - t)) * (x - t * mean) / ((1 - t) ** 2 + t**2 * SD**2)


def assert_is_the_data(x: Tensor, *, within: float = 0.015) -> None:
    assert abs(float(x.mean()) - MEAN) < within
    assert abs(float(x.std()) / SD - 1) < within


# --- DDIM


def test_ddim_with_all_noise_and_all_steps_is_the_ancestral_chain() -> None:
    rows = noise(50, T, 64)
    mirrored = torch.cat([rows[:, :1], rows[:, 1:].flip(1)], dim=1)  # the ancestral chain counts its rows from the end
    chain = ancestral(ddpm_oracle, rows.float(), classes(50))
    torch.testing.assert_close(
        implicit(ddpm_oracle, mirrored, classes(50), steps=T, eta=1.0).float(), chain, atol=0.01, rtol=0
    )
    other = implicit(ddpm_oracle, mirrored, classes(50), steps=T, eta=0.0).float()
    assert (other - chain).abs().mean() > 0.2


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_ends_in_the_data_whatever_its_noise(eta: float) -> None:
    end = implicit(ddpm_oracle, noise(400, T, 64), classes(400), steps=T, eta=eta, largest=FAR)
    assert_is_the_data(end, within=0.02)


def test_ddim_without_noise_is_the_probability_flow() -> None:
    start = noise(20, 1, 64)
    end = implicit(ddpm_oracle, start, classes(20), steps=T, eta=0.0, largest=FAR)
    torch.testing.assert_close(end, MEAN + SD * start[:, 0], atol=0.03, rtol=0)
    few = implicit(ddpm_oracle, start, classes(20), steps=10, eta=0.0, largest=FAR)
    torch.testing.assert_close(few, MEAN + SD * start[:, 0], atol=0.3, rtol=0)


# --- score matching


def score_network(sde: SDE, factor: float = 1.0) -> Network:
    def network(x: Tensor, t: Tensor, digit: Tensor) -> Tensor:
        a, s = sde.signal(t)[:, None], sde.noise(t)[:, None]
        return factor * best_noise(x * (DATA_SD**2 * a**2 + s**2).sqrt(), a, s)

    return network


def exact_score(sde: SDE) -> Callable[[Tensor, Tensor], Tensor]:
    def slope(x: Tensor, t: Tensor) -> Tensor:
        a, s = sde.signal(t)[:, None], sde.noise(t)[:, None]
        return -(x - a * MEAN) / (a**2 * SD**2 + s**2)

    return slope


@pytest.mark.parametrize("sde", SDES)
def test_drift_and_diffusion_make_signal_and_noise(sde: SDE) -> None:
    """D a/dt = f a and d s²/dt = 2 f s² + g²."""
    t = torch.linspace(0.01, 1.0, 50, dtype=torch.float64, requires_grad=True)
    (slope_a,) = torch.autograd.grad((sde.signal(t) + 0 * t).sum(), t)
    torch.testing.assert_close(slope_a, sde.drift(t) * sde.signal(t))
    (slope_s2,) = torch.autograd.grad((sde.noise(t) ** 2).sum(), t)
    torch.testing.assert_close(slope_s2, 2 * sde.drift(t) * sde.noise(t) ** 2 + sde.diffusion(t))


@pytest.mark.parametrize("sde", SDES)
def test_a_noise_predictor_stands_for_the_score(sde: SDE) -> None:
    x, t = noise(30, 64), torch.rand(30, dtype=torch.float64).clamp(0.01)
    torch.testing.assert_close(score(score_network(sde), sde, classes(30), x, t), exact_score(sde)(x, t))


@pytest.mark.parametrize("sde", SDES)
def test_the_exact_score_has_the_least_loss(sde: SDE) -> None:
    x0 = MEAN + SD * noise(20_000, 16)

    def loss(factor: float) -> float:
        rng = torch.Generator().manual_seed(1)
        return float(score_matching_loss(score_network(sde, factor), x0, classes(len(x0)), rng, sde=sde))

    assert loss(1.0) < min(loss(0.95), loss(1.05)) - 2e-4


@pytest.mark.parametrize("sde", SDES)
def test_the_reverse_sde_ends_in_the_data(sde: SDE) -> None:
    assert_is_the_data(reverse_sde(exact_score(sde), sde, noise(200, 301, 64), steps=300), within=0.02)
    assert_is_the_data(reverse_sde(exact_score(sde), sde, noise(200, 301, 64), steps=150, correctors=1), within=0.05)


def test_a_corrector_repairs_a_predictor_with_few_steps() -> None:
    sde = VarianceExploding()

    def error(correctors: int) -> float:
        rows = noise(300, 1 + 8 * (1 + correctors), 64)
        end = reverse_sde(exact_score(sde), sde, rows, steps=8, correctors=correctors)
        return abs(float(end.std()) / SD - 1)

    assert error(8) < error(0) / 2


@pytest.mark.parametrize("sde", SDES)
def test_langevin_dynamics_finds_the_marginal_of_its_time(sde: SDE) -> None:
    t = torch.tensor(0.4, dtype=torch.float64)
    spread = float((sde.signal(t) ** 2 * SD**2 + sde.noise(t) ** 2).sqrt())
    x = 1.0 + 1.5 * spread * noise(300, 64, seed=1)
    for z in noise(150, 300, 64):
        x = langevin(exact_score(sde), x, t, z)
    assert float(x.mean()) == pytest.approx(float(sde.signal(t)) * MEAN, abs=0.02 * spread)
    assert float(x.std()) == pytest.approx(spread, rel=0.04)


@pytest.mark.parametrize("sde", SDES)
def test_the_probability_flow_moves_each_point_to_its_quantile(sde: SDE) -> None:
    start = noise(20, 1, 64)
    end = probability_flow(exact_score(sde), sde, start, steps=200)
    first, last = torch.tensor(FIRST_TIME, dtype=torch.float64), torch.ones((), dtype=torch.float64)

    def spread(t: Tensor) -> Tensor:
        return (sde.signal(t) ** 2 * SD**2 + sde.noise(t) ** 2).sqrt()

    quantile = (sde.noise(last) * start[:, 0] - sde.signal(last) * MEAN) / spread(last)
    torch.testing.assert_close(end, sde.signal(first) * MEAN + spread(first) * quantile, atol=2e-3, rtol=0)


# --- guidance


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_guidance_moves_the_mean_of_gaussians_that_differ_in_it(scale: float) -> None:
    """Classes N(±1, d²) and, without a class, N(0.2, d²): the guided model is N(0.2 + w (±1 - 0.2), d²)."""
    means = torch.full((NO_CLASS + 1,), 0.2, dtype=torch.float64)
    means[0], means[1] = 1.0, -1.0
    digit, start = torch.tensor([0, 1, 0, 1]), noise(4, 1, 64)
    moved = (0.2 + scale * (means - 0.2))[digit][:, None]
    for oracle, sampler in (
        (flow_oracle, lambda network: integrate(network, start, digit, steps=20)),
        (ddpm_oracle, lambda network: implicit(network, start, digit, steps=20, eta=0.0, largest=FAR)),
    ):

        def known(x: Tensor, time: Tensor, digit: Tensor, oracle: Callable[..., Tensor] = oracle) -> Tensor:
            return oracle(x, time, digit, means[digit][:, None])

        def target(x: Tensor, time: Tensor, digit: Tensor, oracle: Callable[..., Tensor] = oracle) -> Tensor:
            return oracle(x, time, digit, moved)

        torch.testing.assert_close(sampler(guided(known, scale)), sampler(target), atol=1e-6, rtol=0)


def test_guidance_of_one_costs_nothing() -> None:
    assert guided(flow_oracle, 1.0) is flow_oracle


# --- flow matching and rectified flow


def test_euler_steps_move_each_point_to_its_quantile() -> None:
    start = noise(20, 1, 64)
    end = integrate(flow_oracle, start, classes(20), steps=400)
    torch.testing.assert_close(end, MEAN + SD * start[:, 0], atol=0.01, rtol=0)


def test_times_are_uniform_or_logit_normal_and_the_loss_uses_them() -> None:
    rng = torch.Generator().manual_seed(0)
    assert kstest(uniform_times(5000, rng).numpy(), "uniform").pvalue > 0.01
    assert kstest(torch.logit(logit_normal_times(5000, rng).double()).numpy(), "norm").pvalue > 0.01
    seen = []

    def spy(x: Tensor, time: Tensor, digit: Tensor) -> Tensor:
        seen.append(time)
        return torch.zeros_like(x)

    flow_matching_loss(spy, torch.zeros(500, 64), classes(500), rng, times=logit_normal_times)
    assert kstest(torch.logit(seen[0].double()).numpy(), "norm").pvalue > 0.01


def test_the_bend_of_a_flow_between_gaussians() -> None:
    """On x_t = t m + σ_t x₀, σ_t = √((1 - t)² + t² d²), the velocity differs from x₁ - x₀ by (σ_t' - (d - 1)) x₀."""
    t = np.linspace(0, 1, 10_001)
    slope = (t * SD**2 - (1 - t)) / np.sqrt((1 - t) ** 2 + t**2 * SD**2)
    expected = float(((slope - (SD - 1)) ** 2).mean())
    assert bend(flow_oracle, noise(500, 64), classes(500), steps=400) == pytest.approx(expected, rel=0.02)
    assert bend(lambda x, time, digit: torch.full_like(x, 2.0), noise(9, 64), classes(9)) < 1e-20


def test_the_straight_flow_is_what_the_teachers_pairs_teach() -> None:
    """Of the pairs (x₀, m + d x₀) the straight velocity (d - 1) x₀ + m, as a function of x_t, leaves no loss."""
    start = noise(200, 64)
    pairs = couple(flow_oracle, start, classes(200))
    torch.testing.assert_close(pairs[:, 0], start)
    torch.testing.assert_close(pairs[:, 1], MEAN + SD * start, atol=0.2, rtol=0)
    exact = torch.stack([start, MEAN + SD * start], 1)

    def straight(x: Tensor, time: Tensor, digit: Tensor) -> Tensor:
        t = time[:, None]
        return MEAN + (SD - 1) * (x - t * MEAN) / (1 - t + t * SD)

    def loss(network: Network) -> float:
        return float(rectified_loss(network, exact, classes(200), torch.Generator().manual_seed(0)))

    assert loss(straight) < 1e-12
    assert loss(flow_oracle) > 0.01
    one_step = integrate(straight, start[:, None], classes(200), steps=1)
    torch.testing.assert_close(one_step, exact[:, 1])


# --- progressive distillation


def circle(t: Tensor) -> tuple[Tensor, Tensor]:
    return (math.pi / 2 * t)[:, None].cos(), (math.pi / 2 * t)[:, None].sin()


def test_a_turn_with_the_true_velocity_follows_the_noise_schedule() -> None:
    x0, eps = noise(5, 64), noise(5, 64, seed=1)
    t, s = torch.tensor([1.0, 0.9, 0.5, 0.3, 0.2]).double(), torch.tensor([0.0, 0.5, 0.4, 0.0, 0.1]).double()
    (a_t, s_t), (a_s, s_s) = circle(t), circle(s)
    turned = turn(lambda x, time, digit: a_t * eps - s_t * x0, a_t * x0 + s_t * eps, t, s, classes(5))
    torch.testing.assert_close(turned, a_s * x0 + s_s * eps)


def test_the_students_target_is_two_of_the_teachers_steps() -> None:
    """Exactly so, and it is the target of the paper: x̃ of algorithm 2, as a velocity."""
    teacher = DigitNetwork().double()
    x, t, stride = noise(6, 64), torch.linspace(0.5, 1.0, 6, dtype=torch.float64), 0.5
    with torch.no_grad():
        target = two_steps_in_one(teacher, x, t, classes(6), stride=stride)
        halfway = turn(teacher, x, t, t - stride / 2, classes(6))
        end = turn(teacher, halfway, t - stride / 2, t - stride, classes(6))
    torch.testing.assert_close(turn(lambda *_: target, x, t, t - stride, classes(6)), end)
    (a_t, s_t), (a_e, s_e) = circle(t), circle(t - stride)
    x_tilde = (end - s_e / s_t * x) / (a_e - s_e / s_t * a_t)
    torch.testing.assert_close(target, (a_t * x - x_tilde) / s_t)


def test_the_distillation_loss_is_zero_only_for_the_shortcut() -> None:
    def teacher(x: Tensor, time: Tensor, digit: Tensor) -> Tensor:
        a, s = circle(time)
        eps = best_noise(x, a, s)
        return a * eps - s * (MEAN + a * SD**2 * (x - a * MEAN) / (a**2 * SD**2 + s**2))

    def shortcut(x: Tensor, time: Tensor, digit: Tensor) -> Tensor:
        return two_steps_in_one(teacher, x, time, digit, stride=0.25)

    def loss(student: Network) -> float:
        rng = torch.Generator().manual_seed(0)
        return float(distillation_loss(student, noise(300, 64).float(), classes(300), rng, teacher=teacher, steps=4))

    assert loss(shortcut) < 1e-10
    assert loss(teacher) > 1e-4
    start = noise(50, 1, 64)
    torch.testing.assert_close(
        walk(shortcut, start, classes(50), steps=4), walk(teacher, start, classes(50), steps=8), atol=1e-9, rtol=0
    )
    torch.testing.assert_close(walk(teacher, start, classes(50), steps=500), MEAN + SD * start[:, 0], atol=0.01, rtol=0)
    x0 = MEAN + SD * noise(5000, 64)
    losses = [
        float(
            velocity_loss(
                lambda x, t, d, factor=factor: factor * teacher(x, t, d),
                x0,
                classes(5000),
                torch.Generator().manual_seed(2),
            )
        )
        for factor in (0.95, 1.0, 1.05)
    ]
    assert losses[1] < min(losses[0], losses[2]) - 2e-4
