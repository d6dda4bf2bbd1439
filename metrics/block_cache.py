"""The cache of features: one file for each block of pictures, named by the digest of all that its rows depend on."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paragone.data.files import write_atomically
from paragone.data.records import fingerprint
from paragone.metrics.feature_store import no_room

if TYPE_CHECKING:
    from paragone.metrics.extractors.base import FeatureExtractor

CACHE_FORMAT = 1


class Rows(NamedTuple):
    """Features [N, D] and, where the extractor has them, logits [N, K], as the extractor made them."""

    features: NDArray[Any]
    logits: NDArray[Any] | None


def joined(parts: list[Rows]) -> Rows:
    """All rows of `parts`, in order."""
    logits = [rows.logits for rows in parts if rows.logits is not None]
    return Rows(np.concatenate([rows.features for rows in parts]), np.concatenate(logits) if logits else None)


def block_path(cache: Path | None, digests: bytes, extractor: FeatureExtractor, device: str) -> Path | None:
    """Where the features of the pictures with these `digests` are kept; None without a cache."""
    if cache is None:
        return None
    key = fingerprint(
        {
            "format": CACHE_FORMAT,
            "pictures": hashlib.sha256(digests).hexdigest(),
            "extractor": extractor.name,
            "weights": extractor.fingerprint,
            "protocol": extractor.protocol,
            "resize": extractor.resize,
            "device": device,
        }
    )
    return cache / f"{key}.npz"


def load_block(path: Path | None, n: int, extractor: FeatureExtractor) -> Rows | None:
    """The cached block, or None when there is none; a damaged file counts as none and is written anew."""
    if path is None:
        return None
    try:
        # Opened here, because numpy leaves a damaged file open.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            rows = Rows(file["features"], file["logits"] if extractor.has_logits else None)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return rows if rows.features.shape == (n, extractor.dim) else None


def save_block(path: Path | None, rows: Rows) -> None:
    """Keep a block, whole or not at all; raises `InputError` that names the folder when it cannot be written."""
    if path is None:
        return
    arrays = {"features": rows.features} | ({"logits": rows.logits} if rows.logits is not None else {})
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    try:
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise no_room(path.parent, error) from error
