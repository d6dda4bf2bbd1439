"""Flagged samples are blurred until somebody asks to see them; who did sees them until the visit ends.

What is blurred is made so on the server: the picture itself is not sent. (A battle's pictures are blurred by the page,
both sides alike, so that the veil does not tell which model was flagged.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import streamlit as st
from PIL import Image

from paragone.arena.ui.pictures import Pixels
from paragone.arena.ui.reading import OpenProject
from paragone.data.records import Sample

LEFT_PX = 5  # on the longer side, at most: what a veiled picture is reduced to
LEFT_SHARE = 1 / 4  # and of a tiny one
_KEY = "unveiled"


def hidden(project: OpenProject, samples: Iterable[Sample]) -> frozenset[str]:
    """The ids of those samples that are flagged and that this visitor has not asked for."""
    flagged = project.store.flagged(sample.id for sample in samples)
    return frozenset(flagged - st.session_state.get(_KEY, set()))


def draw_button(ids: Collection[str], *, key: str) -> None:
    """A button that shows these samples; nothing when there are none."""
    if ids:
        st.button(
            f"Show {len(ids)} flagged" if len(ids) > 1 else "Show, though flagged",
            key=f"unveil-{key}",
            on_click=_unveil,
            args=(frozenset(ids),),
            icon=":material/visibility:",
            help="A safety classifier flagged what is blurred here.",
        )


def _unveil(ids: frozenset[str]) -> None:
    st.session_state[_KEY] = st.session_state.get(_KEY, set()) | ids


def veiled(pixels: Pixels) -> Pixels:
    """A picture of the same size of which a few patches of colour are left."""
    height, width = pixels.shape[:2]
    factor = min(LEFT_PX / max(height, width), LEFT_SHARE)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = Image.fromarray(pixels).resize(size, Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
