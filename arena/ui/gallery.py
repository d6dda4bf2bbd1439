"""The gallery: one prompt, and what every model made of it, seed by seed."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import streamlit as st

from paragone.arena.ui.pictures import Pixels, contact_sheet, read_sample_picture, to_png
from paragone.arena.ui.reading import OpenProject
from paragone.data.errors import UnreadableImage
from paragone.data.records import Prompt, Sample

SHEET_COLUMNS = 4
SHEET = SHEET_COLUMNS**2  # seeds to a sheet
TILE_PX = 252


def show(project: OpenProject) -> None:
    """Draw the page."""
    prompts = project.prompts()
    prompt_side, seed_side = st.columns([3, 1])
    prompt: Prompt | None = prompt_side.selectbox("Prompt", prompts, format_func=_prompt_label, key="gallery-prompt")
    samples = project.samples(prompt.id) if prompt else []
    if not samples:
        st.info("No samples of this prompt yet." if prompt else "No prompts yet.", icon=":material/imagesmode:")
        return
    seeds = sorted({sample.seed for sample in samples})
    sheets = [seeds[at : at + SHEET] for at in range(0, len(seeds), SHEET)]
    # The same place on every model's sheet is the same seed.
    sheet: int | None = seed_side.selectbox(
        "Seeds", range(len(sheets)), format_func=lambda n: f"{sheets[n][0]} – {sheets[n][-1]}", key="gallery-seeds"
    )
    shown = sheets[sheet or 0]
    by_model: dict[str, dict[int, Sample]] = defaultdict(dict)
    for sample in samples:
        by_model[sample.model][sample.seed] = sample
    with st.container(horizontal=True, key="gallery"):
        for number, model in enumerate(sorted(by_model)):
            with st.container(key=f"tile-{number}", width=TILE_PX, gap="xxsmall"):
                _draw_tile(project.folder, model, [by_model[model].get(seed) for seed in shown])


def _draw_tile(folder: Path, model: str, samples: list[Sample | None]) -> None:
    try:
        st.image(_sheet(str(folder), tuple(samples)), alt="Samples of one model", width="stretch")
    except UnreadableImage as error:
        st.text(str(error))
    st.text(model)


def _prompt_label(prompt: Prompt) -> str:
    return prompt.text if len(prompt.text) <= 120 else f"{prompt.text[:119]}…"


@st.cache_data(max_entries=128, show_spinner=False)
def _sheet(folder: str, samples: tuple[Sample | None, ...]) -> bytes:
    pictures: list[Pixels | None] = [
        None if sample is None else read_sample_picture(Path(folder), sample) for sample in samples
    ]
    return to_png(contact_sheet(pictures, columns=min(SHEET_COLUMNS, len(pictures))))
