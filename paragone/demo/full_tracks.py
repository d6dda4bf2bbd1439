"""The full demo's other two tracks: moving digits (image to video) and edits of digits inside a mask.

Their measures are closed: what should be seen is known. A row of `CLIP_MEASURES` or `EDIT_MEASURES` gives one number a
sample; the mean with its standard error goes on the board. FD, which is of sets, stands beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from paragone import __version__
from paragone.data.digit_edits import Edit, draw_edits
from paragone.data.digits import SIZE_PX, load_digits_split, read_digits
from paragone.data.generators.media import delivered, encode_png, pixels_of
from paragone.data.generators.runner import read_manifest
from paragone.data.moving_digits import Move, centroids, draw_moves, seen_at, velocity_error
from paragone.data.project import Project
from paragone.data.records import MetricResult, Prompt, Task
from paragone.demo.contestants import DemoSettings
from paragone.demo.full_settings import full
from paragone.demo.tracks import Measured, Track, digit_features, digits_judge, mean_result, write_once
from paragone.judges.scorers import ScoreJudge, Scorer

REAL_CLIPS = "(real clips)"
SOURCE_PICTURES = "(source pictures)"
CLIP_JUDGE, EDIT_JUDGE = "moving-digits-judge-1", "digit-edits-judge-1"
SMALLEST = 1e-3  # probability: no score is -inf
GREY_A_NAT = 20.0  # grey levels of change outside the mask that cost an edit as much as a factor of e in realism


Request = TypeVar("Request")  # a Move or an Edit


@dataclass(frozen=True, slots=True)
class Measure(Generic[Request]):
    """One number a sample, from pixels (a clip [16, 16, 16], a picture [8, 8]) and the request that it answers."""

    name: str
    higher_is_better: bool
    of: Callable[[NDArray[np.uint8], Request, int], float]  # pixels, request, seed of the demo


# ---- Moving digits -------------------------------------------------------------------------------------------------


def _identity(clip: NDArray[np.uint8], move: Move, seed: int) -> float:
    """How surely the judge's classifier reads the digit where it should be, after the anchor, on average."""
    places = seen_at(clip[1:], move.places[1:])
    return float(digits_judge(seed).alignment(places, np.full(len(places), move.digit)).mean())


def _frame_psnr(clip: NDArray[np.uint8], move: Move, seed: int) -> float:
    """DB against the only right continuation, over all frames after the anchor."""
    error = float(np.mean((clip[1:].astype(np.float64) - move.clip[1:]) ** 2))
    return float(10.0 * np.log10(255.0**2 / max(error, 1e-2)))  # at most 68 dB


def _anchor_error(clip: NDArray[np.uint8], move: Move, seed: int) -> float:
    """Mean difference of the first frame from the picture that was given, in grey levels."""
    return float(abs(clip[0].astype(np.float64) - move.clip[0]).mean())


CLIP_MEASURES: tuple[Measure[Move], ...] = (
    Measure("velocity_error", False, lambda clip, move, seed: velocity_error(clip, move.places)),
    Measure("identity", True, _identity),
    Measure("frame_psnr", True, _frame_psnr),
    Measure("anchor_error", False, _anchor_error),
)


@cache
def _moves(seed: int) -> list[Move]:
    return draw_moves(load_digits_split(seed=seed)[1], seed=seed)


def _lay_out_moves(project: Project, settings: DemoSettings) -> None:
    for move in _moves(settings.seed):
        write_once(project.folder / move.source, encode_png(move.clip[0]))


def _measure_clips(name: str, project: Project, settings: DemoSettings) -> Measured:
    moves = {move.prompt.id: move for move in _moves(settings.seed)}
    if name == REAL_CLIPS:
        asked = list(moves.values())
        clips = np.stack([move.clip for move in asked])
    else:
        entries = read_manifest(project.samples / name)
        asked = [moves[entry.prompt_id] for entry in entries]
        clips = np.stack([read_clip(project.samples / name / str(entry.file)) for entry in entries])
    real = np.concatenate([_windows(move.clip) for move in moves.values()])
    shown = np.concatenate([_windows(clip) for clip in clips])
    return [*_means(CLIP_MEASURES, clips, asked, settings), _fd("frame_fd", shown, real, project, settings)], ()


def read_clip(path: Path) -> NDArray[np.uint8]:
    """The grey frames [T, H, W] of a clip file."""
    return pixels_of(delivered(path.read_bytes(), str(path)), str(path))[..., 0]


