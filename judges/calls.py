"""The record of one call to a judge's model: what was asked, what came back, and how it was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from paragone.data.records import Status, Verdict


@dataclass(frozen=True, slots=True)
class JudgeCall:
    """One call, paid for or from a cache. `raw` is the whole body of the reply, empty when none came."""

    protocol: str
    model: str
    base_url: str
    template: str  # name-version
    template_sha256: str
    request_sha256: str
    media: tuple[str, ...]  # sha256 of each picture's bytes as sent
    parameters: Mapping[str, Any]
    status: Status
    reason: str = ""
    raw: str = ""
    served_model: str | None = None
    parse_stage: str = ""
    label: str | None = None  # what was decided, in the protocol's words
    answer: Mapping[str, Any] | None = None
    score_mode: str = ""  # logprob or hard
    soft_reason: str = ""  # why it is not logprob, although that was asked for
    probabilities: Mapping[str, float] | None = None
    mass: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: Decimal | None = None
    latency_s: float | None = None
    n_attempts: int = 1
    cached: bool = False
    shown: Mapping[str, Any] = field(default_factory=dict)  # form of clips, scale, and why it is not the wished one
    sample: int = 0
    repair: int = 0

    def facts(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        facts = {name: getattr(self, name) for name in self.__slots__}
        facts |= {
            "media": list(self.media),
            "parameters": dict(self.parameters),
            "shown": dict(self.shown),
            "status": str(self.status),
        }
        facts["cost_usd"] = None if self.cost_usd is None else f"{self.cost_usd:f}"
        facts["probabilities"] = None if self.probabilities is None else dict(self.probabilities)
        facts["answer"] = None if self.answer is None else dict(self.answer)
        return facts


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict and the calls that it rests on, repairs and repeats included, in the order in which they were asked."""

    verdict: Verdict
    calls: tuple[JudgeCall, ...] = field(default=())


def total_cost(calls: tuple[JudgeCall, ...]) -> Decimal | None:
    """What the calls cost together; None as soon as one cost is unknown."""
    costs = [call.cost_usd for call in calls]
    return None if any(cost is None for cost in costs) else sum((c for c in costs if c is not None), Decimal(0))
