"""Where extractors run. Says so without importing torch where the machine alone decides, for torch takes seconds."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from paragone.data.errors import UsageError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str) -> torch.device:
    """The device called `name`; auto is CUDA where there is one, otherwise the CPU. MPS has to be asked for."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no CUDA device here; use --device cpu")
    if name == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: torch sees no MPS device here; use --device cpu")
    return torch.device(name)


def device_kind(name: str) -> str:
    """cpu, cuda or mps: the type of `choose_device(name)`; raises as it does. On a machine without a GPU no torch."""
    if name == "cpu" or (name == "auto" and not _may_have_cuda()):
        return "cpu"
    return choose_device(name).type


def _may_have_cuda() -> bool:
    """Whether there is a driver that torch could find a CUDA device with; ROCm's counts as one."""
    if "torch" in sys.modules:
        return True  # it can be asked
    if sys.platform == "darwin":
        return False
    if Path("/dev/kfd").exists():
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
