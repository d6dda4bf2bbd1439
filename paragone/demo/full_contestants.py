"""The full demo's further models of pictures, one for each idea, with the training runs that they need.

As in `contestants` and `training`, runs are few and contestants are settings of what they leave. Steps of training are
fixed shares of the default demo's, so that a small demo stays small.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from paragone.data.digits import Digits, load_digits_split
from paragone.data.generators.base import GeneratorAdapter
from paragone.data.progress import Progress
from paragone.data.records import GeneratorCard
from paragone.demo.clips_and_edits import load_weights
from paragone.demo.contestants import Contestant, DemoSettings
from paragone.demo.training import Run, one_file, save_weights

if TYPE_CHECKING:
    from torch import nn

    from paragone.data.generators.reference.sde import SDE

Build = Callable[[str, Path, DemoSettings], GeneratorAdapter]

DISTILLED = (16, 8, 4, 2, 1)  # sampling steps of the students, each the next one's teacher
ROW = 8  # pixels in a block of the block model
PARAMETERS = {"mlp": 506_944, "latent": 659_568, "unet": 69_601, "dit": 240_964, "tokens": 712_256}


# ---- Training ------------------------------------------------------------------------------------------------------


def _training_half(settings: DemoSettings) -> Digits:
    return load_digits_split(seed=settings.seed)[0]


def flow_file(settings: DemoSettings) -> str:
    """The weights of the default demo's trained flow."""
    return f"flow-matching-{settings.checkpoints[-1]}.safetensors"


def student_file(steps: int) -> str:
    """The weights of the student that takes so many steps."""
    return f"distilled-{steps}.safetensors"


def _train_score(sde_name: str, models: Path, settings: DemoSettings, progress: Progress) -> None:
    from paragone.data.generators.reference.score_matching import train_score

    steps = settings.training_steps * 2 // 3
    weights = train_score(
        _training_half(settings), sde=_sde(sde_name), steps=steps, seed=settings.seed, progress=progress
    )
    save_weights(models / f"score-{sde_name}.safetensors", weights, settings)


def _train_logit_normal(models: Path, settings: DemoSettings, progress: Progress) -> None:
    from paragone.data.generators.reference.flow_matching import logit_normal_times, train_flow_matching

    steps = settings.training_steps
    weights = train_flow_matching(
        _training_half(settings), steps=steps, seed=settings.seed, times=logit_normal_times, progress=progress
    )[steps]
    save_weights(models / "flow-logit-normal.safetensors", weights, settings)


def _train_rectified(models: Path, settings: DemoSettings, progress: Progress) -> None:
    from paragone.data.generators.reference.rectified_flow import N_PAIRS, train_rectified_flow

    teacher = load_weights(models / flow_file(settings))
    weights = train_rectified_flow(
        _training_half(settings),
        teacher,
        steps=settings.training_steps // 3,
        n_pairs=min(N_PAIRS, 3 * settings.training_steps),
        seed=settings.seed,
        progress=progress,
    )
    save_weights(models / "rectified-flow.safetensors", weights, settings)


def _train_velocity(models: Path, settings: DemoSettings, progress: Progress) -> None:
    from paragone.data.generators.reference.progressive_distillation import train_velocity

    steps = settings.training_steps * 2 // 3
    weights = train_velocity(_training_half(settings), steps=steps, seed=settings.seed, progress=progress)
    save_weights(models / "v-diffusion.safetensors", weights, settings)


def _distil(models: Path, settings: DemoSettings, progress: Progress) -> None:
    from paragone.data.generators.reference.progressive_distillation import distil

    teacher = load_weights(models / "v-diffusion.safetensors")
    steps = settings.training_steps // 10
    students = distil(
        _training_half(settings), teacher, rounds=DISTILLED, steps=steps, seed=settings.seed, progress=progress
    )
    for k, weights in students.items():
        save_weights(models / student_file(k), weights, settings)


def _train_latent(models: Path, settings: DemoSettings, progress: Progress) -> None:
    from paragone.data.generators.reference.latent_diffusion import train_latent_diffusion

    weights = train_latent_diffusion(
        _training_half(settings),
        vae_steps=settings.training_steps // 3,
        steps=settings.training_steps // 2,
        seed=settings.seed,
        progress=progress,
    )
    save_weights(models / "latent.safetensors", weights, settings)


