"""The full demo's contestants beyond pictures: moving digits, edits inside a mask, and models that learn from models.

Each with the training run that it needs, as in `contestants` and `training`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from paragone.data.digits import Digits, load_digits_split
from paragone.data.generators.base import GeneratorAdapter
from paragone.data.progress import Progress
from paragone.data.records import GeneratorCard, Task
from paragone.demo.contestants import Contestant, DemoSettings
from paragone.demo.full_settings import full
from paragone.demo.training import Run, one_file, save_weights

if TYPE_CHECKING:
    from torch import Tensor

MIXED_SHARE = 0.5  # of real images in the training sets of a line that does not collapse
LINES = {"alone": 0.0, "mixed": MIXED_SHARE}  # of generations: how much of each training set is real


# ---- Training ------------------------------------------------------------------------------------------------------


def _train_autoencoder(models: Path, settings: DemoSettings, progress: Progress) -> None:
    from paragone.data.generators.reference.causal_video import train_autoencoder

    training, _ = load_digits_split(seed=settings.seed)
    steps = full(settings).autoencoder_steps
    weights = train_autoencoder(training, steps=steps, seed=settings.seed, progress=progress)
    save_weights(models / "causal-autoencoder.safetensors", weights, settings)


def _train_video(models: Path, settings: DemoSettings, progress: Progress) -> None:
    from paragone.data.generators.reference.video_flow import train_video_flow

    training, _ = load_digits_split(seed=settings.seed)
    ours = full(settings)
    kept = train_video_flow(
        training,
        load_weights(models / "causal-autoencoder.safetensors"),
        steps=ours.video_steps[-1],
        keep=ours.video_steps,
        n_clips=ours.n_clips,
        seed=settings.seed,
        progress=progress,
    )
    for step, weights in kept.items():
        save_weights(models / f"video-flow-{step}.safetensors", weights, settings)


def _breed(line: str) -> Callable[[Path, DemoSettings, Progress], None]:
    def run(models: Path, settings: DemoSettings, progress: Progress) -> None:
        from paragone.data.generators.reference.flow_matching import FlowMatching, train_flow_matching
        from paragone.data.generators.reference.self_consuming import breed

        ours = full(settings)
        real, _ = load_digits_split(seed=settings.seed)
        weights: dict[int, dict[str, Tensor]] = {}

        def train(training: Digits, number: int) -> GeneratorAdapter:
            steps, seed = ours.generation_steps, settings.seed + 1 + number
            weights[number] = train_flow_matching(training, steps=steps, seed=seed)[steps]
            return FlowMatching(f"{line}-{number}", weights[number])

        n, share = ours.n_generations, LINES[line]
        breed(train, real, n=n, real_share=share, seed=settings.seed, task=f"breed {line}", progress=progress)
        for number, of_generation in weights.items():
            save_weights(models / generation_file(line, number), of_generation, settings)

    return run


def generation_file(line: str, number: int) -> str:
    """The weights of one generation of a line."""
    return f"generation-{line}-{number}.safetensors"


def _generation_files(line: str) -> Callable[[DemoSettings], list[str]]:
    return lambda settings: [generation_file(line, number) for number in range(full(settings).n_generations)]


RUNS = {
    "causal-autoencoder": Run(_train_autoencoder, one_file("causal-autoencoder")),
    "video-flow": Run(
        _train_video,
        lambda settings: [f"video-flow-{step}.safetensors" for step in full(settings).video_steps],
        needs=("causal-autoencoder",),
    ),
    **{f"generations-{line}": Run(_breed(line), _generation_files(line)) for line in LINES},
}


# ---- Contestants ---------------------------------------------------------------------------------------------------

Build = Callable[[str, Path, DemoSettings], GeneratorAdapter]


def _video(*, checkpoint: int = 1, steps: int = 25, keep_anchor: bool = True) -> Build:
    def build(name: str, models: Path, settings: DemoSettings) -> GeneratorAdapter:
        from paragone.data.generators.reference.video_flow import VideoFlow

        weights = load_weights(models / f"video-flow-{full(settings).video_steps[checkpoint]}.safetensors")
        autoencoder = load_weights(models / "causal-autoencoder.safetensors")
        return VideoFlow(name, weights, autoencoder, steps=steps, keep_anchor=keep_anchor)

    return build


def _frozen(name: str, models: Path, settings: DemoSettings) -> GeneratorAdapter:
    from paragone.data.generators.reference.careless import Frozen

    return Frozen(name)


def _shuffled(name: str, models: Path, settings: DemoSettings) -> GeneratorAdapter:
    from paragone.data.generators.reference.careless import Shuffled

    return Shuffled(name, _video()(name, models, settings))


def _inpainting(*, passes: int = 1, guidance: float = 1.0) -> Build:
    def build(name: str, models: Path, settings: DemoSettings) -> GeneratorAdapter:
        from paragone.data.generators.reference.inpainting import Inpainting

        return Inpainting(name, _flow_weights(models, settings), passes=passes, guidance=guidance)

    return build


def _unedited(name: str, models: Path, settings: DemoSettings) -> GeneratorAdapter:
    from paragone.data.generators.reference.careless import Unedited

    return Unedited(name)


def _mask_blind(name: str, models: Path, settings: DemoSettings) -> GeneratorAdapter:
    from paragone.data.generators.reference.careless import MaskBlind
    from paragone.data.generators.reference.flow_matching import FlowMatching

    return MaskBlind(name, FlowMatching(name, _flow_weights(models, settings)))


def _last_generation(line: str) -> Build:
    def build(name: str, models: Path, settings: DemoSettings) -> GeneratorAdapter:
        from paragone.data.generators.reference.flow_matching import FlowMatching

        number = full(settings).n_generations - 1
        return FlowMatching(name, load_weights(models / generation_file(line, number)))

    return build


def _card(name: str, family: str, description: str) -> GeneratorCard:
    return GeneratorCard(name, description, family, open_weights=True, licence="Apache-2.0")


def _clips(name: str, family: str, description: str, build: Build) -> Contestant:
    return Contestant(_card(name, family, description), build, Task.IMAGE_TO_VIDEO)


def _edits(name: str, family: str, description: str, build: Build) -> Contestant:
    return Contestant(_card(name, family, description), build, Task.IMAGE_EDITING)


CONTESTANTS = (
    Contestant(_card("alone", "flow matching", "learnt from models only, for generations"), _last_generation("alone")),
    Contestant(_card("mixed", "flow matching", "learnt from models and real data"), _last_generation("mixed")),
    _clips("moving", "flow matching", "causal latent, 25 steps", _video()),
    _clips("moving-early", "flow matching", "a tenth of the training", _video(checkpoint=0)),
    _clips("moving-1-step", "flow matching", "1 Euler step", _video(steps=1)),
    _clips("moving-loose", "flow matching", "its own first frame, not the given one", _video(keep_anchor=False)),
    _clips("frozen", "cautionary", "repeats the first frame", _frozen),
    _clips("shuffled", "cautionary", "the frames of moving in another order", _shuffled),
    _edits("inpaint", "flow matching", "known pixels replaced at each step", _inpainting()),
    _edits("repaint", "flow matching", "each step taken 5 times", _inpainting(passes=5)),
    _edits("inpaint-guided", "flow matching", "guidance scale 3", _inpainting(guidance=3.0)),
    _edits("unedited", "cautionary", "returns the source", _unedited),
    _edits("mask-blind", "cautionary", "draws the digit anew, mask or not", _mask_blind),
)


def _flow_weights(models: Path, settings: DemoSettings) -> dict[str, Tensor]:
    return load_weights(models / f"flow-matching-{settings.checkpoints[-1]}.safetensors")


def load_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a safetensors file."""
    from safetensors.torch import load_file

    weights: dict[str, Tensor] = load_file(path)
    return weights
