"""The nouns of paragone, all on one page: frozen values that travel between data, metrics, judges and arena.

A *generator* makes a *sample* for a *prompt*; a *battle* shows two samples of one prompt; a *judge* or a person
decides it, which gives a *verdict* or a *vote*; a metric on many samples gives a *metric result*. The vocabulary for
outcomes is LMArena's (`model_a`, `model_b`, `tie`, `both_bad`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from paragone.data.errors import InputError, UnknownOutcome


class Winner(StrEnum):
    """The outcome of a battle. `both_bad` is an outcome of its own; only a named rule may count it as a tie."""

    MODEL_A = "model_a"
    MODEL_B = "model_b"
    TIE = "tie"
    BOTH_BAD = "both_bad"

    @classmethod
    def parse(cls, text: object) -> Winner:
        """Read an outcome as written in a vote file; raises `UnknownOutcome` rather than guess."""
        if isinstance(text, str):
            outcome = _WINNER_SPELLINGS.get(text.strip().lower())
            if outcome is not None:
                return outcome
        raise UnknownOutcome(
            f"unknown outcome {text!r}: use one of {', '.join(cls)} (tie (bothbad) is read as both_bad)"
        )

    def swapped(self) -> Winner:
        """The same outcome with the two sides exchanged."""
        return {Winner.MODEL_A: Winner.MODEL_B, Winner.MODEL_B: Winner.MODEL_A}.get(self, self)


_WINNER_SPELLINGS = {str(w): w for w in Winner} | {"tie (bothbad)": Winner.BOTH_BAD, "bothbad": Winner.BOTH_BAD}


class Task(StrEnum):
    """What a prompt asks for."""

    TEXT_TO_IMAGE = "text-to-image"
    IMAGE_EDITING = "image-editing"
    TEXT_TO_VIDEO = "text-to-video"
    IMAGE_TO_VIDEO = "image-to-video"


class Status(StrEnum):
    """How one request to a generator, or one call to a judge, ended. Nothing but `ok` carries a result."""

    OK = "ok"
    REFUSED = "refused"
    FILTERED = "filtered"
    INVALID = "invalid"
    ERROR = "error"
    TIMEOUT = "timeout"


class VoterKind(StrEnum):
    """Who decided: boards never mix the two in silence."""

    HUMAN = "human"
    JUDGE = "judge"


class PriceUnit(StrEnum):
    """What a price is for one of."""

    IMAGE = "image"
    MEGAPIXEL = "megapixel"  # 10⁶ pixels of the output
    SECOND = "second"  # of video


class ProvenanceState(StrEnum):
    """What became of a file's C2PA manifest; `valid-untrusted` is a whole one of a signer whom nobody vouches for."""

    ABSENT = "absent"
    UNTRUSTED = "valid-untrusted"
    TRUSTED = "trusted"
    INVALID = "invalid"
    UNREADABLE = "unreadable"
    NOT_CHECKED = "not-checked"  # there is one, and nothing here to read it


@dataclass(frozen=True, slots=True)
class GeneratorCard:
    """What the leaderboard says of a model besides its numbers. None means unknown, which is not False."""

    name: str
    description: str = ""
    family: str = ""
    open_weights: bool | None = None
    licence: str | None = None
    report_url: str | None = None
    released: str | None = None  # ISO 8601 date
    usd_per_image: Decimal | None = None
    version: str | None = None
    provider: str | None = None
    parameters: int | None = None  # how many
    space: str | None = None  # where it works: one of `SPACES`
    text_encoder: str | None = None


SPACES = ("pixel", "latent")


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs from a day on. Prices are kept: a board can say what a result cost when it was made."""

    model: str
    unit: PriceUnit
    usd: Decimal
    valid_from: str  # ISO 8601 date
    source: str | None = None  # where the price stands


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request in words. `source` names the input picture of an editing or image-to-video task.

    `mask` is the path of a picture relative to the project folder, of which white may change.
    """

    id: str
    text: str
    task: Task = Task.TEXT_TO_IMAGE
    tags: tuple[str, ...] = ()
    source: str | None = None
    mask: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One output of one model for one prompt and seed.

    `id` names this sample (`sample_id` makes it); `sha256` names the bytes of its file, which two samples may share:
    a model that replays its training set does little else. `path` is relative to the project folder, with forward
    slashes. A still picture has no `frames` and no `fps`.
    """

    id: str
    sha256: str
    path: str
    prompt_id: str
    model: str
    seed: int
    width: int  # px
    height: int  # px
    latency_s: float | None = None
    cost_usd: Decimal | None = None
    frames: int | None = None
    fps: float | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one request to a generator ended. Only an attempt that is ok has a sample; all the others count, too."""

    model: str
    prompt_id: str
    seed: int
    status: Status
    message: str = ""
    latency_s: float | None = None
    cost_usd: Decimal | None = None  # what was paid for it, delivered or not
    sample_id: str | None = None
    created_at: str | None = None  # ISO 8601, UTC

    def __post_init__(self) -> None:
        if self.sample_id is not None and self.status is not Status.OK:
            raise InputError(
                f"{self.model}: prompt {self.prompt_id}, seed {self.seed} was {self.status}, and yet has a sample"
            )

    @property
    def id(self) -> str:
        """The name of an attempt: 32 hex digits over all that is said here, so that the same one is stored once."""
        cost = None if self.cost_usd is None else str(self.cost_usd)
        ended = [str(self.status), self.message, self.latency_s, cost, self.sample_id, self.created_at]
        return fingerprint([self.model, self.prompt_id, self.seed, *ended])[:32]


