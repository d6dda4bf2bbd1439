"""Who takes part in the demo, how each is trained, and how its weights become a `GeneratorAdapter`.

Training runs are few (three models, one feature extractor); contestants are settings of what they leave behind: a
checkpoint, a number of steps, a guidance scale. This module imports no torch: the functions that need it do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from paragone.data.digits import load_digits_split
from paragone.data.generators.base import GeneratorAdapter
from paragone.data.records import GeneratorCard, Task, fingerprint

RECIPE = 1  # raise it when a change of code changes what training or sampling gives


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """What the demo's numbers depend on."""

    seed: int = 0
    training_steps: int = 3000
    samples_per_prompt: int = 100
    n_battles: int = 2160

    @property
    def checkpoints(self) -> tuple[int, int, int]:
        """An early, a middle and the last training step of the flow model."""
        return self.training_steps // 10, self.training_steps // 3, self.training_steps

    def fingerprint(self) -> str:
        """Names the settings and the code's recipe."""
        return fingerprint({"recipe": RECIPE} | asdict(self))


@dataclass(frozen=True, slots=True)
class Contestant:
    """A model of the demo: its card, and how to build it from the folder of trained weights."""

    card: GeneratorCard
    build: Callable[[str, Path, DemoSettings], GeneratorAdapter]
    task: Task = Task.TEXT_TO_IMAGE
    calls: int | None = None  # of a network for one sample, where it has one


def _flow(*, checkpoint: int = 2, steps: int = 50, guidance: float = 1.0) -> Callable[..., GeneratorAdapter]:
    def build(name: str, models: Path, settings: DemoSettings) -> GeneratorAdapter:
        from safetensors.torch import load_file

        from paragone.data.generators.reference.flow_matching import FlowMatching

        weights = load_file(models / f"flow-matching-{settings.checkpoints[checkpoint]}.safetensors")
        return FlowMatching(name, weights, steps=steps, guidance=guidance)

    return build


def _ddpm(name: str, models: Path, settings: DemoSettings) -> GeneratorAdapter:
    from safetensors.torch import load_file

    from paragone.data.generators.reference.ddpm import DDPM

    return DDPM(name, load_file(models / "ddpm.safetensors"))


def _mixture(name: str, models: Path, settings: DemoSettings) -> GeneratorAdapter:
    from safetensors.numpy import load_file

    from paragone.data.generators.reference.gaussian_mixture import GaussianMixture

    return GaussianMixture(name, load_file(models / "gaussian-mixture.safetensors"))


def _replay(name: str, models: Path, settings: DemoSettings) -> GeneratorAdapter:
    from paragone.data.generators.reference.cautionary import Replay

    return Replay(name, load_digits_split(seed=settings.seed)[0])


def _three_digits(name: str, models: Path, settings: DemoSettings) -> GeneratorAdapter:
    from paragone.data.generators.reference.cautionary import ModeDropping

    return ModeDropping(name, _flow()(name, models, settings), covered=(0, 1, 7))


def _card(name: str, family: str, description: str) -> GeneratorCard:
    return GeneratorCard(name, description, family, open_weights=True, licence="Apache-2.0")


CONTESTANTS = (
    Contestant(_card("gaussian-mixture", "mixture", "5 diagonal Gaussians a class, the baseline"), _mixture),
    Contestant(
        _card("flow-early", "flow matching", "a tenth of the training, 50 steps"), _flow(checkpoint=0), calls=50
    ),
    Contestant(
        _card("flow-middle", "flow matching", "a third of the training, 50 steps"), _flow(checkpoint=1), calls=50
    ),
    Contestant(_card("flow", "flow matching", "fully trained, 50 Euler steps"), _flow(), calls=50),
    Contestant(_card("flow-2-steps", "flow matching", "fully trained, 2 Euler steps"), _flow(steps=2), calls=2),
    Contestant(
        _card("flow-guided", "flow matching", "fully trained, guidance scale 5"), _flow(guidance=5.0), calls=100
    ),
    Contestant(_card("ddpm", "diffusion", "200 ancestral steps"), _ddpm, calls=200),
    Contestant(_card("replay", "cautionary", "replays its training images"), _replay),
    Contestant(_card("three-digits", "cautionary", "draws only 0, 1 and 7"), _three_digits),
)
