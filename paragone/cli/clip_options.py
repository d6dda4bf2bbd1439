"""The options of every command that reads clips as well as pictures, and how they say that clips are read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from paragone.data.errors import UsageError

if TYPE_CHECKING:
    from paragone.data.clip_sampling import Sampling, Short
    from paragone.metrics.inputs import ClipReading

R = TypeVar("R")
DEFAULT_FRAMES = 16


@dataclass(frozen=True, slots=True)
class ClipOptions:
    """The options as they were given; None: not given."""

    kind: Literal["auto", "pictures", "clips"]
    clip_frames: int | None
    sampling: Sampling | None
    clip_stride: int | None
    fps: str | None
    short: Short | None
    frame_rate: str | None
    n_clips: int | None

    def given(self) -> dict[str, object]:
        """The options that were given, as plain values: a run record keeps them."""
        told = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in told.items() if value is not None and value != "auto"}

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> ClipOptions:
        """The options with these given."""
        return cls(**{"kind": "auto", **dict.fromkeys(one.name for one in fields(cls) if one.name != "kind"), **given})

    def reading(self, seed: int) -> ClipReading:
        """What they mean; raises `UsageError`."""
        from paragone.data.clip_sampling import ClipRule, parse_rate
        from paragone.metrics.inputs import ClipReading

        given = any(getattr(self, one.name) is not None for one in fields(self) if one.name != "kind")
        if self.kind == "pictures" and given:
            raise UsageError("--kind pictures goes with no option of clips; leave one of them out")
        rule = ClipRule(
            frames=self.clip_frames or DEFAULT_FRAMES,
            sampling=self.sampling or "first",
            stride=self.clip_stride or 1,
            fps=None if self.fps is None else parse_rate(self.fps, "--fps"),
            short=self.short or "error",
            seed=seed,
        )
        rate = None if self.frame_rate is None else parse_rate(self.frame_rate, "--frame-rate")
        return ClipReading("clips" if given else self.kind, rule, rate, self.n_clips, seed)


_OPTIONS = (
    click.option(
        "--kind",
        type=click.Choice(["auto", "pictures", "clips"]),
        default="auto",
        show_default=True,
        help="What the sets are of. auto: goes by names and content, and by whether there are options of clips. clips: "
        "folders of pictures are the frames of a clip each.",
    ),
    click.option(
        "--clip-frames",
        type=click.IntRange(min=1),
        metavar="N",
        help=f"Frames that are taken of each clip; {DEFAULT_FRAMES} by default.",
    ),
    click.option(
        "--sampling",
        type=click.Choice(["first", "random", "endpoints", "truncated", "bin-middle", "left", "centre"]),
        help="Which frames of a clip: consecutive ones from its start (first, the default) or from a place drawn by "
        "--seed and its bytes (random), or spread over all of it (docs/video.md).",
    ),
    click.option(
        "--clip-stride",
        type=click.IntRange(min=1),
        metavar="N",
        help="Of consecutive frames, every N-th; 1 by default.",
    ),
    click.option(
        "--fps", metavar="RATE", help="First take the frames that are shown at this rate, such as 8 or 30000/1001."
    ),
    click.option(
        "--short",
        type=click.Choice(["error", "pad-last", "loop"]),
        help="A clip with too few frames: an error (the default), its last frame repeated, or all of it.",
    ),
    click.option(
        "--frame-rate", metavar="RATE", help="Frames a second of folders of frames and arrays, which do not state it."
    ),
    click.option(
        "--clips",
        "n_clips",
        type=click.IntRange(min=1),
        metavar="N",
        help="Take N clips of each side, drawn by --seed; fewer are an error.",
    ),
)


def clip_options(command: Callable[..., R]) -> Callable[..., R]:
    """Add the options to a command, whose function gets them together, as `clips`."""

    @functools.wraps(command)
    def gathered(**given: Any) -> R:
        clips = ClipOptions(**{one.name: given.pop(one.name) for one in fields(ClipOptions)})
        return command(clips=clips, **given)

    found: Callable[..., R] = gathered
    for option in reversed(_OPTIONS):
        found = option(found)
    return found
