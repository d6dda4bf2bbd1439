"""The lines of the full demo's studies: steps, guidance scales, and generations of models that learn from models."""

from __future__ import annotations

from pathlib import Path

from paragone.data.generators.base import GeneratorAdapter
from paragone.demo.clips_and_edits import LINES as GENERATIONS
from paragone.demo.clips_and_edits import generation_file, load_weights
from paragone.demo.contestants import DemoSettings
from paragone.demo.full_contestants import DISTILLED, student_file
from paragone.demo.full_settings import full
from paragone.demo.studies import Build, Line

STEPS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
SCALES = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0)


def _euler(steps: float, models: Path, settings: DemoSettings) -> GeneratorAdapter:
    from paragone.data.generators.reference.flow_matching import FlowMatching

    weights = load_weights(models / f"flow-matching-{settings.checkpoints[-1]}.safetensors")
    return FlowMatching("euler", weights, steps=int(steps))


def _ddim(steps: float, models: Path, settings: DemoSettings) -> GeneratorAdapter:
    from paragone.data.generators.reference.ddim import DDIM

    return DDIM("ddim", load_weights(models / "ddpm.safetensors"), steps=int(steps))


def _rectified(steps: float, models: Path, settings: DemoSettings) -> GeneratorAdapter:
    from paragone.data.generators.reference.flow_matching import FlowMatching

    return FlowMatching("rectified", load_weights(models / "rectified-flow.safetensors"), steps=int(steps))


def _distilled(steps: float, models: Path, settings: DemoSettings) -> GeneratorAdapter:
    from paragone.data.generators.reference.progressive_distillation import VelocityDiffusion

    return VelocityDiffusion("distilled", load_weights(models / student_file(int(steps))), steps=int(steps))


def _guided(scale: float, models: Path, settings: DemoSettings) -> GeneratorAdapter:
    from paragone.data.generators.reference.flow_matching import FlowMatching

    weights = load_weights(models / f"flow-matching-{settings.checkpoints[-1]}.safetensors")
    return FlowMatching("guided", weights, steps=25, guidance=scale)


def _generation(line: str) -> Build:
    def build(number: float, models: Path, settings: DemoSettings) -> GeneratorAdapter:
        from paragone.data.generators.reference.flow_matching import FlowMatching

        return FlowMatching(line, load_weights(models / generation_file(line, int(number))))

    return build


def _generations(settings: DemoSettings) -> tuple[float, ...]:
    return tuple(float(number) for number in range(full(settings).n_generations))


STEPS_LINES = (
    Line("steps", "flow, Euler", lambda settings: STEPS, _euler),
    Line("steps", "DDIM", lambda settings: STEPS, _ddim),
    Line("steps", "rectified flow", lambda settings: STEPS, _rectified),
    Line("steps", "distilled", lambda settings: tuple(map(float, reversed(DISTILLED))), _distilled),
)
GENERATION_NAMES = {"alone": "models only", "mixed": "half real"}
LINES = (
    *STEPS_LINES,
    Line("guidance", "flow", lambda settings: SCALES, _guided),
    *(Line("generations", GENERATION_NAMES[line], _generations, _generation(line)) for line in GENERATIONS),
)
