"""Does a picture show what its caption says? CLIPScore (Hessel et al. 2021, arXiv:2104.08718, eq. 1).

w · max(cos(image, caption), 0) of two CLIP embeddings. The paper takes w = 2.5 and puts "A photo depicts" before the
caption; torchmetrics and many papers take w = 100 and the bare caption. The two are different numbers of different
captions, so a result says which it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paragone.data.errors import InputError, TooFewSamples, UsageError
from paragone.data.images import ImageSource, read_images
from paragone.data.progress import Progress, silent
from paragone.metrics.estimates import clustered_error

if TYPE_CHECKING:
    from paragone.metrics.extractors.clip import Clip
    from paragone.metrics.features import ExtractionOptions

CAPTIONS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class ClipScoreVariant:
    """A convention: the weight w, and what is put before each caption."""

    weight: float
    prefix: str


CLIP_SCORE_VARIANTS = {
    "hessel-2021": ClipScoreVariant(2.5, "A photo depicts "),
    "torchmetrics": ClipScoreVariant(100.0, ""),
}
DEFAULT_VARIANT = "hessel-2021"


@dataclass(frozen=True, slots=True)
class ClipScore:
    """`values` [N], one a pair, in 0..w; their mean; its standard error (None for a single pair or group)."""

    mean: float
    standard_error: float | None
    values: NDArray[np.float64]
    variant: str


@dataclass(frozen=True, slots=True)
class CaptionEmbeddings:
    """`embeddings` [N, D], and the indices of captions that did not fit and were cut before their end token."""

    embeddings: NDArray[np.float64]
    cut: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ClipScoreReport:
    """A score with the extractor's name and what a reader should know."""

    score: ClipScore
    extractor: str
    cut: tuple[int, ...]
    warnings: tuple[str, ...]


def clip_score(
    image_embeddings: ArrayLike,
    caption_embeddings: ArrayLike,
    *,
    variant: str = DEFAULT_VARIANT,
    groups: Sequence[str] | None = None,
) -> ClipScore:
    """CLIPScore of pairs: row i of one [N, D] with row i of the other; embeddings need not be normalised.

    `groups`: what each pair belongs to, such as its prompt. Pairs of a group are alike, so the standard error is then
    that of groups drawn at random, each with all its pairs.

    Raises `InputError` for shapes that differ, numbers that are not finite and vectors of length zero, which have no
    direction, and `TooFewSamples` for no pairs.
    """
    weight = _variant(variant).weight
    images, captions = (np.asarray(each, dtype=np.float64) for each in (image_embeddings, caption_embeddings))
    if images.ndim != 2 or images.shape != captions.shape:
        raise InputError(f"clip score: embeddings {images.shape} and {captions.shape} are not pairs [N, D]")
    if len(images) == 0:
        raise TooFewSamples("clip score: no pairs of picture and caption")
    cosine = np.einsum("nd,nd->n", _directions(images, "picture"), _directions(captions, "caption"))
    values = weight * np.maximum(cosine, 0)
    error = clustered_error(values, range(len(values)) if groups is None else groups)
    return ClipScore(float(values.mean()), error, values, variant)


def embed_captions(clip: Clip, captions: Sequence[str], *, prefix: str = "") -> CaptionEmbeddings:
    """Embeddings of `captions` by the text half of the extractor `clip`.

    A caption that is longer than the model's context loses its last words but not its end token, where CLIP reads the
    embedding off; which ones were cut is returned. Raises `UsageError` when the model's tokenizer is not on this
    machine.
    """
    import open_clip
    import torch

    if "hf_tokenizer_name" in open_clip.get_model_config(clip.model)["text_cfg"]:
        raise UsageError(f"clip:{clip.model}: its tokenizer would have to be fetched from a hub; choose another model")
    tokenizer = open_clip.get_tokenizer(clip.model)
    texts = [prefix + caption for caption in captions]
    room = tokenizer.context_length - 2  # a start and an end token
    cut = tuple(index for index, text in enumerate(texts) if len(tokenizer.encode(text)) > room)
    rows = []
    device = next(clip.network.parameters()).device
    with torch.inference_mode():
        for start in range(0, len(texts), CAPTIONS_AT_ONCE):
            tokens = tokenizer(texts[start : start + CAPTIONS_AT_ONCE]).to(device)
            rows.append(clip.network.encode_text(tokens).double().cpu().numpy())
    return CaptionEmbeddings(np.concatenate(rows) if rows else np.empty((0, clip.dim)), cut)


def clip_score_of_pictures(
    pictures: str | Path | NDArray[np.uint8] | ImageSource,
    captions: Sequence[str],
    *,
    model: str = "ViT-L-14",
    weights: Path | None = None,
    variant: str = DEFAULT_VARIANT,
    options: ExtractionOptions | None = None,
    progress: Progress = silent,
) -> ClipScoreReport:
    """CLIPScore of pictures, in natural order of their names, with as many captions in the same order.

    `model`: a name of open_clip. `weights`: its file; without it, OpenAI's from the cache. Raises `InputError` when the
    numbers differ, before anything is loaded, and what the extractor `clip` raises.
    """
    from paragone.metrics.extractors.clip import load
    from paragone.metrics.features import ExtractionOptions, extract_side

    chosen = _variant(variant)
    source = read_images(pictures)
    if len(source) != len(captions):
        raise InputError(f"{source.origin}: {len(source)} pictures, but {len(captions)} captions; give one for each")
    if empty := [index + 1 for index, caption in enumerate(captions) if not caption.strip()]:
        raise InputError(f"caption {empty[0]} is empty; every picture needs one")
    clip = load(weights=weights, protocol="paragone", variant=model)
    side = extract_side(source, clip, options or ExtractionOptions(), task="clip score", progress=progress).side
    assert side.features is not None
    found = embed_captions(clip, captions, prefix=chosen.prefix)
    warnings = [*clip.warnings, *source.warnings]
    if found.cut:
        warnings.append(
            f"{len(found.cut)} of {len(captions)} captions are longer than the model's context and were cut; the first "
            f"is caption {found.cut[0] + 1}"
        )
    score = clip_score(side.features, found.embeddings, variant=variant, groups=captions)
    return ClipScoreReport(score, clip.name, found.cut, tuple(warnings))


def _variant(name: str) -> ClipScoreVariant:
    if name not in CLIP_SCORE_VARIANTS:
        raise UsageError(f"clip score variant {name!r}: use {' or '.join(CLIP_SCORE_VARIANTS)}")
    return CLIP_SCORE_VARIANTS[name]


def _directions(vectors: NDArray[np.float64], what: str) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1)
    usable = np.isfinite(lengths) & (lengths > 0)
    if not usable.all():
        raise InputError(f"clip score: the embedding of {what} {int(np.argmin(usable)) + 1} has no direction")
    directions: NDArray[np.float64] = vectors / lengths[:, None]
    return directions