def _train_backbone(backbone: str, models: Path, settings: DemoSettings, progress: Progress) -> None:
    from paragone.data.generators.reference.flow_matching import train_flow_matching

    steps = settings.training_steps // 5
    weights = train_flow_matching(
        _training_half(settings), steps=steps, seed=settings.seed, build=_backbone(backbone), progress=progress
    )[steps]
    save_weights(models / f"{backbone}.safetensors", weights, settings)


def _train_autoregressive(models: Path, settings: DemoSettings, progress: Progress) -> None:
    from paragone.data.generators.reference.autoregressive import train_autoregressive

    steps = settings.training_steps // 2
    weights = train_autoregressive(_training_half(settings), steps=steps, seed=settings.seed, progress=progress)
    save_weights(models / "autoregressive.safetensors", weights, settings)


def _train_masked(models: Path, settings: DemoSettings, progress: Progress) -> None:
    from paragone.data.generators.reference.masked_diffusion import train_masked_diffusion

    steps = settings.training_steps // 2
    weights = train_masked_diffusion(_training_half(settings), steps=steps, seed=settings.seed, progress=progress)
    save_weights(models / "masked-diffusion.safetensors", weights, settings)


def _train_rows(models: Path, settings: DemoSettings, progress: Progress) -> None:
    from paragone.data.generators.reference.block_diffusion import train_block_diffusion

    steps = settings.training_steps // 2
    weights = train_block_diffusion(
        _training_half(settings), block=ROW, steps=steps, seed=settings.seed, progress=progress
    )
    save_weights(models / "block-diffusion.safetensors", weights, settings)


RUNS = {
    "autoregressive": Run(_train_autoregressive, one_file("autoregressive")),
    "block-diffusion": Run(_train_rows, one_file("block-diffusion")),
    "dit": Run(partial(_train_backbone, "dit"), one_file("dit")),
    "flow-logit-normal": Run(_train_logit_normal, one_file("flow-logit-normal")),
    "latent": Run(_train_latent, one_file("latent")),
    "masked-diffusion": Run(_train_masked, one_file("masked-diffusion")),
    "score-ve": Run(partial(_train_score, "ve"), one_file("score-ve")),
    "score-vp": Run(partial(_train_score, "vp"), one_file("score-vp")),
    "unet": Run(partial(_train_backbone, "unet"), one_file("unet")),
    "v-diffusion": Run(_train_velocity, one_file("v-diffusion")),
    "rectified-flow": Run(_train_rectified, one_file("rectified-flow"), needs=("flow-matching",)),
    "distilled": Run(_distil, lambda settings: [student_file(k) for k in DISTILLED], needs=("v-diffusion",)),
}


# ---- Contestants ---------------------------------------------------------------------------------------------------


def _ddim(*, steps: int, eta: float = 0.0, guidance: float = 1.0) -> Build:
    def build(name: str, models: Path, settings: DemoSettings) -> GeneratorAdapter:
        from paragone.data.generators.reference.ddim import DDIM

        return DDIM(name, load_weights(models / "ddpm.safetensors"), steps=steps, eta=eta, guidance=guidance)

    return build


def _score(sde_name: str, *, steps: int, correctors: int = 0, ode: bool = False) -> Build:
    def build(name: str, models: Path, settings: DemoSettings) -> GeneratorAdapter:
        from paragone.data.generators.reference.score_matching import ScoreModel

        weights = load_weights(models / f"score-{sde_name}.safetensors")
        return ScoreModel(name, weights, sde=_sde(sde_name), steps=steps, correctors=correctors, ode=ode)

    return build


def _flow(run: str, *, steps: int, backbone: str = "mlp") -> Build:
    def build(name: str, models: Path, settings: DemoSettings) -> GeneratorAdapter:
        from paragone.data.generators.reference.flow_matching import FlowMatching

        weights = load_weights(models / f"{run}.safetensors")
        return FlowMatching(name, weights, steps=steps, build=_backbone(backbone))

    return build


def _velocity(file: str, *, steps: int) -> Build:
    def build(name: str, models: Path, settings: DemoSettings) -> GeneratorAdapter:
        from paragone.data.generators.reference.progressive_distillation import VelocityDiffusion

        return VelocityDiffusion(name, load_weights(models / file), steps=steps)

    return build


def _latent(name: str, models: Path, settings: DemoSettings) -> GeneratorAdapter:
    from paragone.data.generators.reference.latent_diffusion import LatentDiffusion

    return LatentDiffusion(name, load_weights(models / "latent.safetensors"), steps=50)


