"""How each tool turns a picture into a network's input, one row each: the table behind `--protocol`.

Two numbers may be compared when the network, its weights and the row's pixels (`resize`, `mean`, `std`) agree. Tools
whose pixels agree are therefore one protocol in results and statistics files, under the name of the first such row.
What a tool then does with the features (subsets, splits, divisors) is in `paragone.metrics.settings`. Every row was
read from the tool's source at the version named; nothing here imports torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from paragone.data.errors import UsageError

PARAGONE = "paragone"

Channels = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Protocol:
    """One tool's way with one network.

    `resize` is a key of `paragone.metrics.extractors.resize.RESIZERS`. A grey level v in 0..255 enters the network as
    (v - mean) / std.
    """

    name: str
    resize: str
    mean: Channels
    std: Channels
    source: str

    def same_pixels(self, other: Protocol) -> bool:
        """Whether a picture becomes the same input under both."""
        return (self.resize, self.mean, self.std) == (other.resize, other.mean, other.std)


def _grey(level: float) -> Channels:
    return (level, level, level)


# The 2015 TensorFlow graph subtracts 128 and divides by 128; pytorch-fid and its descendants map 0..255 to -1..1.
GRAPH = (_grey(128.0), _grey(128.0))
UNIT = (_grey(127.5), _grey(127.5))
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))

INCEPTION_PROTOCOLS = (
    Protocol(PARAGONE, "clean", *GRAPH, "Parmar, Zhang & Zhu 2022, arXiv:2104.11222, computed in torch"),
    Protocol("clean-fid", "clean", *GRAPH, "clean-fid 0.1.35, mode clean: resize.py, inception_torchscript.py"),
    Protocol("pytorch-fid", "bilinear", *UNIT, "pytorch-fid 0.3.0: inception.py"),
    Protocol("dgm-eval", "bilinear", *UNIT, "dgm-eval 2025-03: its Inception encoder, without --clean_resize"),
    Protocol("torch-fidelity", "tf1", *GRAPH, "torch-fidelity 0.4.0: feature_extractor_inceptionv3.py"),
    Protocol("adm", "tf1", *GRAPH, "guided-diffusion, evaluations/evaluator.py: the TensorFlow graph resizes"),
    Protocol("edm2", "tf1", *GRAPH, "edm2, calculate_metrics.py: the network of stylegan3 resizes inside"),
    Protocol("stylegan3", "tf1", *GRAPH, "stylegan3 (and stylegan2-ada), metrics/: the network resizes inside"),
    Protocol("torchmetrics", "bilinear-antialias", *GRAPH, "torchmetrics ≥ 1.8: image/fid.py with antialias=True"),
)
DINOV2_PROTOCOLS = (
    Protocol(PARAGONE, "clean", *IMAGENET, "bicubic with antialiasing in floating point, clamped"),
    Protocol("dgm-eval", "pil-bicubic", *IMAGENET, "dgm-eval 2025-03: Pillow on uint8, squashed to a square"),
    Protocol("edm2", "bicubic-antialias", *IMAGENET, "edm2, calculate_metrics.py: floating point, not clamped"),
    Protocol("torch-fidelity", "tf1", *IMAGENET, "torch-fidelity 0.4.0: feature_extractor_dinov2.py"),
)


def protocol_named(name: str, rows: tuple[Protocol, ...], *, extractor: str) -> Protocol:
    """The first row with the pixels of the row called `name`; raises `UsageError` with the nearest name."""
    check_protocol(name, [row.name for row in rows], extractor=extractor)
    asked = next(row for row in rows if row.name == name)
    return next(row for row in rows if row.same_pixels(asked))


def check_protocol(name: str, known: Iterable[str], *, extractor: str) -> None:
    """Raise `UsageError` when `name` is not among the protocols `known` to an extractor."""
    names = list(known)
    if name in names:
        return
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise UsageError(f"protocol {name!r}: {hint}the extractor {extractor} knows {', '.join(names)}")
