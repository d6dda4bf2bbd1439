"""Does an edit move a picture as its captions say? CLIP's directional similarity (Gal et al. 2021, arXiv:2108.00946).

cos(image of the result - image of the source, text of the target - text of the source), all four of unit length. It is
undefined where either difference is zero: an edit that changed nothing, or two captions that say the same, have a
reason and no value.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from paragone.data.edits import read_picture
from paragone.data.errors import UsageError
from paragone.data.progress import Progress, silent
from paragone.metrics.alignment import embed_captions
from paragone.metrics.item_measures import Missing, Value

if TYPE_CHECKING:
    from paragone.metrics.edit_metrics import Looked
    from paragone.metrics.extractors.clip import Clip

Array = NDArray[np.float64]
LEAST = 1e-4  # length of a difference of unit vectors that has no direction
AT_ONCE = 16


class Directions:
    """The CLIP that embeds pictures and captions; loaded at once, so that a missing file is told first."""

    def __init__(self, features: str, weights: Path | None, device: str) -> None:
        from paragone.metrics.devices import choose_device
        from paragone.metrics.features import open_extractor

        if features.partition(":")[0] != "clip":
            raise UsageError(f"directional_similarity: needs a CLIP, and {features} is none; use --features clip:MODEL")
        self.clip: Clip = open_extractor(features, weights=weights)  # type: ignore[assignment]
        self.device = choose_device(device)
        self.clip.to(self.device)
        self.name = self.clip.name
        self.warnings = list(self.clip.warnings)
        self.signature = [f"ext:{self.clip.name}", f"protocol:{self.clip.protocol}", f"resize:{self.clip.resize}"]

    def pictures(self, paths: Sequence[Path], progress: Progress) -> dict[Path, Array]:
        """Unit embeddings by path; each file is read once."""
        import torch

        wanted = list(dict.fromkeys(paths))
        found: dict[Path, Array] = {}
        for start in range(0, len(wanted), AT_ONCE):
            batch = wanted[start : start + AT_ONCE]
            with torch.inference_mode():
                inputs = torch.stack([self.clip.prepare(read_picture(path)) for path in batch]).to(self.device)
                rows = self.clip(inputs)[0].double().cpu().numpy()
            found |= dict(zip(batch, _unit(rows), strict=True))
            progress("pictures through CLIP", start + len(batch), len(wanted))
        return found

    def captions(self, texts: Sequence[str]) -> dict[str, Array]:
        """Unit embeddings by text."""
        wanted = list(dict.fromkeys(texts))
        embedded = embed_captions(self.clip, wanted)
        if embedded.cut:
            self.warnings.append(
                f"directional_similarity: {len(embedded.cut):,} captions are longer than the context of "
                f"{self.clip.model}; their last words were not seen, first {wanted[embedded.cut[0]]!r}"
            )
        return dict(zip(wanted, _unit(embedded.embeddings), strict=True))


def directional_similarity(
    directions: Directions, looked: Sequence[Looked], *, progress: Progress = silent
) -> list[Value]:
    """One value an edit, or the reason why it has none."""
    reasons = [_obstacle(one) for one in looked]
    usable = [one.edit for one, reason in zip(looked, reasons, strict=True) if reason is None]
    pictures = directions.pictures([path for edit in usable for path in (edit.source, edit.result)], progress)
    texts = directions.captions([str(text) for one in usable for text in (one.source_caption, one.target_caption)])
    values: list[Value] = []
    for one, reason in zip(looked, reasons, strict=True):
        edit = one.edit
        if reason is not None:
            values.append(reason)
            continue
        seen = pictures[edit.result] - pictures[edit.source]
        asked = texts[str(edit.target_caption)] - texts[str(edit.source_caption)]
        values.append(direction(seen, asked))
    return values


def direction(seen: Array, asked: Array) -> Value:
    """Cosine of two differences [D] of unit vectors."""
    lengths = float(np.linalg.norm(seen)), float(np.linalg.norm(asked))
    if lengths[0] < LEAST:
        return Missing("the same to CLIP before and after")
    if lengths[1] < LEAST:
        return Missing("captions that say the same to CLIP")
    return float(seen @ asked / (lengths[0] * lengths[1]))


def _obstacle(looked: Looked) -> Missing | None:
    edit = looked.edit
    if not (edit.source_caption and edit.target_caption):
        return Missing("no captions of source and target")
    if edit.source_caption.casefold() == edit.target_caption.casefold():
        return Missing("equal captions of source and target")
    if not isinstance(looked.pixels, Missing) and not looked.pixels.changed.any():
        return Missing("changed nothing")
    return None


def _unit(rows: Array) -> Array:
    unit: Array = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return unit