def _autoregressive(name: str, models: Path, settings: DemoSettings) -> GeneratorAdapter:
    from paragone.data.generators.reference.autoregressive import Autoregressive

    return Autoregressive(name, load_weights(models / "autoregressive.safetensors"))


def _masked(*, steps: int) -> Build:
    def build(name: str, models: Path, settings: DemoSettings) -> GeneratorAdapter:
        from paragone.data.generators.reference.masked_diffusion import MaskedDiffusion

        return MaskedDiffusion(name, load_weights(models / "masked-diffusion.safetensors"), steps=steps)

    return build


def _rows(name: str, models: Path, settings: DemoSettings) -> GeneratorAdapter:
    from paragone.data.generators.reference.block_diffusion import BlockDiffusion

    return BlockDiffusion(name, load_weights(models / "block-diffusion.safetensors"), block=ROW, steps=4)


def _sde(name: str) -> SDE:
    from paragone.data.generators.reference.sde import VarianceExploding, VariancePreserving

    return VarianceExploding() if name == "ve" else VariancePreserving()


def _backbone(name: str) -> Callable[[], nn.Module]:
    from paragone.data.generators.reference.dit import DiT
    from paragone.data.generators.reference.network import DigitNetwork
    from paragone.data.generators.reference.unet import UNet

    return {"mlp": DigitNetwork, "unet": UNet, "dit": DiT}[name]


def _one(name: str, family: str, description: str, build: Build, *, calls: int, network: str = "mlp") -> Contestant:
    card = GeneratorCard(
        name,
        description,
        family,
        open_weights=True,
        licence="Apache-2.0",
        parameters=PARAMETERS[network],
        space="latent" if network == "latent" else "pixel",
    )
    return Contestant(card, build, calls=calls)


_DIFFUSION, _SCORE, _FLOW = "diffusion", "score matching", "flow matching"
_ROWS = "rows of 8 pixels, 4 steps each"

CONTESTANTS = (
    _one("ddim", _DIFFUSION, "the DDPM's weights, 20 steps, η = 0", _ddim(steps=20), calls=20),
    _one("ddim-noisy", _DIFFUSION, "the DDPM's weights, 20 steps, η = 1", _ddim(steps=20, eta=1.0), calls=20),
    _one("ddim-guided", _DIFFUSION, "20 steps, guidance scale 3", _ddim(steps=20, guidance=3.0), calls=40),
    _one("score-ve", _SCORE, "VE SDE, predictor-corrector", _score("ve", steps=50, correctors=1), calls=100),
    _one("score-vp", _SCORE, "VP SDE, Euler-Maruyama", _score("vp", steps=100), calls=100),
    _one("score-vp-ode", _SCORE, "VP, probability-flow ODE, Heun", _score("vp", steps=20, ode=True), calls=40),
    _one("flow-logit", _FLOW, "logit-normal times, 50 Euler steps", _flow("flow-logit-normal", steps=50), calls=50),
    _one("rectified", _FLOW, "straightened, 4 Euler steps", _flow("rectified-flow", steps=4), calls=4),
    _one("rectified-1", _FLOW, "straightened, 1 Euler step", _flow("rectified-flow", steps=1), calls=1),
    _one("v-diffusion", _DIFFUSION, "predicts v, 32 steps", _velocity("v-diffusion.safetensors", steps=32), calls=32),
    _one("distilled-4", _DIFFUSION, "v-diffusion in 4 steps", _velocity(student_file(4), steps=4), calls=4),
    _one("distilled-1", _DIFFUSION, "v-diffusion in 1 step", _velocity(student_file(1), steps=1), calls=1),
    _one("latent", _FLOW, "in the latents of a VAE, 50 Euler steps", _latent, calls=50, network="latent"),
    _one("unet", _FLOW, "a U-Net, 20 Euler steps", _flow("unet", steps=20, backbone="unet"), calls=20, network="unet"),
    _one("dit", _FLOW, "a DiT, 20 Euler steps", _flow("dit", steps=20, backbone="dit"), calls=20, network="dit"),
    _one("autoregressive", "autoregressive", "pixel after pixel", _autoregressive, calls=64, network="tokens"),
    _one("masked", "masked diffusion", "4 pixels a step", _masked(steps=16), calls=16, network="tokens"),
    _one("masked-2-steps", "masked diffusion", "32 pixels a step", _masked(steps=2), calls=2, network="tokens"),
    _one("rows", "block diffusion", _ROWS, _rows, calls=32, network="tokens"),
)
