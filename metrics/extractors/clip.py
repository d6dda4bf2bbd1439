"""CLIP image embeddings by open_clip (Radford et al. 2021, arXiv:2103.00020), from a file of weights, offline.

What goes wrong in silence elsewhere is settled here. OpenAI's weights want QuickGELU, which nothing in the file says:
they are known by their digest and get it. Other files get what the model's name says (`ViT-B-32` GELU,
`ViT-B-32-quickgelu` QuickGELU), with a warning where both exist. Positions are never stretched to make a file fit.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.convert import convert_state_dict
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor, nn

from paragone.data.errors import InputError, UsageError
from paragone.metrics.extractors.state import fill, read_archive, read_state
from paragone.metrics.protocols import PARAGONE, check_protocol
from paragone.metrics.weights import OPENAI_CLIP, FoundWeights, find_weights, named_weights

DEFAULT = "ViT-L-14"
CMMD = "cmmd"
QUICK = "-quickgelu"
PREPROCESSING = ("mean", "std", "interpolation", "resize_mode", "fill_color")
OPENAI_NUMBERS = ("input_resolution", "context_length", "vocab_size")  # lie among the tensors of OpenAI's files


def load(*, weights: Path | None, protocol: str, variant: str = DEFAULT) -> Clip:
    """The extractor `clip:MODEL`, for any model name of open_clip.

    Raises `UsageError` for an unknown model or protocol, `MissingWeights` without a file (only OpenAI's models have a
    known one), `InputError` for a file of another model.
    """
    check_protocol(protocol, [PARAGONE, CMMD], extractor="clip")
    config = _model_config(variant)
    architecture = variant.removesuffix(QUICK)
    known = OPENAI_CLIP.get(architecture)
    if weights is None and known is not None:
        found = find_weights(known)
    else:
        found = named_weights(weights, extractor=f"clip:{variant}")
    by_openai = _openai_model(found, architecture)
    quick_gelu = by_openai or bool(config.get("quick_gelu"))
    with _quiet():
        network = open_clip.create_model(variant, pretrained=None, pretrained_text=False, force_quick_gelu=quick_gelu)
    _fill(network, found, variant, by_openai=by_openai)
    warnings = []
    if not by_openai and architecture == variant and variant + QUICK in open_clip.list_models():
        warnings.append(
            f"{found.path}: taken to be trained with GELU, as {variant} says; weights trained with QuickGELU (OpenAI's "
            f"and finetunes of them) give wrong features so and need --features clip:{variant}{QUICK}"
        )
    preprocessing, notice = _preprocessing(network, variant, by_openai=by_openai)
    return Clip(
        network,
        preprocessing,
        model=variant,
        name=f"clip:{architecture if by_openai else variant}@{found.sha256[:12]}",
        fingerprint=found.sha256,
        protocol=protocol,
        warnings=(*warnings, *notice),
    )


class Clip:
    """The projected image embedding, not normalised.

    Protocol `paragone` is the model's own preprocessing: Pillow on uint8, the shorter side to the model's size, the
    middle cut out. Protocol `cmmd` (Jayasumana et al. 2024, arXiv:2401.09603) cuts the middle out first.
    """

    has_logits = False

    def __init__(
        self,
        network: Any,
        preprocessing: PreprocessCfg,
        *,
        model: str,
        name: str,
        fingerprint: str,
        protocol: str = PARAGONE,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.model = model
        self.fingerprint = fingerprint
        self.protocol = protocol
        self.warnings = warnings
        self.network = network.float().eval().requires_grad_(False)
        size = preprocessing.size if isinstance(preprocessing.size, int) else preprocessing.size[0]
        self.resize = f"clip-{preprocessing.resize_mode}-{preprocessing.interpolation}-{size}"
        self._transform: Callable[[Image.Image], Tensor] = image_transform_v2(preprocessing, is_train=False)
        blank = self.prepare(np.zeros((size, size, 3), np.uint8))
        with torch.inference_mode():
            self.dim = int(self.network.encode_image(blank[None]).shape[1])

    def to(self, device: torch.device) -> None:
        """Move the network to `device`."""
        self.network.to(device)

    def prepare(self, image: NDArray[np.uint8]) -> Tensor:
        """RGB uint8 [H, W, 3] → float32 [3, size, size], normalised as the model was trained."""
        if self.protocol == CMMD:
            side = min(image.shape[:2])
            top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
            image = np.ascontiguousarray(image[top : top + side, left : left + side])
        return self._transform(Image.fromarray(image))

    def __call__(self, batch: Tensor) -> tuple[Tensor, None]:
        """[N, 3, size, size] → embeddings [N, D]."""
        embeddings: Tensor = self.network.encode_image(batch)
        return embeddings, None


def _model_config(variant: str) -> dict[str, Any]:
    """open_clip's description of a model; raises `UsageError` for an unknown one or one that needs the network."""
    models = open_clip.list_models()
    if variant not in models:
        close = difflib.get_close_matches(variant, models, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "`open_clip.list_models()` names them"
        raise UsageError(f"clip:{variant}: open_clip has no such model; {hint}")
    config: dict[str, Any] = open_clip.get_model_config(variant)
    if "hf_model_name" in config["text_cfg"]:
        raise UsageError(f"clip:{variant}: its text half is fetched from a hub when it is built; choose another model")
    return config


def _openai_model(found: FoundWeights, architecture: str) -> bool:
    """Whether the file is OpenAI's for `architecture`; raises `InputError` when it is OpenAI's for another."""
    for model, known in OPENAI_CLIP.items():
        if found.sha256 == known.sha256:
            if model != architecture:
                raise InputError(f"{found.path}: is OpenAI's {model}; use it with --features clip:{model}")
            return True
    return False


def _fill(network: nn.Module, found: FoundWeights, variant: str, *, by_openai: bool) -> None:
    expected = f"the weights of CLIP {variant}"
    if by_openai:
        # A TorchScript archive. Its code is not run, and its bytes are known by their digest.
        archived = read_archive(found.path).state_dict()
        state = {name: value for name, value in archived.items() if name not in OPENAI_NUMBERS}
    else:
        state = read_state(found.path, expected=expected)
        if all(name.startswith("module.") for name in state):
            state = {name.removeprefix("module."): value for name, value in state.items()}
        state = convert_state_dict(network, state)
    fill(network, state, found.path, expected=expected)


def _preprocessing(network: Any, variant: str, *, by_openai: bool) -> tuple[PreprocessCfg, tuple[str, ...]]:
    """How the model's published weights are fed; a warning when they are fed differently, as the file does not tell."""
    own = asdict(PreprocessCfg(**network.visual.preprocess_cfg))
    tags = ["openai"] if by_openai else open_clip.list_pretrained_tags_by_model(variant)
    configs = [open_clip.get_pretrained_cfg(variant, tag) or {} for tag in tags]
    ways = {
        tuple((key, _frozen(config[key]) if key in config else _frozen(own[key])) for key in PREPROCESSING)
        for config in configs
    }
    if len(ways) == 1:
        return PreprocessCfg(**{**own, **dict(ways.pop())}), ()
    notice = f"clip:{variant}: its published weights are preprocessed in {len(ways)} ways; open_clip's default is used"
    return PreprocessCfg(**own), (notice,) if ways else ()


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@contextmanager
def _quiet() -> Iterator[None]:
    """open_clip writes to the root logger that a model has no weights yet, and thereby sets logging up."""
    root = logging.getLogger()
    handlers, before = root.handlers[:], root.manager.disable
    root.handlers[:] = [logging.NullHandler()]
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
        root.handlers[:] = handlers
