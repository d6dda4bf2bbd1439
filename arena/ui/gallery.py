"""The gallery: one prompt, and what every model made of it, seed by seed. The prompt stands in the address.

Pictures are read for the models and seeds that are in view only, reduced to the size of their tile, and kept. Clips
play in step, with what was measured of their frames under them.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import streamlit as st
from PIL import Image

from paragone.arena.ui import address, veil
from paragone.arena.ui.clip_wall import draw_clips, is_clip
from paragone.arena.ui.origin import origin_table
from paragone.arena.ui.pictures import Pixels, contact_sheet, read_sample_picture, to_png
from paragone.arena.ui.reading import OpenProject
from paragone.data.errors import UnreadableImage
from paragone.data.provenance import ABSENCE
from paragone.data.records import Prompt, Sample

SHEET_COLUMNS = 4
SHEET = SHEET_COLUMNS**2  # seeds to a sheet
TILE_PX = 252
SHEET_PX = 2 * TILE_PX  # of a sheet's pixels, for screens with two of them to the point
IN_VIEW = 96  # pictures to a page of the gallery, about
FEWEST_TILES = 8
LABEL_LENGTH = 120
EVERY_TAG = "every tag"
STYLE = """
<style>
.st-key-gallery [data-testid="stText"] { max-height: 6.6em; overflow: auto; unicode-bidi: isolate; }
@media (max-width: 640px) {
  .st-key-gallery { gap: 0.6rem; }
  .st-key-gallery > div { flex: 0 0 calc(50% - 0.3rem); min-width: 0; width: calc(50% - 0.3rem) !important; }
}
</style>
"""


def show(project: OpenProject) -> None:
    """Draw the page."""
    st.html(STYLE)
    prompt = _choose_prompt(project.prompts())
    samples = project.samples(prompt.id) if prompt else []
    if not samples:
        st.info("No samples of this prompt yet." if prompt else "No prompts yet.", icon=":material/imagesmode:")
        return
    seeds = sorted({sample.seed for sample in samples})
    by_model: dict[str, dict[int, Sample]] = defaultdict(dict)
    for sample in samples:
        by_model[sample.model][sample.seed] = sample
    if any(is_clip(project.folder, sample) for sample in samples):
        _show_clips(project, by_model, seeds)
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        shown = _choose_seeds(seeds)
        size = max(FEWEST_TILES, IN_VIEW // len(shown))
        models = address.page_of(sorted(by_model), size, name="models", page="gallery", what="models")
    with st.container(horizontal=True, key="gallery"):
        for number, model in enumerate(models):
            with st.container(key=f"tile-{number}", width=TILE_PX, gap="xxsmall"):
                _draw_tile(project, model, [by_model[model].get(seed) for seed in shown])
    _draw_origin(project, samples)


def _show_clips(project: OpenProject, by_model: dict[str, dict[int, Sample]], seeds: list[int]) -> None:
    """The clips of one seed, in step."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        seed = int(
            address.select(st.container(), "Seed", tuple(map(str, seeds)), name="seed", page="gallery", width=120)
        )
        there = sorted(model for model, made in by_model.items() if seed in made)
        models = address.page_of(there, FEWEST_TILES, name="models", page="gallery", what="models")
    clips = [by_model[model][seed] for model in models]
    moving = [sample for sample in clips if is_clip(project.folder, sample)]
    draw_clips(project, moving, key="gallery-clips")
    for sample in clips:
        if sample not in moving:
            st.text(f"{sample.model}: a still picture, or its file is missing")


def _choose_prompt(prompts: list[Prompt]) -> Prompt | None:
    """The prompt that the address names, else the first; tags narrow the choice where prompts have any."""
    tags = sorted({tag for prompt in prompts for tag in prompt.tags})
    prompt_side, tag_side = st.columns([3, 1]) if tags else (st.container(), st.container())
    if tags:
        tag = address.select(tag_side, "Tag", (EVERY_TAG, *tags), name="tag", page="gallery")
        prompts = [prompt for prompt in prompts if tag in (EVERY_TAG, *prompt.tags)]
    if not prompts:
        return None
    table = {prompt.id: prompt for prompt in prompts}
    chosen = address.select(
        prompt_side,
        f"Prompt, one of {len(table):,}" if len(table) > 1 else "Prompt",
        tuple(table),
        name="prompt",
        page="gallery",
        format_func=lambda name: _label(table[name].text),
    )
    prompt = table[chosen]
    if len(prompt.text) > LABEL_LENGTH:
        st.text(prompt.text)
    return prompt


def _choose_seeds(seeds: list[int]) -> list[int]:
    """The seeds of one sheet. The same place on every model's sheet is the same seed."""
    sheets = [seeds[at : at + SHEET] for at in range(0, len(seeds), SHEET)]
    if len(sheets) == 1:
        return sheets[0]
    labels = {f"{sheet[0]} – {sheet[-1]}" if len(sheet) > 1 else str(sheet[0]): sheet for sheet in sheets}
    chosen = address.select(st.container(), "Seeds", tuple(labels), name="seeds", page="gallery", width=200)
    return labels[chosen]


def _draw_tile(project: OpenProject, model: str, samples: list[Sample | None]) -> None:
    behind = veil.hidden(project, (sample for sample in samples if sample is not None))
    try:
        st.image(_sheet(str(project.folder), tuple(samples), behind), alt=f"Samples of {model}", width="stretch")
    except UnreadableImage as error:
        st.text(str(error))
    veil.draw_button(behind, key=f"gallery-{model}")
    st.text(model)


def _draw_origin(project: OpenProject, samples: list[Sample]) -> None:
    """What the files in view say of their origin, where they were looked at."""
    found = project.store.provenance(sample.sha256 for sample in samples)
    if found:
        with st.expander("What these files say of their origin", icon=":material/fingerprint:"):
            st.dataframe(origin_table(samples, found), hide_index=True)
            st.caption(ABSENCE)


def _label(text: str) -> str:
    return text if len(text) <= LABEL_LENGTH else f"{text[: LABEL_LENGTH - 1]}…"


@st.cache_data(max_entries=512, show_spinner=False)
def _sheet(folder: str, samples: tuple[Sample | None, ...], behind: frozenset[str]) -> bytes:
    columns = min(SHEET_COLUMNS, len(samples))
    pictures: list[Pixels | None] = []
    for sample in samples:
        if sample is None:
            pictures.append(None)
            continue
        picture = _reduced(read_sample_picture(Path(folder), sample), SHEET_PX // columns)
        pictures.append(veil.veiled(picture) if sample.id in behind else picture)
    return to_png(contact_sheet(pictures, columns=columns))


def _reduced(pixels: Pixels, most_px: int) -> Pixels:
    """A picture whose longer side is at most `most_px`."""
    height, width = pixels.shape[:2]
    factor = most_px / max(height, width)
    if factor >= 1:
        return pixels
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
