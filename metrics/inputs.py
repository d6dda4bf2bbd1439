"""What is given for one side of a comparison, pictures or statistics, and whether a metric can be computed of it.

Nothing here decodes a picture or imports torch: these are the checks that come before the expensive part.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from paragone.data.clip_containers import kind_of
from paragone.data.clip_sampling import ClipRule
from paragone.data.errors import NotComparable, TooFewSamples, UsageError
from paragone.data.files import file_digest
from paragone.data.images import ImageSource, OnError, read_images
from paragone.data.videos import VideoSource, read_videos
from paragone.metrics.catalogue import Metric, metric_named
from paragone.metrics.feature_statistics import FeatureStatistics, ForeignStatistics, Rows, Statistics
from paragone.metrics.settings import Values, with_settings
from paragone.metrics.statistics_files import PICKLES, load_statistics

if TYPE_CHECKING:
    from paragone.metrics.extractors.base import FeatureExtractor
    from paragone.metrics.measured import Measured

DEFAULT_METRICS = ("fd", "kid", "precision", "recall", "density", "coverage")
DEFAULT_CLIP_METRICS = ("fd", "fd_infinity", "kid", "jedi", "precision", "recall", "density", "coverage")

Kind = Literal["auto", "pictures", "clips"]


@dataclass(frozen=True, slots=True, eq=False)
class KnownSide:
    """A side that was measured before: its statistics, its features if they were kept, and the pictures' digest."""

    origin: str
    statistics: Statistics
    digest: str
    features: Rows | None = None  # [N, D]


Source = str | os.PathLike[str] | NDArray[Any] | ImageSource | FeatureStatistics | ForeignStatistics | KnownSide


@dataclass(frozen=True, slots=True)
class ClipReading:
    """How sets of clips are read.

    `kind`: "auto" goes by names and content (paragone.data.clip_containers.kind_of); "clips" also reads folders of
    pictures as clips. `rule`: which frames are taken. `frame_rate`: of folders of frames and arrays. `count`: so many
    clips of each side, drawn by `seed`; a side that has fewer is an error, and never counts a clip twice.
    """

    kind: Kind = "auto"
    rule: ClipRule = field(default_factory=ClipRule)
    frame_rate: Fraction | None = None
    count: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise UsageError(f"{self.count} clips a side: at least 1 is wanted")


PICTURES = ClipReading(kind="pictures")


@dataclass(frozen=True, slots=True)
class Given:
    """One side as it was given: exactly one of `pictures` (which may be clips) and `statistics`."""

    role: str  # reference, generated or training
    origin: str
    pictures: ImageSource | None = None
    statistics: Statistics | None = None
    digest: str = ""  # sha256 of statistics; that of pictures is known once they have been read
    features: Rows | None = None  # [N, D], where they are known beside statistics

    @property
    def n(self) -> int | None:
        """Number of pictures; None when a foreign statistics file does not say it."""
        if self.statistics is not None:
            return self.statistics.n
        return len(self.pictures) if self.pictures is not None else None


def open_side(
    role: str, source: Source, *, on_error: OnError = "raise", features: str = "", clips: ClipReading = PICTURES
) -> Given:
    """What `source` is; raises `InputError` or `UsageError` that names it when it is nothing of use.

    `features`: the extractor's name, for files that hold the statistics of several. `clips`: whether and how to read
    clips.
    """
    if isinstance(source, KnownSide):
        return Given(role, source.origin, None, source.statistics, source.digest, source.features)
    if isinstance(source, FeatureStatistics | ForeignStatistics):
        return Given(role, f"{role} statistics", statistics=source, digest=_statistics_digest(source))
    if isinstance(source, np.ndarray) and source.ndim == 2:
        raise UsageError(
            f"{role}: an array {source.shape} is no pictures; for features, call frechet_distance directly"
        )
    if not isinstance(source, np.ndarray | ImageSource) and is_statistics_file(Path(source)):
        path = Path(source)
        return Given(role, str(path), statistics=load_statistics(path, features=features), digest=file_digest(path))
    pictures = open_samples(source, on_error=on_error, clips=clips)
    return Given(role, pictures.origin, pictures=pictures)


