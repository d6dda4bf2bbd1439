"""The full demo: the default one's contestants and all the others."""

from __future__ import annotations

from paragone.demo import clips_and_edits, full_contestants
from paragone.demo.cast import DEFAULT, Cast
from paragone.demo.full_lines import LINES
from paragone.demo.full_tracks import EDITS, MOVING

FULL = Cast(
    contestants=(*DEFAULT.contestants, *full_contestants.CONTESTANTS, *clips_and_edits.CONTESTANTS),
    runs={**clips_and_edits.RUNS, **DEFAULT.runs, **full_contestants.RUNS},  # the long ones first
    tracks=(*DEFAULT.tracks, MOVING, EDITS),
    lines=LINES,
)
