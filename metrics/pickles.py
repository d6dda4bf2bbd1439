"""Reading arrays of numbers out of another tool's pickle, without running anything that is in it.

A pickle is a program, and unpickling runs it. NVIDIA's EDM2 keeps its reference statistics in one, so here is a reader
for such files, in which the program finds nothing to call but what numpy writes for plain arrays: `ndarray`, `dtype`,
`_reconstruct` and `scalar`. Every other name is refused before it is even looked up, and so are arrays of Python
objects. No other module of this project may import pickle, and none writes one.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from paragone.data.errors import InputError

_NUMERIC_KINDS = "biuf"
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")  # of numpy 1 and 2


class _Refused(Exception):
    """A name, or a type of numbers, that no plain array needs."""


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that knows four names; a pickle that asks for a fifth is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return _plain_dtype
        if module in _MODULES and name in ("_reconstruct", "scalar"):
            return _numpy_function(name)
        raise _Refused(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("it refers to objects outside the file")


def read_numpy_pickle(path: Path) -> Any:
    """The dicts, lists, numbers, text and numeric arrays in a pickle; raises `InputError` that names the file."""
    try:
        return _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except _Refused as error:
        raise InputError(
            f"{path}: refused, nothing in it was run: {error}, and only plain arrays of numbers are read from a pickle"
        ) from error
    except Exception as error:  # a damaged program ends in nearly any way
        raise InputError(f"{path}: cannot be read as a pickle of arrays ({type(error).__name__}: {error})") from error


def _plain_dtype(code: object, *_flags: object) -> np.dtype[Any]:
    """The dtype that `code` spells, which a pickle may only do in words: f8, i4 …"""
    found = np.dtype(code) if isinstance(code, str) else None
    if found is None or found.kind not in _NUMERIC_KINDS or found.hasobject:
        raise _Refused(f"it holds an array of {code!r}, which are no numbers")
    return found


def _numpy_function(name: str) -> Callable[..., Any]:
    from numpy._core import multiarray

    function: Callable[..., Any] = getattr(multiarray, name)
    return function