def open_samples(
    source: str | os.PathLike[str] | NDArray[Any] | ImageSource, *, on_error: OnError, clips: ClipReading
) -> ImageSource:
    """The pictures or clips at `source`; raises `InputError`, and `TooFewSamples` when there are fewer than asked."""
    if _kind(source, clips.kind) == "pictures":
        if clips.count is not None:
            raise UsageError(f"--clips {clips.count} is a number of clips, and {source} is pictures")
        return read_images(source, on_error=on_error)
    assert not isinstance(source, ImageSource) or isinstance(source, VideoSource)
    videos = read_videos(source, rule=clips.rule, frame_rate=clips.frame_rate, on_error=on_error)
    if clips.count is None:
        return videos
    if len(videos) < clips.count:
        raise TooFewSamples(f"{videos.origin}: {clips.count} clips are asked for, and there are {len(videos)}")
    drawn = np.random.default_rng(clips.seed).permutation(len(videos))[: clips.count]
    return videos.part(sorted(drawn.tolist()))


def _kind(source: str | os.PathLike[str] | NDArray[Any] | ImageSource, asked: Kind) -> Kind:
    if isinstance(source, ImageSource):
        return "clips" if isinstance(source, VideoSource) else "pictures"
    if asked != "auto":
        return asked
    if isinstance(source, np.ndarray):
        return "clips" if source.ndim == 5 else "pictures"
    return kind_of(Path(source))


def rule_of(sides: Iterable[Given]) -> ClipRule | None:
    """The rule by which frames of the sides' clips are chosen; None where they are pictures or statistics.

    Raises `UsageError` for pictures beside clips, and `NotComparable` for clips under different rules.
    """
    given = [side.pictures for side in sides if side.pictures is not None]
    clips = [source for source in given if isinstance(source, VideoSource)]
    if not clips:
        return None
    for source in given:
        if not isinstance(source, VideoSource):
            raise UsageError(
                f"{clips[0].origin} is clips, and {source.origin} pictures; folders of frames are read as clips with "
                "--kind clips"
            )
        if source.rule != clips[0].rule:
            raise NotComparable(
                f"{source.origin}: frames are chosen by {source.rule.name}, those of {clips[0].origin} by "
                f"{clips[0].rule.name}"
            )
    return clips[0].rule


def is_statistics_file(path: Path) -> bool:
    """Whether `path` is statistics, .pkl or .npz, rather than images; an .npz that holds both counts as images."""
    if path.suffix.lower() in PICKLES and path.is_file():
        return True
    if path.suffix.lower() != ".npz" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    return "arr_0.npy" not in names and bool(names & {"schema.npy", "mu.npy"})


def _statistics_digest(statistics: Statistics) -> str:
    second = statistics.scatter if isinstance(statistics, FeatureStatistics) else statistics.sigma
    return hashlib.sha256(repr(statistics.n).encode() + statistics.mean.tobytes() + second.tobytes()).hexdigest()


# ---- Metrics that the sides allow ----------------------------------------------------------------------------------


def choose_metrics(
    names: Sequence[str] | None, sides: Mapping[str, Given], settings: Values | None = None
) -> tuple[list[Metric], list[str]]:
    """The rows to compute, without repetition. Without `names`, the default ones, and a warning about those left out.

    `settings` are set in the rows that they name. Raises `UsageError` for an unknown name or option, or one that the
    sides do not allow.
    """

    def row_of(name: str) -> Metric:
        row = metric_named(name)
        return with_settings(row, (settings or {}).get(row.name, {}))

    if names is None:
        if "reference" not in sides:
            raise UsageError(
                "the default metrics compare with a reference: name it with --reference, or a --metric "
                "that needs none (vendi, inception_score, clip_score, colourfulness, sharpness, duplicates)"
            )
        defaults = DEFAULT_METRICS if rule_of(sides.values()) is None else DEFAULT_CLIP_METRICS
        wanted = map(row_of, (*defaults, *(["authenticity"] if "training" in sides else [])))
        rows = {row: _obstacle(row, sides) or _shortage(row, sides) for row in wanted}
        left_out = {reason: [row.name for row in rows if rows[row] == reason] for reason in rows.values() if reason}
        warnings = [f"left out {', '.join(names)}: {reason}" for reason, names in left_out.items()]
        return [row for row, reason in rows.items() if not reason], warnings
    chosen = list(dict.fromkeys(map(row_of, names)))
    if not chosen:
        raise UsageError("no metric is asked for; name at least one")
    for row in chosen:
        if reason := _obstacle(row, sides):
            raise UsageError(f"{row.name}: {reason}")
    if "training" in sides and not any(uses(row, "training") for row in chosen):
        raise UsageError(
            "a training set is given, but no metric asked for uses it: add --metric authenticity (near_duplicates, c_t)"
        )
    return chosen, []


