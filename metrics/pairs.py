"""Which pictures of two sets belong together: by the requests they answer, or by their names. All pair up, or none."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from paragone.data.generators.runner import MANIFEST, read_manifest
from paragone.data.images import ImageSource


class Pairing(NamedTuple):
    """The row of B that belongs to each row of A, or None; and how that was found, or why not."""

    order: tuple[int, ...] | None
    told: str


def pair_up(a: ImageSource, b: ImageSource) -> Pairing:
    """Match the pictures of two sets that were not left out.

    By prompt and seed where both are folders with a manifest; otherwise by file name, then by file name without its
    suffix; arrays by position.
    """
    requests = [requests_of(a), requests_of(b)]
    if requests[0] is not None and requests[1] is not None:
        keys = [[json.dumps(request) for request in of_set] for of_set in requests if of_set is not None]
        return _matched(keys[0], keys[1], "prompt and seed")
    positions = [_positions(a.kept_names), _positions(b.kept_names)]
    if positions[0] is not None and positions[1] is not None:
        return _matched(positions[0], positions[1], "position")
    by_name = _matched(a.kept_names, b.kept_names, "file name")
    if by_name.order is not None:
        return by_name
    by_stem = _matched(_stems(a.kept_names), _stems(b.kept_names), "file name without suffix")
    return by_stem if by_stem.order is not None else by_name


def _matched(a: Sequence[str], b: Sequence[str], how: str) -> Pairing:
    places = {key: index for index, key in enumerate(b)}
    shared = sum(key in places for key in a)
    if shared == len(a) == len(b) == len(places) == len(set(a)):
        return Pairing(tuple(places[key] for key in a), f"paired by {how}: {shared:,} pairs")
    return Pairing(None, f"unpaired: by {how}, {shared:,} of {len(a):,} in A have a partner among {len(b):,} in B")


def requests_of(pictures: ImageSource) -> tuple[tuple[str, int], ...] | None:
    """Prompt and seed of every picture, from the manifest of its folder; None when there is none, or not of all."""
    folder = Path(pictures.origin)
    if not (folder / MANIFEST).is_file():
        return None
    asked = {entry.file: entry.key for entry in read_manifest(folder) if entry.file is not None}
    found = [asked.get(name) for name in pictures.kept_names]
    return None if None in found else tuple(key for key in found if key is not None)


def _positions(names: Sequence[str]) -> tuple[str, ...] | None:
    """The [i] at the end of the name of every slice of an array; None for files."""
    found = [re.search(r"\[\d+\]$", name) for name in names]
    return None if None in found else tuple(match[0] for match in found if match is not None)


def _stems(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(PurePosixPath(name).with_suffix("")) for name in names)