def sample_id(model: str, prompt_id: str, seed: int, sha256: str) -> str:
    """The name of a sample: 32 hex digits over what it is and where it comes from."""
    return fingerprint([model, prompt_id, seed, sha256])[:32]


@dataclass(frozen=True, slots=True)
class WatermarkTest:
    """How well the bits that a picture hides agree with a payload that is known."""

    payload: str
    method: str  # how the bits are hidden
    bits: int
    matches: int  # of `bits`
    p_value: float  # of as many matches in a picture without it, times the tests that were made

    @property
    def found(self) -> bool:
        """Whether chance is ruled out, for all practical purposes."""
        return self.p_value <= WATERMARK_ALPHA


WATERMARK_ALPHA = 1e-6


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a file says of where it comes from. It may say nothing, whatever it is: absence proves nothing."""

    sha256: str  # of the file
    state: ProvenanceState
    source_type: str | None = None  # the last word of an IPTC digital source type, such as trainedAlgorithmicMedia
    source_in: str | None = None  # where that stands: "c2pa" (signed) or "xmp" (anybody can write it)
    signer: str | None = None  # as the certificate names itself: a name is not trust
    tool: str | None = None  # that made the file, as it says
    codes: tuple[str, ...] = ()  # what the validation complains of
    anchors: str | None = None  # sha256 of the trust anchors that it was checked against
    watermarks: tuple[WatermarkTest, ...] | None = None  # the most telling; None: not looked for, or not applicable

    @property
    def says_ai(self) -> bool:
        """Whether the file itself says that a trained model made it, or parts of it."""
        return self.source_type in AI_SOURCE_TYPES


AI_SOURCE_TYPES = ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "compositeSynthetic")


@dataclass(frozen=True, slots=True)
class SafetyScore:
    """What a safety classifier says of a sample; one that reaches the threshold is flagged."""

    sample_id: str
    classifier: str
    score: float
    threshold: float
    label: str = ""  # what was found, in the classifier's words

    @property
    def flagged(self) -> bool:
        """Whether people see it only when they ask to."""
        return self.score >= self.threshold


@dataclass(frozen=True, slots=True)
class Battle:
    """One pairing as it is shown: side A and side B are already drawn."""

    id: str
    prompt_id: str
    model_a: str
    model_b: str
    sample_a: str  # Sample.id
    sample_b: str

    def __post_init__(self) -> None:
        if self.model_a == self.model_b:
            raise InputError(f"battle {self.id}: {self.model_a!r} cannot meet itself")

    def swapped(self) -> Battle:
        """The same battle with the sides exchanged (for judging in both orders)."""
        return Battle(self.id, self.prompt_id, self.model_b, self.model_a, self.sample_b, self.sample_a)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge said of one battle in one order. Without a `winner`, `status` and `reason` say why."""

    winner: Winner | None
    status: Status = Status.OK
    reason: str = ""
    judge: str = ""
    scores: tuple[float, float] | None = None  # of side A and side B, in the judge's own units
    details: Mapping[str, Any] = field(default_factory=dict, compare=False)  # how it came about: what JSON can hold
    cost_usd: Decimal | None = None  # paid for it now: 0 when it came from a cache, None when the price is unknown

    def __post_init__(self) -> None:
        if (self.winner is None) == (self.status is Status.OK):
            raise InputError(
                f"a verdict has a winner exactly when its status is ok, not {self.winner=!s} with {self.status=!s}"
            )

    def swapped(self) -> Verdict:
        """The verdict read in the other order of the sides."""
        return Verdict(
            winner=self.winner.swapped() if self.winner is not None else None,
            status=self.status,
            reason=self.reason,
            judge=self.judge,
            scores=self.scores[::-1] if self.scores else None,
            details=self.details,
            cost_usd=self.cost_usd,
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """A judge's final word on a battle: the verdict of each order asked, and the one outcome drawn from them.

    `verdicts` are all read in the battle's own order of sides; the second was asked with the sides exchanged.
    `winner` is None when a verdict is missing: an unanswered battle is not a tie.
    """

    battle: Battle
    verdicts: tuple[Verdict, ...]
    winner: Winner | None
    consistent: bool | None  # did both orders agree; None when one is missing


@dataclass(frozen=True, slots=True)
class Vote:
    """A recorded choice of a person or a judge on a battle."""

    battle_id: str
    winner: Winner
    voter: str
    voter_kind: VoterKind
    created_at: str | None = None  # ISO 8601, UTC
    dwell_ms: int | None = None


METRICS_SCHEMA = "paragone.metrics/1"  # of JSON documents: `results`, plain `MetricResult`s, and `warnings`


@dataclass(frozen=True, slots=True)
class MetricResult:
    """A number that explains itself. `signature` holds all that must agree before two results may be compared."""

    metric: str
    value: float
    higher_is_better: bool
    n_generated: int
    n_reference: int | None = None
    standard_error: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    extractor: str | None = None
    protocol: str = "paragone"
    signature: str = ""
    seed: int | None = None
    version: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def metrics_document(results: Iterable[MetricResult], warnings: Iterable[str]) -> dict[str, Any]:
    """The JSON document `paragone.metrics/1`."""
    return {
        "schema": METRICS_SCHEMA,
        "results": [result.to_dict() for result in results],
        "warnings": list(warnings),
    }


def fingerprint(value: Any) -> str:
    """sha256 (hex) of the canonical JSON of `value`: the same content always has the same name."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
