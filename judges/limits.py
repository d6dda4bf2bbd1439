"""How much one request may show: learnt from an endpoint's refusals, remembered, and never guessed.

Servers differ in how many images they take (one or two is common), how many bytes, and whether they take clips. A
question is first shown as it was wished for. When the server refuses and says that it was too much of something, the
next weaker way is tried: a clip as frames, then as one contact sheet each, then everything on one canvas; and all
pictures reduced alike, step by step. What was refused is kept, so that no later question is sent in vain, and so that
the same question is asked in the same way again. How a question was shown is part of its request and of its verdict.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, Self

from paragone.judges.client import CallRejected, error_words
from paragone.judges.media import FORMS, Form

SCALES = (1.0, 0.7, 0.5, 0.35, 0.25)  # by which both sides of every picture are reduced
TOO_LARGE = 413
_IMAGES = re.compile(
    r"(at most|only|up to|max\w*|limit\w*|more than|exceed\w*|too many|multiple|number of|several|single|one)\b"
    r"[^.]{0,60}\bimages?\b|\bimages?\b[^.]{0,60}\b(at most|limit\w*|max\w*|too many|exceed\w*|per (prompt|request))",
    re.IGNORECASE,
)
_SIZE = re.compile(
    r"\b(entity|payload|body|request|image|file|content)s?\b[^.]{0,40}\btoo (large|big)"
    r"|\b(entity|payload|body|request|image|file|content)s?\b[^.]{0,40}\bexceed\w*[^.]{0,40}(bytes|[kmg]i?b\b)"
    r"|\btoo (large|big)\b[^.]{0,40}\b(entity|payload|body|request|image|file)"
    r"|max\w* (allowed )?(payload|request|body|image|file) size",
    re.IGNORECASE,
)
_VIDEO = re.compile(r"video", re.IGNORECASE)


class Load(Protocol):
    """What one request carries."""

    @property
    def n_images(self) -> int:
        """Pictures."""
        ...

    @property
    def n_videos(self) -> int:
        """Clips that are sent as they are."""
        ...

    @property
    def n_bytes(self) -> int:
        """Of its words and its media in base64, about."""
        ...


class TooMuch(Exception):
    """A request was refused for showing too much; the limits know more now."""


@dataclass(frozen=True, slots=True)
class Showing:
    """One way to show what a question is about, and why it is not the one that was wished for."""

    form: Form = "frames"
    scale: float = 1.0
    reasons: tuple[str, ...] = ()

    @property
    def usual(self) -> bool:
        """As every question is shown where nothing else was wished for and nothing refused."""
        return self.form == "frames" and self.scale == 1.0

    def to_dict(self) -> dict[str, Any]:
        """For the canonical request; the reasons are for the record alone."""
        return {"form": self.form, "scale": self.scale}


@dataclass(frozen=True, slots=True)
class Limits:
    """The smallest loads that were refused (so many images, so many bytes, any clip), and with which words."""

    images: int | None = None
    n_bytes: int | None = None
    video: bool = False
    reasons: Mapping[str, str] = field(default_factory=dict)  # by the name of the limit

    def objections(self, loads: Sequence[Load]) -> tuple[str, ...]:
        """The words with which these requests would be refused; empty when none is known to be too much."""
        broken = {
            "video": self.video and any(load.n_videos for load in loads),
            "images": self.images is not None and max(load.n_images for load in loads) >= self.images,
            "n_bytes": self.n_bytes is not None and max(load.n_bytes for load in loads) >= self.n_bytes,
        }
        return tuple(self.reasons[name] for name, is_broken in broken.items() if is_broken)

    def after(self, refusal: CallRejected, load: Load) -> Limits | None:
        """What is known after a refusal; None when it was not about how much was shown."""
        _, words = error_words(refusal.body)
        said = f"HTTP {refusal.http_status}: {words}"
        if refusal.http_status == TOO_LARGE or _SIZE.search(words):
            fewest = load.n_bytes if self.n_bytes is None else min(self.n_bytes, load.n_bytes)
            return replace(self, n_bytes=fewest, reasons={**self.reasons, "n_bytes": said})
        if load.n_videos and _VIDEO.search(words):
            return replace(self, video=True, reasons={**self.reasons, "video": said})
        if load.n_images > 1 and _IMAGES.search(words):
            fewest = load.n_images if self.images is None else min(self.images, load.n_images)
            return replace(self, images=fewest, reasons={**self.reasons, "images": said})
        return None

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Self:
        """What `to_dict` gave."""
        return cls(facts["images"], facts["n_bytes"], facts["video"], dict(facts["reasons"]))


def ways(wished: Form, *, moving: bool) -> list[tuple[Form, float]]:
    """Every way to show a question, the wished one first, each weaker than the one before.

    A picture is shown as it is, whatever is wished for clips. A clip that is sent as it is cannot be reduced.
    """
    forms = FORMS[FORMS.index(wished) :] if moving else ("frames", "single")
    return [(form, scale) for form in forms for scale in (SCALES if form != "native" else SCALES[:1])]
