"""The full demo: the default one's contestants and all the others."""

from __future__ import annotations

from paragone.demo import clips_and_edits
from paragone.demo.cast import DEFAULT, Cast
from paragone.demo.full_lines import LINES
from paragone.demo.full_tracks import EDITS, MOVING

FULL = Cast(
    contestants=(*DEFAULT.contestants, *clips_and_edits.CONTESTANTS),
    runs={**DEFAULT.runs, **clips_and_edits.RUNS},
    tracks=(*DEFAULT.tracks, MOVING, EDITS),
    lines=LINES,
)
