"""The report of a check as one HTML file: findings drawn against their margins, and the samples behind them.

Everything is inside the file, pictures too, and its policy lets nothing else in: it can be kept as an artifact of a CI
run and opened anywhere, without a server.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paragone.cli.check_report import (
    HEADINGS,
    LEFT,
    SLICE_HEADINGS,
    CheckReport,
    Outcome,
    confidence,
    explanations,
    number,
    rows_of,
    slice_rows,
    summary,
)
from paragone.data.errors import ParagoneError

if TYPE_CHECKING:
    from paragone.data.images import ImageSource
    from paragone.metrics.checks import Finding
    from paragone.metrics.checks_runs import WorstItem

TEMPLATE = Path(__file__).with_name("check_report.html")
THUMBNAIL = 256  # px, the longer side
SMALL = 64  # px: below, pixels are drawn as squares
TILES = 12  # samples of a metric
REACH = 3.0  # margins that a drawing reaches to either side
HALF_WIDTH = 70.0  # of a drawing


def html_report(report: CheckReport, baseline_images: str | None) -> str:
    """The whole page; pictures are read from the candidates' sources, and from `baseline_images` if they are named."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    beside = None if baseline_images is None else _Pictures(baseline_images)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        report=report,
        candidates=[_candidate(one, beside) for one in report.outcomes],
        left=(*LEFT, "slice"),
        slice_headings=SLICE_HEADINGS,
    )


def _candidate(outcome: Outcome, beside: _Pictures | None) -> dict[str, Any]:
    check = outcome.check
    told: dict[str, Any] = {
        "model": outcome.model,
        "verdict": outcome.verdict,
        "message": outcome.message,
        "check": check,
    }
    if check is None:
        return told
    mine = _Pictures(outcome.source)
    plots = [_plot(found) for found in check.findings]
    return told | {
        "pairing": check.pairing[:1].upper() + check.pairing[1:],
        "summary": summary(check),
        "headings": [confidence(check) if heading == "interval" else heading for heading in HEADINGS],
        "rows": [{"cells": cells, "plot": plot} for cells, plot in zip(rows_of(check), plots, strict=True)],
        "lines": explanations(check),
        "slices": slice_rows(check, count=30),
        "galleries": [
            _gallery(found, items, mine, beside)
            for found in check.findings
            if (items := (check.worst or {}).get(found.metric, ()))
        ],
    }


def _plot(found: Finding) -> dict[str, float] | None:
    """Where things stand in a drawing whose unit is the margin; what lies beyond its reach is at its edge."""
    if found.worsening is None:
        return None

    def place(value: float) -> float:
        return round(90 + HALF_WIDTH * max(-REACH, min(REACH, value / found.margin)) / REACH, 1)

    ends = (found.low if found.low is not None else -1e9, found.high if found.high is not None else 1e9)
    beyond = found.worsening / found.margin
    return {
        "margin": place(found.margin),
        "at": place(found.worsening),
        "low": place(ends[0]),
        "high": place(ends[1]),
        "beyond": 0.0 if abs(beyond) <= REACH else beyond,
    }


def _gallery(found: Finding, items: Iterable[WorstItem], mine: _Pictures, beside: _Pictures | None) -> dict[str, Any]:
    tiles = []
    for item in list(items)[:TILES]:
        pictures = [picture for picture in (mine.thumbnail(item.name, "candidate"),) if picture]
        if beside is not None and item.baseline_name is not None:
            pictures += [picture for picture in (beside.thumbnail(item.baseline_name, "baseline"),) if picture]
        tiles.append(
            {
                "name": item.name,
                "prompt": None if item.prompt is None else f"{item.prompt}, seed {item.seed}",
                "value": number(item.candidate, signed=True) if found.metric in DISTANCES else number(item.candidate),
                "against": None if item.baseline is None else number(item.baseline, signed=found.metric in DISTANCES),
                "pictures": pictures,
            }
        )
    if found.metric in DISTANCES:
        title, told = f"What drove {found.metric} up", f"What each sample adds to {found.metric}, to first order"
    else:
        title, told = f"Where {found.metric} fell most", f"{found.metric} of each sample"
        title = title.replace("fell", "rose") if not found.higher_is_better else title
    paired = any(tile["against"] is not None for tile in tiles)
    return {
        "title": title,
        "told": told + (", against the baseline's sample of the same prompt and seed." if paired else "."),
        "tiles": tiles,
    }


DISTANCES = ("fd", "fid", "fvd", "kid", "kvd", "vendi")


class _Pictures:
    """The pictures of one run by name, where they are still to be had."""

    def __init__(self, source: str) -> None:
        self._source: ImageSource | None = None
        self._place: dict[str, int] = {}
        if not Path(source).exists() or Path(source).suffix.lower() == ".json":
            return
        from paragone.data.images import read_images

        try:
            self._source = read_images(source)
        except ParagoneError:
            return
        self._place = {name: place for place, name in enumerate(self._source.names)}

    def thumbnail(self, name: str, label: str) -> dict[str, Any] | None:
        """The picture as a data address; None where it is not there or cannot be read."""
        from PIL import Image

        from paragone.data.decoding import Decoded

        if self._source is None or name not in self._place:
            return None
        read = self._source.read(self._place[name])
        if not isinstance(read, Decoded):
            return None
        picture = Image.fromarray(read.pixels)
        small = max(picture.size) <= SMALL
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        content = io.BytesIO()
        picture.save(content, format="PNG" if small else "WEBP", **({} if small else {"quality": 80}))
        kind = "png" if small else "webp"
        encoded = base64.b64encode(content.getvalue()).decode()
        return {"label": label, "small": small, "data": f"data:image/{kind};base64,{encoded}"}
