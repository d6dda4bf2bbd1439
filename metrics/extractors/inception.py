"""FID's Inception v3 as an extractor: which layer, which preprocessing, which weights (Heusel et al. 2017, §3).

The network itself is in `inception_network`. Neither it nor torch is imported before there is a picture to extract: a
run whose features are all in the cache needs only the name of the extractor and the digest of its weights.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import UsageError
from paragone.metrics.protocols import INCEPTION_PROTOCOLS, Protocol, protocol_named
from paragone.metrics.weights import INCEPTION, find_weights

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from paragone.metrics.extractors.inception_network import InceptionNetwork

SIZE_PX = 299
N_LOGITS = 1008
POOL = "2048"
SFID_CHANNELS = 7
# Names as torch-fidelity has them, and their widths. `sfid` is the spatial layer of sFID (Nash et al. 2021,
# arXiv:2103.03841) as guided-diffusion takes it: the first 7 channels of mixed_6's 1×1 branch, row by row.
LAYERS = {
    "64": 64,
    "192": 192,
    "768": 768,
    "sfid": 17 * 17 * SFID_CHANNELS,
    POOL: 2048,
    "logits_unbiased": N_LOGITS,
    "logits": N_LOGITS,
}
EXPECTED = f"the weights of the 2015-12-05 Inception network, {INCEPTION.file_name}"


def load(*, weights: Path | None, protocol: str, variant: str = POOL) -> Inception:
    """The extractor `inception`, or `inception:LAYER` for the layer `variant`.

    Raises `UsageError` for an unknown layer or protocol and `MissingWeights` when its file is not on this machine. The
    file is read by the extractor's `to`, which raises `InputError` when it is damaged or something else.
    """
    if variant not in LAYERS:
        close = difflib.get_close_matches(variant.lower(), LAYERS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"inception:{variant}: no such layer; {hint}it has {', '.join(LAYERS)}")
    chosen = protocol_named(protocol, INCEPTION_PROTOCOLS, extractor="inception")
    found = find_weights(INCEPTION, weights)
    network = partial(_read, found.path)
    suffix = "" if variant == POOL else f":{variant}"
    if found.known:
        return Inception(
            network, name=f"{INCEPTION.name}{suffix}", fingerprint=found.sha256, protocol=chosen, layer=variant
        )
    return Inception(
        network,
        name=f"inception@{found.sha256[:12]}{suffix}",
        fingerprint=found.sha256,
        protocol=chosen,
        layer=variant,
        warnings=(
            f"{found.path}: its sha256 is {found.sha256}, which is not that of {INCEPTION.file_name}: results bear the "
            "digest and are no FID",
        ),
    )


def _read(path: Path) -> InceptionNetwork:
    import torch

    from paragone.metrics.extractors.inception_network import InceptionNetwork
    from paragone.metrics.extractors.state import fill, read_state

    with torch.device("meta"):  # its random weights would only be thrown away
        network = InceptionNetwork()
    fill(network, read_state(path, expected=EXPECTED), path, expected=EXPECTED, assign=True)
    return network


class Inception:
    """One layer's activations, averaged over the picture but for `sfid`; by default 2048 of the last pooling layer.

    From layer 2048 on there are also the 1008 logits without bias, as the Inception Score takes them. `network` is
    called when it is needed, once.
    """

    def __init__(
        self,
        network: Callable[[], InceptionNetwork],
        *,
        name: str,
        fingerprint: str,
        protocol: Protocol = INCEPTION_PROTOCOLS[0],
        layer: str = POOL,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.warnings = warnings
        self.fingerprint = fingerprint
        self.protocol = protocol.name
        self.pixels = protocol
        self.resize = f"{protocol.resize}-{SIZE_PX}"
        self.dim = LAYERS[layer]
        self.has_logits = self.dim in (LAYERS[POOL], N_LOGITS)
        self._layer = layer
        self._make = network
        self._device: torch.device | None = None

    @cached_property
    def _plain(self) -> InceptionNetwork:
        return self._make()

    @cached_property
    def _network(self) -> InceptionNetwork:
        """Made when the first batch comes, on the device where it is to stay."""
        from paragone.metrics.extractors.inception_network import made_fast

        fast: InceptionNetwork = made_fast(self._plain).to(self._device or "cpu")
        return fast

    def to(self, device: torch.device) -> None:
        """Read the weights, unless that is done, and move the network to `device`; raises `InputError`."""
        assert self._plain is not None
        if device != self._device:
            self.__dict__.pop("_network", None)
        self._device = device

    def prepare(self, image: NDArray[np.uint8]) -> Tensor:
        """RGB uint8 [H, W, 3] → float32 [3, 299, 299], normalised."""
        from paragone.metrics.extractors.resize import RESIZERS, normalised

        return normalised(RESIZERS[self.pixels.resize](image, SIZE_PX), self.pixels.mean, self.pixels.std)

    def __call__(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        """[N, 3, 299, 299] → features [N, D] and, from the pooling layer on, logits [N, 1008]."""
        import torch

        images = batch.contiguous(memory_format=torch.channels_last)
        if not self.has_logits:
            return self._network.activations(images, self._layer), None
        pooled = self._network.activations(images, POOL)
        logits = pooled @ self._network.fc.weight.T
        if self._layer == POOL:
            return pooled, logits
        return (logits + self._network.fc.bias if self._layer == "logits" else logits), logits
