"""Clips side by side and in step, with what was measured of each frame under them (a Streamlit component, version 2).

The values lie in the project folder where `paragone metrics --keep-frames` has put them; a clip without them is shown
without plots. All plots of one measure have one scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from paragone.arena.ui import veil, widget_part
from paragone.arena.ui.media import clip_url
from paragone.arena.ui.pictures import is_video
from paragone.arena.ui.reading import OpenProject
from paragone.data.clip_frames import ClipFrames, clip_frames_file, load_clip_frames
from paragone.data.errors import InputError
from paragone.data.records import Sample

HEAD_BYTES = 64
ANIMATED = (".gif", ".apng")
DIGITS = 5  # significant ones of a value
PLOTS = (  # series, title, unit
    ("warp_error", "Warp error", ""),
    ("motion", "Motion", "/s"),
    ("brightness", "Brightness", ""),
)


def is_clip(folder: Path, sample: Sample) -> bool:
    """Whether a sample moves, as its record says, or else its file's first bytes."""
    if sample.frames is not None:
        return sample.frames > 1
    return _moves(folder / sample.path)


def has_frames(folder: Path) -> bool:
    """Whether anything was measured frame by frame in this project."""
    return any(clip_frames_file(folder, "0").parent.glob("*.json"))


def draw_clips(project: OpenProject, samples: Sequence[Sample], *, key: str) -> None:
    """Put the clips of several models on the page; a flagged one is not sent before somebody asks to see it."""
    behind = veil.hidden(project, samples)
    tiles, broken = [], []
    for sample in samples:
        if sample.id in behind:
            st.text(f"{sample.model}: flagged by a safety classifier, not shown")
            continue
        try:
            frames = load_clip_frames(clip_frames_file(project.folder, sample.sha256))
        except InputError as error:
            frames = None
            broken.append(str(error))
        tiles.append({"model": sample.model, "url": clip_url(sample.id), **_plotted(frames)})
    plots = [
        {"name": name, "title": title, "unit": unit}
        for name, title, unit in PLOTS
        if any(any(value is not None for value in tile["series"].get(name, ())) for tile in tiles)
    ]
    veil.draw_button(behind, key=key)
    if tiles:
        _component(key=key, data={"tiles": tiles, "plots": plots})
    for line in broken:
        st.text(line)
    if tiles and not plots:
        st.caption("Nothing was measured frame by frame here: `paragone metrics CLIPS --metric motion --keep-frames .`")


def _plotted(frames: ClipFrames | None) -> dict[str, Any]:
    if frames is None:
        return {"times": [], "series": {}, "cuts": [], "note": ""}
    series = {
        name: [None if value is None else float(f"{value:.{DIGITS}g}") for value in frames.series[name]]
        for name, _, _ in PLOTS
        if name in frames.series
    }
    cuts = [frames.times_s[place + 1] for place, cut in enumerate(frames.marks.get("cuts", ())) if cut]
    return {"times": list(frames.times_s), "series": series, "cuts": cuts, "note": _note(frames)}


def _note(frames: ClipFrames) -> str:
    """What a plot that lies at zero might hide."""
    if frames.stands_still:
        return "stands still: its warp error does not count"
    return "" if frames.loop_s is None else f"begins again after {frames.loop_s:.2g} s"


@st.cache_data(max_entries=4096, show_spinner=False)
def _moves(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False
    return is_video(head) or path.suffix.lower() in ANIMATED


_component: Callable[..., Any] = st.components.v2.component(
    "paragone_clips",
    html=widget_part("clips.html"),
    css=widget_part("clips.css"),
    js="\n".join(widget_part(name) for name in ("player.js", "clips.js")),
)
