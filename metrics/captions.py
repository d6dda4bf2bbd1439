"""Captions of generated pictures from a file, and the metric `clip_score` of both as `compute_metrics` reports it.

Every picture has one caption and every caption a picture: what is missing, left over or empty is an error by name, for
a caption that slid to the next picture would make a plausible number.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paragone import __version__
from paragone.data.errors import InputError, UsageError
from paragone.data.generators.runner import MANIFEST, read_manifest
from paragone.data.images import ImageSource
from paragone.data.records import MetricResult
from paragone.data.table_files import SUFFIXES, read_text, rows_of
from paragone.metrics.alignment import CLIP_SCORE_VARIANTS, clip_score, embed_captions
from paragone.metrics.estimates import normal_estimate
from paragone.metrics.inputs import Given
from paragone.metrics.settings import ClipScoreSettings, checked, told

if TYPE_CHECKING:
    from paragone.metrics.extractors.clip import Clip

CLIP_SCORE = "clip_score"
KEYS = ("file", "prompt_id")  # what a row may name its picture by
TEXT = "prompt"


class CaptionScore(NamedTuple):
    """One picture with its caption and CLIPScore."""

    name: str
    prompt: str
    clip_score: float


# ---- Reading -------------------------------------------------------------------------------------------------------


def captions_of(path: str | os.PathLike[str], pictures: ImageSource, *, column: str = TEXT) -> tuple[str, ...]:
    """The caption of each of `pictures`, in their order.

    A .csv (with a header) or .jsonl file has `prompt`, or another `column`, and either `file`, the picture's name, or
    `prompt_id`, which the manifest of the pictures' folder leads to files. A .txt file has one caption a line, in the
    order of the pictures.
    Raises `InputError` that names a picture without a caption, a caption without a picture, or an empty one.
    """
    file = Path(path)
    text = read_text(file, what="prompts")
    names = [pictures.name(index) for index in range(len(pictures))]
    if file.suffix.lower() == ".txt":
        captions = text.splitlines()
        if len(captions) != len(names):
            raise InputError(f"{file}: {len(captions)} lines for the {len(names)} pictures of {pictures.origin}")
        _refuse_empty(file, enumerate(captions, start=1), TEXT)
        return tuple(caption.strip() for caption in captions)
    if file.suffix.lower() not in SUFFIXES:
        raise InputError(f"{file}: prompts are read from {', '.join(SUFFIXES)} and .txt")
    key, by_key = _keyed(file, text, column)
    if key == "prompt_id":
        by_key = _by_manifest(file, by_key, pictures)
    missing = [name for name in names if name not in by_key]
    if missing:
        raise InputError(
            f"{file}: {len(missing)} of {len(names)} pictures of {pictures.origin} have no prompt there, first "
            f"{missing[0]}"
        )
    left_over = sorted(by_key.keys() - set(names))
    if left_over:
        raise InputError(
            f"{file}: {len(left_over)} prompts are of no picture of {pictures.origin}, first {left_over[0]}"
        )
    return tuple(by_key[name] for name in names)


def _keyed(file: Path, text: str, column: str) -> tuple[str, dict[str, str]]:
    """The column that names pictures, and captions by it."""
    rows = rows_of(file, text, what="prompts")
    found: dict[str, str] = {}
    key = next((key for key in KEYS if rows and key in rows[0][1]), None)
    if key is None:
        raise InputError(f"{file}: its rows need the columns {column} and {' or '.join(KEYS)}")
    _refuse_empty(file, [(line, row.get(column)) for line, row in rows], column)
    for line, row in rows:
        name = row.get(key)
        if not isinstance(name, str) or not name:
            raise InputError(f"{file}: line {line}: no {key}")
        if name in found:
            raise InputError(f"{file}: line {line}: {key} {name} occurs twice")
        found[name] = row[column].strip()
    return key, found


def _refuse_empty(file: Path, captions: Any, column: str) -> None:
    for line, caption in captions:
        if not isinstance(caption, str) or not caption.strip():
            raise InputError(f"{file}: line {line}: the {column} is empty or missing; every picture needs one")


def _by_manifest(file: Path, by_prompt: Mapping[str, str], pictures: ImageSource) -> dict[str, str]:
    """Captions by file name; prompts whose samples the manifest knows as refused or failed have none."""
    folder = Path(pictures.origin)
    if not (folder / MANIFEST).is_file():
        raise InputError(f"{file}: names prompts by prompt_id, but {folder} has no {MANIFEST}; name files instead")
    entries = read_manifest(folder)
    unknown = sorted(by_prompt.keys() - {entry.prompt_id for entry in entries})
    if unknown:
        raise InputError(f"{file}: {len(unknown)} prompts are not in {folder / MANIFEST}, first {unknown[0]}")
    return {
        entry.file: by_prompt[entry.prompt_id]
        for entry in entries
        if entry.file is not None and entry.prompt_id in by_prompt
    }


# ---- The metric ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Captioned:
    """A checked request for clip_score: the generated pictures, a caption for each, and what embeds both."""

    given: Given
    captions: tuple[str, ...]
    clip: Clip
    settings: ClipScoreSettings


def check_captions(
    asked: bool, prompts: str | os.PathLike[str] | None, given: Given, values: Mapping[str, object]
) -> tuple[tuple[str, ...], ClipScoreSettings] | None:
    """Captions and settings of clip_score, or None when it is not `asked` for; raises before a picture is read."""
    if not asked:
        if prompts is not None:
            raise UsageError(f"--prompts {prompts}: no metric asked for uses them; add --metric {CLIP_SCORE}")
        return None
    if prompts is None:
        raise UsageError(f"{CLIP_SCORE}: needs the prompts of the pictures; name their file with --prompts")
    if given.pictures is None:
        raise UsageError(f"{CLIP_SCORE}: needs pictures, and {given.origin} is statistics")
    settings = checked(CLIP_SCORE, ClipScoreSettings(), values)
    assert isinstance(settings, ClipScoreSettings)
    return captions_of(prompts, given.pictures), settings


def clip_among(names: Sequence[str]) -> str:
    """The extractor of clip_score: the CLIP among those asked for, otherwise the default one."""
    clips = [name for name in names if name.partition(":")[0] == "clip"]
    if len(clips) > 1:
        raise UsageError(f"{CLIP_SCORE}: by which of {', '.join(clips)}? Name one of them")
    return clips[0] if clips else "clip"


def caption_result(
    request: Captioned, features: NDArray[np.float64]
) -> tuple[MetricResult, tuple[CaptionScore, ...], list[str]]:
    """The result with a standard error by prompts, each picture's score, lowest first, and warnings.

    `features` [N, D] are of the pictures that could be read.
    """
    pictures, clip, variant = request.given.pictures, request.clip, request.settings.variant
    assert pictures is not None
    by_name = dict(zip((pictures.name(index) for index in range(len(pictures))), request.captions, strict=True))
    names = pictures.kept_names
    captions = [by_name[name] for name in names]
    distinct = sorted(set(captions))
    of_distinct = embed_captions(clip, distinct, prefix=CLIP_SCORE_VARIANTS[variant].prefix)
    place = {caption: index for index, caption in enumerate(distinct)}
    places = np.array([place[caption] for caption in captions])
    score = clip_score(features, of_distinct.embeddings[places], variant=variant, groups=captions)
    cut = {distinct[index] for index in of_distinct.cut}
    n_cut = sum(caption in cut for caption in captions)
    warnings = []
    if n_cut:
        first = next(name for name, caption in zip(names, captions, strict=True) if caption in cut)
        warnings.append(
            f"{CLIP_SCORE}: {n_cut} of {len(names)} prompts are longer than the context of {clip.model}; their last "
            f"words were not seen, first that of {first}"
        )
    details = {"prompts": len(distinct), "cut": n_cut, **asdict(CLIP_SCORE_VARIANTS[variant]), "variant": variant}
    result = _result(request, score.mean, score.standard_error, len(names), distinct, details)
    order = np.argsort(score.values, kind="stable")
    scores = tuple(CaptionScore(names[index], captions[index], float(score.values[index])) for index in order)
    return result, scores, warnings


def _result(
    request: Captioned,
    mean: float,
    error: float | None,
    n: int,
    distinct: Sequence[str],
    details: dict[str, Any],
) -> MetricResult:
    clip = request.clip
    signature = [CLIP_SCORE, f"ext:{clip.name}", f"protocol:{clip.protocol}", f"resize:{clip.resize}"]
    signature += [f"set:{chosen}"] if (chosen := told(request.settings)) else []
    digest = hashlib.sha256(json.dumps(distinct).encode()).hexdigest()
    signature += [f"n:{n}", f"prompts:{digest[:12]}", f"v:{__version__}"]
    if error is None:
        details = details | {"no_interval": "pictures of a single prompt do not tell how prompts differ"}
        low = high = None
    else:
        estimate = normal_estimate(mean, error, {}, lowest=0.0)
        low, high = estimate.ci_low, estimate.ci_high
    return MetricResult(
        metric=CLIP_SCORE,
        value=mean,
        standard_error=error,
        ci_low=low,
        ci_high=high,
        higher_is_better=True,
        n_generated=n,
        extractor=clip.name,
        protocol=clip.protocol,
        signature="|".join(signature),
        version=__version__,
        details=details,
    )