def _windows(clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[T, 8, 8] around the light of each frame, wherever it is: what a measure sees that knows no time."""
    corners = np.round(centroids(clip)).astype(int) - SIZE_PX // 2
    return seen_at(clip, np.clip(corners, 0, clip.shape[1] - SIZE_PX))


def _clip_scorer(settings: DemoSettings) -> Scorer:
    """Mean log probability that the digit is read where it should be: right digit, right place, right time."""
    moves = {move.prompt.id: move for move in _moves(settings.seed)}

    def score(prompt: Prompt, path: Path) -> float:
        move = moves[prompt.id]
        seen = seen_at(read_clip(path)[1:], move.places[1:])
        alignment = digits_judge(settings.seed).alignment(seen, np.full(len(seen), move.digit))
        return float(np.log(alignment + SMALLEST).mean())

    return lambda pictures: [score(prompt, path) for prompt, path in pictures]


# ---- Edits ---------------------------------------------------------------------------------------------------------


def _alignment(image: NDArray[np.uint8], edit: Edit, seed: int) -> float:
    """Probability of the digit that was asked for."""
    return float(digits_judge(seed).alignment(image[None], np.array([edit.target]))[0])


def _realism(image: NDArray[np.uint8], edit: Edit, seed: int) -> float:
    """Share of real digits that are no more typical."""
    return float(digits_judge(seed).realism(image[None])[0])


def _change(image: NDArray[np.uint8], edit: Edit, *, inside: bool) -> float:
    """Mean change of the pixels inside or outside the mask, in grey levels."""
    where = (edit.mask == 255) == inside
    return float(abs(image.astype(np.float64) - edit.image)[where].mean())


EDIT_MEASURES: tuple[Measure[Edit], ...] = (
    Measure("alignment", True, _alignment),
    Measure("realism", True, _realism),
    Measure("outside_change", False, lambda image, edit, seed: _change(image, edit, inside=False)),
)


def _edits(settings: DemoSettings) -> list[Edit]:
    return _drawn_edits(settings.seed, full(settings).edits_per_digit)


@cache
def _drawn_edits(seed: int, per_digit: int) -> list[Edit]:
    return draw_edits(load_digits_split(seed=seed)[1], per_digit=per_digit, seed=seed)


def _lay_out_edits(project: Project, settings: DemoSettings) -> None:
    for edit in _edits(settings):
        write_once(project.folder / str(edit.prompt.source), encode_png(edit.image))
        write_once(project.folder / str(edit.prompt.mask), encode_png(edit.mask))


def _measure_edits(name: str, project: Project, settings: DemoSettings) -> Measured:
    edits = {edit.prompt.id: edit for edit in _edits(settings)}
    if name == SOURCE_PICTURES:
        asked = list(edits.values())
        images = np.stack([edit.image for edit in asked])
    else:
        entries = read_manifest(project.samples / name)
        asked = [edits[entry.prompt_id] for entry in entries]
        images = read_digits([project.samples / name / str(entry.file) for entry in entries])
    reference = load_digits_split(seed=settings.seed)[1].images
    return [*_means(EDIT_MEASURES, images, asked, settings), _fd("fd", images, reference, project, settings)], ()


def _edit_scorer(settings: DemoSettings) -> Scorer:
    """Log alignment + log realism, less what was changed that should have been kept."""
    edits = {edit.prompt.id: edit for edit in _edits(settings)}

    def scorer(pictures: Sequence[tuple[Prompt, Path]]) -> list[float]:
        images = read_digits([path for _, path in pictures])
        asked = [edits[prompt.id] for prompt, _ in pictures]
        referee = digits_judge(settings.seed)
        alignment = referee.alignment(images, np.array([edit.target for edit in asked]))
        kept = [_change(image, edit, inside=False) for image, edit in zip(images, asked, strict=True)]
        quality = np.log(alignment + SMALLEST) + np.log(referee.realism(images) + 1e-2)
        return list(quality - np.array(kept) / GREY_A_NAT)

    return scorer


# ---- Both ----------------------------------------------------------------------------------------------------------


def _means(
    rows: Sequence[Measure[Request]], pixels: NDArray[np.uint8], asked: Sequence[Request], settings: DemoSettings
) -> list[MetricResult]:
    results = []
    for row in rows:
        values = [row.of(one, request, settings.seed) for one, request in zip(pixels, asked, strict=True)]
        better = row.higher_is_better
        results.append(mean_result(row.name, np.array(values), higher_is_better=better, seed=settings.seed))
    return results


def _fd(
    metric: str, images: NDArray[np.uint8], real: NDArray[np.uint8], project: Project, settings: DemoSettings
) -> MetricResult:
    from paragone.metrics import frechet_distance

    made, known = digit_features(images, project), digit_features(real, project)
    n = len(images)
    return MetricResult(
        metric=metric,
        value=frechet_distance(known, made),
        higher_is_better=False,
        n_generated=n,
        n_reference=len(real),
        seed=settings.seed,
        signature=f"{metric}|digits|n:{n}|v:{__version__}",
        version=__version__,
    )


MOVING = Track(
    task=Task.IMAGE_TO_VIDEO,
    prompts=lambda settings: [move.prompt for move in _moves(settings.seed)],
    n_seeds=lambda settings: full(settings).clips_per_prompt,
    n_battles=lambda settings: full(settings).n_clip_battles,
    lay_out=_lay_out_moves,
    metrics=(*(row.name for row in CLIP_MEASURES), "frame_fd"),
    measure=_measure_clips,
    floor=REAL_CLIPS,
    judge=CLIP_JUDGE,
    referee=lambda project, settings: ScoreJudge(_clip_scorer(settings), name=CLIP_JUDGE, margin=0.1),
)
EDITS = Track(
    task=Task.IMAGE_EDITING,
    prompts=lambda settings: [edit.prompt for edit in _edits(settings)],
    n_seeds=lambda settings: full(settings).edits_per_prompt,
    n_battles=lambda settings: full(settings).n_edit_battles,
    lay_out=_lay_out_edits,
    metrics=(*(row.name for row in EDIT_MEASURES), "fd"),
    measure=_measure_edits,
    floor=SOURCE_PICTURES,
    judge=EDIT_JUDGE,
    referee=lambda project, settings: ScoreJudge(_edit_scorer(settings), name=EDIT_JUDGE, margin=0.1),
)
