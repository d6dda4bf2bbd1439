"""docs/metrics.md tells of every metric what it says, its range, when it misleads, how many pictures it wants."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paragone.metrics import ALL_METRICS
from paragone.metrics.captions import CLIP_SCORE
from paragone.metrics.clip_metrics import CLIP_METRICS
from paragone.metrics.edit_metrics import EDIT_METRICS
from paragone.metrics.picture_metrics import PICTURE_METRICS
from paragone.metrics.settings import ClipScoreSettings
from paragone.metrics.text_rendering import SETTINGS, TEXT_METRICS

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
COLUMNS = 7  # name, better, range, what it says, misleads when, N, source
TABLES = (ALL_METRICS, PICTURE_METRICS, CLIP_METRICS, EDIT_METRICS, TEXT_METRICS)
BETTER = {name: row.higher_is_better for table in TABLES for name, row in table.items()}


def entries() -> dict[str, list[str]]:
    section = PAGE.split("## What each metric says")[1].split("\n## ")[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in section.splitlines() if line.startswith("| `")]
    return {cells[0].strip(" `"): [cell.strip() for cell in cells] for cells in rows if "`--metric`" not in cells[0]}


@pytest.mark.parametrize("name", [*BETTER, CLIP_SCORE])
def test_every_metric_has_a_whole_entry(name: str) -> None:
    cells = entries()[name]
    assert len(cells) == COLUMNS
    assert all(cells), name
    assert cells[1] == ("higher" if BETTER.get(name, True) else "lower")


def test_there_are_no_entries_of_what_is_not_there() -> None:
    assert set(entries()) == {*BETTER, CLIP_SCORE}


def test_every_option_is_told() -> None:
    settings = {row.name: row.settings for row in ALL_METRICS.values()} | {CLIP_SCORE: ClipScoreSettings()}
    settings |= dict.fromkeys(TEXT_METRICS, SETTINGS)
    for metric, options in settings.items():
        for option in () if options is None else type(options).__dataclass_fields__:
            assert f"`{metric}.{option}`" in PAGE
