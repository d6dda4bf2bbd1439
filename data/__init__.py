"""Nouns, readers, generator adapters and built-in data: the layer that imports nothing above it."""

from paragone.data.clip_sampling import ClipRule
from paragone.data.errors import (
    ClipTooShort,
    InputError,
    MissingWeights,
    NotComparable,
    NotIdentifiable,
    ParagoneError,
    PluginError,
    TooFewSamples,
    UnknownOutcome,
    UnreadableImage,
    UnreadableVideo,
    UsageError,
)
from paragone.data.generators.base import Generation, GenerationRequest, GeneratorAdapter
from paragone.data.images import ImageSource, read_images
from paragone.data.project import Project
from paragone.data.records import (
    Attempt,
    Battle,
    GeneratorCard,
    Judgement,
    MetricResult,
    Price,
    PriceUnit,
    Prompt,
    Sample,
    Status,
    Task,
    Verdict,
    Vote,
    VoterKind,
    Winner,
    fingerprint,
    sample_id,
)
from paragone.data.videos import Clip, VideoSource, read_videos

if __name__ == "data":  # a second copy of every class, in a checkout whose root is on the path
    raise ImportError("import paragone.data instead of data")

__all__ = [
    "Attempt",
    "Battle",
    "Clip",
    "ClipRule",
    "ClipTooShort",
    "Generation",
    "GenerationRequest",
    "GeneratorAdapter",
    "GeneratorCard",
    "ImageSource",
    "InputError",
    "Judgement",
    "MetricResult",
    "MissingWeights",
    "NotComparable",
    "NotIdentifiable",
    "ParagoneError",
    "PluginError",
    "Price",
    "PriceUnit",
    "Project",
    "Prompt",
    "Sample",
    "Status",
    "Task",
    "TooFewSamples",
    "UnknownOutcome",
    "UnreadableImage",
    "UnreadableVideo",
    "UsageError",
    "Verdict",
    "VideoSource",
    "Vote",
    "VoterKind",
    "Winner",
    "fingerprint",
    "read_images",
    "read_videos",
    "sample_id",
]
