"""From measured sides to results that explain themselves: value, uncertainty, signature, and cautions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, NamedTuple

from paragone import __version__
from paragone.data.records import MetricResult
from paragone.metrics.catalogue import Metric, Side
from paragone.metrics.clip_protocols import is_of_clips
from paragone.metrics.inputs import Given, uses
from paragone.metrics.settings import told
from paragone.metrics.weights import INCEPTION

if TYPE_CHECKING:
    from paragone.metrics.extractors.base import FeatureExtractor

OF_CLIPS = {"fd": "fvd", "fd_infinity": "fvd_infinity", "kid": "kvd"}  # what metrics of clips are called
FRECHET = ("fd", "fid", "fvd")
FID_PICTURES = 10_000  # below it, the bias of an FID is of the size of the differences that people report
LOSSY_DIFFERENCE = 0.1  # in the share of lossy files, from which on a warning is due
ROUNDING_SHARE = 1e-6  # of an FD, from which on the bound of its rounding error is told
DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Measured:
    """A side with its features or statistics."""

    given: Given
    side: Side
    digest: str  # sha256 of the pictures' bytes, or of the statistics
    contents: bytes = b""  # 32 bytes a picture: the sha256 of each


# ---- Results -------------------------------------------------------------------------------------------------------


def result_of(
    row: Metric, measured: Mapping[str, Measured], extractor: FeatureExtractor | None, *, seed: int
) -> MetricResult:
    """One metric of the sides that it looks at, with the signature that says what must agree."""
    sides = {role: found.side for role, found in measured.items() if uses(row, role)}
    generated, training = sides["generated"], sides.get("training")
    estimate = row.estimate(reference=sides.get("reference"), generated=generated, training=training, seed=seed)
    described = description_of(row, measured, extractor)
    of_clips = is_of_clips(described.protocol)
    assert generated.n is not None  # choose_metrics refuses a generated side that does not say it
    return MetricResult(
        metric=described.metric,
        value=float(estimate.value),
        standard_error=estimate.standard_error,
        ci_low=estimate.ci_low,
        ci_high=estimate.ci_high,
        higher_is_better=row.higher_is_better,
        n_generated=generated.n,
        n_reference=sides["reference"].n if "reference" in sides else None,
        extractor=described.extractor,
        protocol=described.protocol,
        signature=described.signature,
        seed=seed,
        version=__version__,
        details=estimate.details
        | ({"n_training": training.n} if training is not None else {})
        | ({"decoder": f"PyAV {installed('av')}"} if of_clips and extractor is not None else {}),
    )


class Description(NamedTuple):
    """What a metric of some sides is called, and all that must agree before it may be compared."""

    metric: str
    extractor: str | None
    protocol: str
    signature: str


def description_of(row: Metric, measured: Mapping[str, Measured], extractor: FeatureExtractor | None) -> Description:
    """The name and signature of `row` on the sides that it looks at; nothing is computed."""
    sides = {role: found.side for role, found in measured.items() if uses(row, role)}
    tags = [(side.statistics.extractor, side.statistics.protocol) for side in sides.values()]
    name = next((name for name, _ in tags if name is not None), None)
    protocol = next((protocol for _, protocol in tags if protocol is not None), "unknown")
    metric = "fid" if row.name == "fd" and name == INCEPTION.name else row.name
    metric = OF_CLIPS.get(metric, metric) if is_of_clips(protocol) else metric
    signature = [metric, f"ext:{name or 'unknown'}", f"protocol:{protocol}"]
    if extractor is not None:
        signature.append(f"resize:{extractor.resize}")
    signature += [f"set:{chosen}"] if (chosen := told(row.settings)) else []
    signature.append(f"n:{sides['generated'].n}")
    for role, short in (("reference", "ref"), ("training", "train")):
        if role in sides:
            signature.append(f"{short}:{measured[role].digest[:12]}")
    return Description(metric, name, protocol, "|".join([*signature, f"v:{__version__}"]))


def cautions(results: Sequence[MetricResult], measured: Mapping[str, Measured]) -> list[str]:
    """What makes numbers look better or worse than the generator is."""
    lines = []
    for result in results:
        if result.metric in FRECHET:
            lines += _small_sample_cautions(result, measured) + _rounding_cautions(result)
    reference, generated = measured.get("reference"), measured["generated"]
    lines += _duplicate_cautions(reference, generated)
    shares = {found.given.role: _lossy_share(found.given) for found in measured.values()}
    of_reference, of_generated = shares.get("reference"), shares["generated"]
    if of_reference is not None and of_generated is not None and abs(of_reference - of_generated) > LOSSY_DIFFERENCE:
        lines.append(
            f"{of_reference:.0%} of the reference and {of_generated:.0%} of the generated files are lossy (jpg, webp): "
            "compression on one side alone moves every metric"
        )
    return lines


def _small_sample_cautions(result: MetricResult, measured: Mapping[str, Measured]) -> list[str]:
    dim = measured["generated"].side.statistics.dim
    known = [n for n in (result.n_generated, result.n_reference) if n is not None]
    noun = "clips" if is_of_clips(result.protocol) else "pictures"
    lines = []
    if min(known) <= dim:
        lines.append(
            f"{result.metric}: {min(known)} {noun} for {dim} dimensions: the covariance lacks full rank and the "
            f"value is biased upwards; compare it only with values at the same numbers of {noun}"
        )
    if result.metric == "fid" and min(known) < FID_PICTURES:
        lines.append(f"fid: of {min(known):,} pictures; published values are of {FID_PICTURES:,} or more, and lower")
    return lines


def _rounding_cautions(result: MetricResult) -> list[str]:
    bound = result.details.get("numeric_bound")
    if bound is None or bound <= ROUNDING_SHARE * result.value:
        return []
    return [f"{result.metric}: rounding alone may move its {result.value:.4g} by up to {bound:.1g}"]


def _duplicate_cautions(reference: Measured | None, generated: Measured) -> list[str]:
    """Files that are the same, byte for byte, within the generated set or on both sides."""
    origin = generated.given.origin
    if reference is not None and reference.digest == generated.digest:
        return [f"{origin} and {reference.given.origin} are the same, byte for byte"]
    mine, lines = _contents(generated), []
    if len(set(mine)) < len(mine):
        lines.append(
            f"{origin}: {len(mine) - len(set(mine)):,} of {len(mine):,} {_noun(generated)} repeat another, byte for "
            "byte"
        )
    shared = len(set(mine) & set(_contents(reference))) if reference is not None else 0
    if reference is not None and shared:
        lines.append(f"{origin}: {shared:,} {_noun(generated)} are also in {reference.given.origin}, byte for byte")
    return lines


def _noun(measured: Measured) -> str:
    return "pictures" if measured.given.pictures is None else measured.given.pictures.noun


def _contents(measured: Measured) -> list[bytes]:
    """The digest of every picture that was not left out."""
    pictures = measured.given.pictures
    if pictures is None:
        return []
    _, skipped = pictures.findings()
    starts = range(0, len(measured.contents), DIGEST_BYTES)
    return [
        measured.contents[start : start + DIGEST_BYTES] for index, start in enumerate(starts) if index not in skipped
    ]


def _lossy_share(given: Given) -> float | None:
    return given.pictures.lossy_fraction if given.pictures is not None else None
