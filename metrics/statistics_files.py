"""Feature statistics on disk: .npz without pickle, readable by pytorch-fid and EDM, and theirs by us.

Our file holds `schema`, `n`, `mean`, the upper triangle of the scatter row by row, and the tags; for n ≥ 2 also `mu`
and `sigma` (ddof 1), the keys of pytorch-fid (github.com/mseitzer/pytorch-fid) and EDM. Their files hold nothing but
those two; ADM's also `mu_s` and `sigma_s`, of the spatial features of its sFID. EDM2 (github.com/NVlabs/edm2) keeps a
pickle of `num_images` and one pair of `mu` and `sigma` for each metric, which is read by `paragone.metrics.pickles`.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import InputError
from paragone.data.files import write_atomically
from paragone.metrics.feature_statistics import FeatureStatistics, ForeignStatistics, Statistics
from paragone.metrics.pickles import read_numpy_pickle

SCHEMA = "paragone.statistics/1"


def save_statistics(statistics: FeatureStatistics, path: str | Path) -> None:
    """Write `statistics` to exactly `path`, atomically; equal statistics give equal bytes."""
    upper = np.triu_indices(statistics.dim)
    arrays: dict[str, NDArray[Any]] = {
        "schema": np.array(SCHEMA),
        "n": np.array(statistics.n, dtype=np.int64),
        "mean": statistics.mean,
        "scatter_upper": statistics.scatter[upper],
    }
    for tag in ("extractor", "protocol"):
        if getattr(statistics, tag) is not None:
            arrays[tag] = np.array(getattr(statistics, tag))
    if statistics.n >= 2:
        arrays |= {"mu": statistics.mean, "sigma": statistics.covariance(ddof=1)}
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    write_atomically(Path(path), content.getvalue())


def load_statistics(path: str | Path, *, features: str = "") -> Statistics:
    """Read our file, or one with `mu` and `sigma` of pytorch-fid, EDM, EDM2 (.pkl), clean-fid or ADM.

    `features`, the name of an extractor, says which statistics are meant where a file has several. Another tool's .npz
    gives `ForeignStatistics`, whose n is unknown. Raises `InputError` that names the file.
    """
    if Path(path).suffix.lower() in PICKLES:
        return _edm2_statistics(Path(path), features)
    arrays = _read_arrays(Path(path))
    if "schema" in arrays:
        return _our_statistics(arrays, path)
    keys = ("mu_s", "sigma_s") if features == SPATIAL and "mu_s" in arrays else ("mu", "sigma")
    if any(key not in arrays for key in keys):
        raise InputError(
            f"{path}: no feature statistics in it (keys: {', '.join(sorted(arrays)) or 'none'}; wanted: mu, sigma)"
        )
    for key in keys:
        if arrays[key].dtype.kind not in "fiu":
            raise InputError(f"{path}: {key} has dtype {arrays[key].dtype}, not numbers")
    return ForeignStatistics(arrays[keys[0]], arrays[keys[1]], source=str(path))


def _edm2_statistics(path: Path, features: str) -> FeatureStatistics:
    """The entry of an EDM2 file that `features` means, or its only one. The covariance has ddof 1."""
    found = read_numpy_pickle(path)
    document: dict[Any, Any] = found if isinstance(found, dict) else {}
    entries = {key: value for key, value in document.items() if isinstance(value, dict)}
    key = next((key for prefix, key in EDM2_ENTRIES.items() if features.startswith(prefix)), None)
    if key not in entries:
        key = next(iter(entries)) if len(entries) == 1 else None
    if key is None:
        known = ", ".join(map(str, entries)) or "nothing"
        raise InputError(f"{path}: no statistics for {features or 'unnamed features'} in it (it has {known})")
    n: Any = document.get("num_images")
    mean: Any = entries[key].get("mu")
    sigma: Any = entries[key].get("sigma")
    arrays = isinstance(mean, np.ndarray) and isinstance(sigma, np.ndarray)
    if not arrays or not isinstance(n, int | np.integer) or n < 2:
        raise InputError(f"{path}: damaged, it lacks num_images, or mu and sigma of {key}")
    try:
        return FeatureStatistics(int(n), mean, sigma * (int(n) - 1))
    except (InputError, ValueError, TypeError) as error:
        raise InputError(f"{path}: {error}") from error


PICKLES = (".pkl", ".pickle")
EDM2_ENTRIES = {
    "inception": "fid",
    "dinov2": "fd_dinov2",
}  # our extractors' names, and what EDM2 calls their statistics
SPATIAL = "inception:sfid"
_WANTED = ("schema", "n", "mean", "scatter_upper", "extractor", "protocol", "mu", "sigma", "mu_s", "sigma_s")


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The members of the .npz that we know, and the bare names of the others."""
    try:
        with path.open("rb") as opened:  # np.load would leave a file open that it finds damaged
            file = np.load(opened, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise InputError(f"{path}: a single array (.npy), not a statistics file (.npz)")
            copies = ("mu", "sigma") if "schema" in file.files else ()  # ours holds these for other tools only
            wanted = set(_WANTED).difference(copies)
            with file:
                return {key: file[key] if key in wanted else np.empty(0) for key in file.files}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        # numpy refuses pickled content with a ValueError; that is what we want, under the file's name.
        raise InputError(f"{path}: cannot be read as a statistics file (.npz without pickle): {error}") from error


def _our_statistics(arrays: Mapping[str, NDArray[Any]], path: str | Path) -> FeatureStatistics:
    if str(arrays["schema"]) != SCHEMA:
        raise InputError(
            f"{path}: schema {str(arrays['schema'])!r} is not {SCHEMA!r}; this version of paragone cannot read it"
        )
    missing = [key for key in ("n", "mean", "scatter_upper") if key not in arrays]
    if missing:
        raise InputError(f"{path}: damaged, it lacks {', '.join(missing)}; make it again with `paragone stats`")
    n, mean, triangle = arrays["n"], arrays["mean"], arrays["scatter_upper"]
    dim = mean.size
    if n.shape != () or n.dtype.kind != "i" or mean.ndim != 1 or triangle.shape != (dim * (dim + 1) // 2,):
        raise InputError(f"{path}: damaged, n, mean and scatter_upper do not fit; make it again with `paragone stats`")
    scatter = np.zeros((dim, dim))
    scatter[np.triu_indices(dim)] = triangle
    scatter += np.triu(scatter, 1).T
    tags = {tag: str(arrays[tag]) if tag in arrays else None for tag in ("extractor", "protocol")}
    try:
        return FeatureStatistics(int(n), mean, scatter, extractor=tags["extractor"], protocol=tags["protocol"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
