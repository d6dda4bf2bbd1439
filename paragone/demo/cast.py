"""Who and what a demo consists of: contestants, training runs and tracks, of the default demo and of the full one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from paragone.data.records import Task
from paragone.demo.contestants import CONTESTANTS, Contestant, DemoSettings
from paragone.demo.studies import Line
from paragone.demo.tracks import PICTURES, Track
from paragone.demo.training import RUNS, Run


@dataclass(frozen=True, slots=True)
class Cast:
    """All that a demo trains, asks and compares."""

    contestants: tuple[Contestant, ...]
    runs: Mapping[str, Run]
    tracks: tuple[Track, ...]
    lines: tuple[Line, ...] = ()  # of studies

    def contestant(self, name: str) -> Contestant:
        """The contestant of this name."""
        return next(one for one in self.contestants if one.card.name == name)

    def track(self, task: Task) -> Track:
        """The track of this task."""
        return next(track for track in self.tracks if track.task is task)

    def names(self, track: Track) -> list[str]:
        """The contestants of a track, in their order."""
        return [one.card.name for one in self.contestants if one.task is track.task]


DEFAULT = Cast(CONTESTANTS, RUNS, (PICTURES,))


def cast_of(settings: DemoSettings) -> Cast:
    """The cast that belongs to these settings."""
    from paragone.demo.full_settings import FullSettings

    if isinstance(settings, FullSettings):
        from paragone.demo.full_cast import FULL

        return FULL
    return DEFAULT
