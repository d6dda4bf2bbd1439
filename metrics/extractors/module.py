"""Any network as an extractor, with its preprocessing declared: a torch module, a TorchScript archive or an ONNX file.

In a package of one's own, `build = from_module(make_network, …)` makes `--features package:build` work. A file stands
by itself, `--features network.pt` or `network.onnx`, when the preprocessing is declared beside it in `network.pt.json`:
`{"size": 224, "resize": "clean", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}`. With `"frames": 16` the
network is one of clips, [N, 3, 16, S, S] → [N, D]. A TorchScript archive and an ONNX file are programs: run those of
people you trust.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paragone.data.errors import InputError, PluginError, UsageError
from paragone.data.files import file_digest
from paragone.data.records import fingerprint
from paragone.metrics.extractors.base import FrameCount, LoadExtractor, refuse_weights
from paragone.metrics.extractors.clip_resize import CLIP_RESIZERS, INSIDE, prepared_clip
from paragone.metrics.extractors.resize import RESIZERS, normalised
from paragone.metrics.extractors.state import fill, read_archive, read_state, state_digest
from paragone.metrics.protocols import PARAGONE, Channels, check_protocol

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a picture becomes input: resized to size×size by a name of `RESIZERS`, divided by 255, (v - mean) / std.

    A network of clips says how many `frames` it takes, and `resize` is a name of `CLIP_RESIZERS`.
    """

    size: int
    mean: Channels = (0.0, 0.0, 0.0)
    std: Channels = (1.0, 1.0, 1.0)
    resize: str = "clean"
    frames: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or self.size < 1:
            raise UsageError(f"preprocessing: size is {self.size!r}, not a number of pixels")
        if self.frames is not None and (not isinstance(self.frames, int) or self.frames < 1):
            raise UsageError(f"preprocessing: frames is {self.frames!r}, not a number of frames")
        resizers = list(RESIZERS) if self.frames is None else [name for name in CLIP_RESIZERS if name != INSIDE]
        if self.resize not in resizers:
            raise UsageError(f"preprocessing: resize is {self.resize!r}; use one of {', '.join(resizers)}")
        for what, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) != 3 or not np.isfinite(numbers).all():
                raise UsageError(f"preprocessing: {what} is {list(numbers)}, not three numbers")
        if min(self.std) <= 0:
            raise UsageError(f"preprocessing: std is {list(self.std)}, and must be positive")


def from_module(build: Callable[[], nn.Module], *, name: str, preprocessing: Preprocessing) -> LoadExtractor:
    """A load function for the network that `build()` makes: [N, 3, S, S], of clips [N, 3, T, S, S], → [N, D].

    `--weights FILE` fills it with a state dict. Results are called NAME@ and the digest of its parameters.
    """

    def load(*, weights: Path | None, protocol: str) -> ModuleExtractor:
        check_protocol(protocol, [PARAGONE], extractor=name)
        network = build()
        if weights is not None:
            expected = f"the weights of {name}"
            fill(network, read_state(weights, expected=expected), weights, expected=expected)
        network.eval().requires_grad_(False)
        return ModuleExtractor(network, network, preprocessing, name=name, digest=state_digest(network))

    return load


def load_file(path: Path, *, weights: Path | None, protocol: str) -> ModuleExtractor:
    """The extractor in a TorchScript archive or an ONNX file, with its preprocessing in PATH.json."""
    refuse_weights(weights, extractor=str(path))
    check_protocol(protocol, [PARAGONE], extractor=str(path))
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    preprocessing = _declared(path.with_name(f"{path.name}.json"))
    if path.suffix.lower() == ".onnx":
        network, forward = None, _onnx_forward(path)
    else:
        network = read_archive(path)
        network.eval()
        for parameter in network.parameters():  # requires_grad_ of the whole is not to be had here
            parameter.requires_grad_(False)
        forward = network
    return ModuleExtractor(network, forward, preprocessing, name=path.stem, digest=file_digest(path))


