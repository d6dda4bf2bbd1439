"""Which sets of pictures go through together, so that each picture is decoded once for all that is asked of it.

Every set goes through by itself, for all extractors and all measures of pixels; but where metrics of pairs are asked
for, the two sets go side by side. Pairs that lie in another order than the files are the exception: their reference
pictures are read once more, in the order of the generated ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from paragone.data.progress import Progress, silent
from paragone.metrics.distributed import ALONE, Ranks, go_through_together
from paragone.metrics.features import Extraction, ExtractionOptions, Seen, Stream
from paragone.metrics.inputs import Given
from paragone.metrics.pairs import Pairing
from paragone.metrics.picture_metrics import PARTNER, PictureMetric, look_of

if TYPE_CHECKING:
    from paragone.metrics.extractors.base import FeatureExtractor


class Found(NamedTuple):
    """By role, what each of its extractors made of it; and what was seen of pixels. Nothing but on the first rank."""

    extractions: Mapping[str, tuple[Extraction, ...]]
    seen: Seen


class _Way(NamedTuple):
    """Sets that go through side by side, with the role of each."""

    roles: tuple[str, ...]
    streams: tuple[Stream, ...]


def pass_through(
    sides: Mapping[str, Given],
    extractors: Mapping[str, Sequence[FeatureExtractor]],
    of_pixels: Sequence[PictureMetric],
    pairing: Pairing | None,
    options: ExtractionOptions,
    *,
    ranks: Ranks = ALONE,
    progress: Progress = silent,
) -> Found:
    """Take all that is wanted of the sides' pictures: by role, the extractors' features, and the measures of pixels."""
    streams = {
        role: Stream(side.pictures, tuple(extractors.get(role, ())))
        for role, side in sides.items()
        if side.pictures is not None
    }
    order = None if pairing is None else pairing.order
    extractions: dict[str, tuple[Extraction, ...]] = {}
    seen: Seen = {}
    for way in _ways(streams, order):
        look = look_of(of_pixels, [(role, one.source) for role, one in zip(way.roles, way.streams, strict=True)])
        if look is None and not any(stream.extractors for stream in way.streams):
            continue
        task = f"{' and '.join(way.roles)} {'features' if any(one.extractors for one in way.streams) else 'pixels'}"
        found = go_through_together(way.streams, options, task=task, look=look, ranks=ranks, progress=progress)
        extractions |= zip(way.roles, found.extractions, strict=ranks.first)
        seen |= found.seen
        if order is not None and PARTNER in way.roles:
            streams["reference"].source.adopt(order, *way.streams[way.roles.index(PARTNER)].source.findings())
    return Found(extractions, seen)


def _ways(streams: Mapping[str, Stream], order: Sequence[int] | None) -> list[_Way]:
    """`order`: the row of the reference that belongs to each generated one, where pairs are wanted."""
    if order is None:
        return [_Way((role,), (stream,)) for role, stream in streams.items()]
    reference, generated = streams["reference"], streams["generated"]
    others = [_Way((role,), (stream,)) for role, stream in streams.items() if role not in ("reference", "generated")]
    if list(order) == list(range(len(order))):
        return [_Way(("reference", "generated"), (reference, generated)), *others]
    partners = Stream(reference.source.part(order))
    return [_Way(("reference",), (reference,)), _Way(("generated", PARTNER), (generated, partners)), *others]