def uses(row: Metric, role: str) -> bool:
    """Whether a metric looks at that side: inception_score and authenticity do not look at the reference."""
    if role == "training":
        return "training" in row.requires
    if role == "reference" and "training" in row.requires:
        return "reference" in row.requires
    return role != "reference" or bool(row.requires & {"statistics", "features"})


def _obstacle(row: Metric, sides: Mapping[str, Given]) -> str:
    """Why the sides do not allow a metric; empty when they do."""
    if uses(row, "training") and "training" not in sides:
        return "needs the generator's training set; name it with --training"
    if uses(row, "reference") and "reference" not in sides and not row.alone:
        return "needs a reference; name it with --reference"
    for side in sides.values():
        if not uses(row, side.role):
            continue
        if side.statistics is not None and side.features is None and row.requires & {"features", "logits"}:
            return f"needs pictures, and {side.origin} is statistics"
        if side.role == "generated" and side.n is None:
            return f"{side.origin} does not say of how many pictures it is; make it again with `paragone stats`"
    return ""


def _shortage(row: Metric, sides: Mapping[str, Given]) -> str:
    """Why subsets of a stated size (a tool's protocol) cannot be drawn; empty when they can."""
    if row == metric_named(row.name):
        return ""
    short = [side for side in sides.values() if uses(row, side.role) and side.n is not None and side.n < row.min_n]
    return f"needs at least {row.min_n} pictures, and {short[0].origin} has {short[0].n}" if short else ""


def check_numbers(rows: Sequence[Metric], counts: Mapping[str, tuple[str, int | None]]) -> None:
    """Raise `TooFewSamples` when a side (role → origin, n) is smaller than a metric that looks at it allows."""
    for row in rows:
        for role, (origin, n) in counts.items():
            if uses(row, role) and n is not None and n < row.min_n:
                raise TooFewSamples(f"{origin}: {row.name} needs at least {row.min_n} pictures, there are {n}")


def check_count(count: int, measured: Iterable[Measured]) -> None:
    """Raise `TooFewSamples` when clips were left out of the number that is asked for."""
    for one in measured:
        n = one.side.n
        if one.given.pictures is not None and n is not None and n < count:
            raise TooFewSamples(
                f"{one.given.origin}: {count} clips are asked for, and {n} of those drawn could be read"
            )


def check_contributions(rows: Sequence[Metric], sides: Mapping[str, Given], extractor: FeatureExtractor | None) -> None:
    """Raise `UsageError` or `TooFewSamples` unless each generated picture's contribution to fd is defined: n > D."""
    if all(row.name != "fd" for row in rows):
        raise UsageError("contributions of pictures are to fd, which is not asked for; add --metric fd")
    if sides["generated"].pictures is None or extractor is None:
        raise UsageError(f"{sides['generated'].origin} is statistics, and only pictures have contributions")
    for side in (sides["reference"], sides["generated"]):
        if side.n is not None and side.n <= extractor.dim:
            raise TooFewSamples(
                f"{side.origin}: contributions to fd need more pictures than dimensions on both sides; there are "
                f"{side.n} for the {extractor.dim} of {extractor.name}"
            )


# ---- Features that the sides share ---------------------------------------------------------------------------------


def check_logits(rows: Sequence[Metric], extractor: FeatureExtractor) -> None:
    """Raise `UsageError` when a metric needs class logits that the extractor does not give."""
    for row in rows:
        if "logits" in row.requires and not extractor.has_logits:
            raise UsageError(
                f"{row.name} needs class logits, which {extractor.name} does not give; use --features inception"
            )


def check_tags(sides: Sequence[Given], extractor: FeatureExtractor | None) -> list[str]:
    """Warnings about statistics without tags; raises `NotComparable` when known tags or dimensions differ.

    `extractor` is what pictures will go through; None when all `sides` are statistics.
    """
    known = [
        (side.origin, side.statistics.extractor, side.statistics.protocol, side.statistics.dim)
        for side in sides
        if side.statistics is not None
    ]
    untagged = [
        f"{origin}: does not say how its features were extracted; taken on trust to be the same as the other side's"
        for origin, name, protocol, _ in known
        if name is None or protocol is None
    ]
    if extractor is not None:
        known.insert(0, ("the pictures", extractor.name, extractor.protocol, extractor.dim))
    for origin, *tags in known[1:]:
        for what, wanted, found in zip(("extractor", "protocol", "dimension"), known[0][1:], tags, strict=True):
            if wanted is not None and found is not None and wanted != found:
                raise NotComparable(
                    f"{origin}: its {what} is {found}, that of {known[0][0]} is {wanted}; choose --features and "
                    "--protocol to match, or make the file again with `paragone stats`"
                )
    return untagged
