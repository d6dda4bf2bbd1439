"""Contact sheets of the full demo's clips and edits: what the numbers are about, as PNGs in the project's `plots/`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paragone.data.digits import SIZE_PX, load_digits_split, read_digits, read_grey
from paragone.data.files import write_atomically
from paragone.data.generators.runner import encode_png, read_manifest
from paragone.data.moving_digits import CANVAS_PX, draw_moves
from paragone.data.project import Project
from paragone.demo.full_settings import FullSettings
from paragone.demo.full_tracks import EDITS, read_clip

ZOOM = {"clips": 4, "edits": 8}  # pixels of the sheet to one of a picture
GAP = 1  # pixel of a picture between two
PAPER = 96  # grey level
SHOWN_MOVES = (3, 21, 45, 62)  # of 80: one up, down, left, right or across
CLIP_ROWS = ("moving", "shuffled")  # under the real clip
EDIT_COLUMNS = ("inpaint", "repaint", "mask-blind")  # beside the source


def write_sheets(project: Project, settings: FullSettings) -> list[Path]:
    """`clips.png`: in threes, the real clip, the model's and the same shuffled; `edits.png`: source and edits."""
    sheets = {"clips": _clips(project, settings), "edits": _edits(project, settings)}
    paths = []
    for name, sheet in sheets.items():
        paths.append(project.folder / "plots" / f"{name}.png")
        write_atomically(paths[-1], encode_png(sheet.repeat(ZOOM[name], axis=0).repeat(ZOOM[name], axis=1)))
    return paths


def tiled(rows: Sequence[Sequence[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Pictures [H, W] of one size in rows, with a gap around each."""
    padded = [[np.pad(picture, GAP, constant_values=PAPER) for picture in row] for row in rows]
    return np.block(padded).astype(np.uint8)


def _clips(project: Project, settings: FullSettings) -> NDArray[np.uint8]:
    moves = draw_moves(load_digits_split(seed=settings.seed)[1], seed=settings.seed)
    rows: list[list[NDArray[np.uint8]]] = []
    for number in SHOWN_MOVES:
        rows.append(list(moves[number].clip))
        rows += [list(read_clip(_file(project, name, moves[number].prompt.id))) for name in CLIP_ROWS]
        rows.append([np.full((GAP, CANVAS_PX), PAPER, np.uint8)] * len(moves[number].clip))
    return tiled(rows[:-1])


def _edits(project: Project, settings: FullSettings) -> NDArray[np.uint8]:
    """One row a digit asked for, its first two sources side by side."""
    prompts = EDITS.prompts(settings)
    by_digit = [prompts[start : start + 2] for start in range(0, len(prompts), settings.edits_per_digit)]
    rows = []
    for of_digit in by_digit:
        row: list[NDArray[np.uint8]] = []
        for prompt in of_digit:
            row.append(read_grey(project.folder / str(prompt.source), SIZE_PX))
            row += list(read_digits([_file(project, name, prompt.id) for name in EDIT_COLUMNS]))
        rows.append(row)
    return tiled(rows)


def _file(project: Project, model: str, prompt_id: str) -> Path:
    """The file of a model's first answer to a prompt."""
    folder = project.samples / model
    return folder / str(next(entry.file for entry in read_manifest(folder) if entry.prompt_id == prompt_id))