class ModuleExtractor:
    """A network behind declared preprocessing."""

    protocol = PARAGONE
    has_logits = False
    warnings: tuple[str, ...] = ()

    def __init__(
        self, network: nn.Module | None, forward: Forward, preprocessing: Preprocessing, *, name: str, digest: str
    ) -> None:
        declared: list[Any] = [
            preprocessing.size,
            preprocessing.resize,
            list(preprocessing.mean),
            list(preprocessing.std),
        ]
        self.samples: Literal["pictures", "clips"] = "pictures"
        if preprocessing.frames is not None:
            self.samples = "clips"
            self.frames = FrameCount(preprocessing.frames, preprocessing.frames)
            declared.append(preprocessing.frames)
        self.fingerprint = fingerprint({"network": digest, "preprocessing": declared})
        self.name = f"{name}@{self.fingerprint[:12]}"
        self.resize = f"{preprocessing.resize}-{preprocessing.size}"
        self._network = network
        self._forward = forward
        self._preprocessing = preprocessing
        self.dim = self._measured_dim()

    def to(self, device: torch.device) -> None:
        """Move the network to `device`; an ONNX network stays on the CPU."""
        if self._network is not None:
            self._network.to(device)

    def prepare(self, image: NDArray[np.uint8]) -> Tensor:
        """RGB uint8 [H, W, 3] → float32 [3, size, size], of clips [T, H, W, 3] → [3, T, size, size], as declared."""
        wanted = self._preprocessing
        if wanted.frames is not None:
            mean, std = (tuple(255 * value for value in values) for values in (wanted.mean, wanted.std))
            return prepared_clip(image, wanted.resize, wanted.size, mean, std)  # type: ignore[arg-type]
        planes = RESIZERS[self._preprocessing.resize](image, self._preprocessing.size) / 255
        return normalised(planes, self._preprocessing.mean, self._preprocessing.std)

    def __call__(self, batch: Tensor) -> tuple[Tensor, None]:
        """[N, 3, size, size] → features [N, D]."""
        return self._forward(batch), None

    def _measured_dim(self) -> int:
        """D, from a run on two black pictures or clips; raises `PluginError` unless [2, D] comes out."""
        size, frames = self._preprocessing.size, self._preprocessing.frames
        black = self.prepare(np.zeros((*(() if frames is None else (frames,)), size, size, 3), np.uint8))
        try:
            with torch.inference_mode():
                found = self._forward(torch.stack([black, black]))
        except Exception as error:  # foreign code raises what it likes
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise PluginError(f"{self.name}: fails on {self.samples} of {size}×{size} pixels: {reason[0]}") from error
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != 2:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise PluginError(
                f"{self.name}: gives {shape} for two {self.samples}, not [2, D]; pool or flatten its output"
            )
        return int(found.shape[1])


def _declared(path: Path) -> Preprocessing:
    """The preprocessing in a JSON file; raises `InputError` that shows how to write one."""
    example = '{"size": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "resize": "clean"}'
    if not path.is_file():
        raise InputError(f"{path}: no such file; it has to declare the network's preprocessing, such as {example}")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        for key in {"mean", "std"} & set(fields):
            fields[key] = tuple(map(float, fields[key]))
        return Preprocessing(**fields)
    except (ValueError, TypeError, AttributeError, UsageError) as error:
        raise InputError(f"{path}: declares no preprocessing ({error}); write something like {example}") from error


def _onnx_forward(path: Path) -> Forward:
    """The first output of an ONNX network with one input."""
    try:
        onnxruntime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise PluginError(f"{path}: ONNX files need the package onnxruntime; install it") from error
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime has an exception of its own for every kind of damage
        raise InputError(f"{path}: not an ONNX network ({str(error).splitlines()[0]})") from error
    name = session.get_inputs()[0].name

    def forward(batch: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: batch.cpu().numpy()})[0])

    return forward
