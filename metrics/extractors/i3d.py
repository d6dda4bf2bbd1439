"""FVD's I3D as an extractor (Unterthiner et al. 2018, arXiv:1812.01717): 400 logits of a clip, in either of its files.

`i3d_pretrained_400.pt` is a state dict, read into the network of `i3d_network`. `i3d_torchscript.pt` is a program with
weights of its own: it is run as it is, so take it from people you trust. Which of the two a file is, its content says.
"""

from __future__ import annotations

import hashlib
import zipfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import InputError, UsageError
from paragone.metrics.clip_protocols import I3D_PROTOCOLS
from paragone.metrics.extractors.base import FrameCount
from paragone.metrics.protocols import Protocol, protocol_named
from paragone.metrics.weights import named_weights

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SIZE_PX = 224
N_LOGITS = 400
LEAST_FRAMES = 10  # with fewer, the tools refuse
STATE, SCRIPT = "i3d_pretrained_400.pt", "i3d_torchscript.pt"
EXPECTED = f"the weights of I3D on Kinetics-400, {STATE}"
# Git's names of the two files as common_metrics_on_video_quality 5f75173 publishes them; no sha256 is published.
KNOWN_BLOBS = {
    "a867b87ac3a9097d200598b1d48a1b890d8ec744": "i3d-pretrained-400",
    "93daef59c7ae0e9e8f76225521407e60cbafa6aa": "i3d-torchscript",
}


def load(*, weights: Path | None, protocol: str) -> I3D:
    """The extractor `i3d` of a named file; raises `MissingWeights`, `InputError` or `UsageError`."""
    chosen = protocol_named(protocol, I3D_PROTOCOLS, extractor="i3d")
    found = named_weights(
        weights, extractor="i3d", wanted=f"{STATE} (a state dict) or {SCRIPT} (TorchScript)", instead="gist3d"
    )
    script = _is_script(found.path)
    if chosen.resize == "inside" and not script:
        raise UsageError(
            f"--protocol {chosen.name}: the graph of {SCRIPT} resizes by itself, and {found.path} is no TorchScript "
            "archive; name that file, or choose another protocol"
        )
    known = KNOWN_BLOBS.get(_git_blob(found.path))
    name = known or f"i3d{'-script' if script else ''}@{found.sha256[:12]}"
    return I3D(found.path, script=script, name=name, fingerprint=found.sha256, protocol=chosen, known=known is not None)


class I3D:
    """400 logits, averaged over time. The file is read by `to`, which raises `InputError` for another network's."""

    samples: Literal["clips"] = "clips"
    frames = FrameCount(LEAST_FRAMES)
    has_logits = False
    dim = N_LOGITS

    def __init__(
        self, path: Path, *, script: bool, name: str, fingerprint: str, protocol: Protocol, known: bool = False
    ) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.protocol = protocol.name
        self.pixels = protocol
        self.resize = protocol.resize if protocol.resize == "inside" else f"{protocol.resize}-{SIZE_PX}"
        self.warnings: tuple[str, ...] = ()
        if not known:
            self.warnings = (
                f"{path}: not one of the published files of I3D; results bear its digest {fingerprint[:12]}",
            )
        # A graph that resizes by itself takes clips of one size at a time.
        self.one_at_a_time = protocol.resize == "inside"
        self._path, self._script = path, script
        self._device: torch.device | None = None

    @cached_property
    def _plain(self) -> Any:
        import torch

        from paragone.metrics.extractors.state import fill, read_archive, read_state

        if self._script:
            return read_archive(self._path).eval()
        from paragone.metrics.extractors.i3d_network import I3DNetwork

        with torch.device("meta"):
            network = I3DNetwork()
        fill(network, read_state(self._path, expected=EXPECTED), self._path, expected=EXPECTED, assign=True)
        return network

    @cached_property
    def _network(self) -> Any:
        """Made when the first batch comes, on the device where it is to stay."""
        from paragone.metrics.extractors.i3d_network import made_fast

        network = self._plain if self._script else made_fast(self._plain)
        return network.to(self._device or "cpu")

    def to(self, device: torch.device) -> None:
        """Read the weights, unless that is done, and move the network to `device`; raises `InputError`."""
        assert self._plain is not None
        if device != self._device:
            self.__dict__.pop("_network", None)
        self._device = device

    def prepare(self, frames: NDArray[np.uint8]) -> Tensor:
        """RGB uint8 [T, H, W, 3] → float32 [3, T, 224, 224] in -1..1; under `styleganv` its own size, in 0..255."""
        from paragone.metrics.extractors.clip_resize import prepared_clip

        return prepared_clip(frames, self.pixels.resize, SIZE_PX, self.pixels.mean, self.pixels.std)

    def __call__(self, batch: Tensor) -> tuple[Tensor, None]:
        """[N, 3, T, H, W] → logits [N, 400]."""
        if not self._script:
            return self._network(batch), None
        inside = self.pixels.resize == "inside"
        given = batch.byte() if inside else batch
        try:
            found: Tensor = self._network(x=given, rescale=inside, resize=inside, return_features=True)
        except (RuntimeError, TypeError) as error:
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise InputError(f"{self._path}: does not work as {SCRIPT} does ({reason[0]})") from error
        return found.float(), None


def _is_script(path: Path) -> bool:
    """Whether a file is a TorchScript archive: one has code in it."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _git_blob(path: Path) -> str:
    """The name that git gives a file of this content."""
    total = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            total.update(piece)
    return total.hexdigest()
