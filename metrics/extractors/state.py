"""Reading pretrained weights without running any code that is in the file."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from paragone.data.errors import InputError

NESTED = ("state_dict", "model", "module")  # under which checkpoints keep their weights


def read_state(path: Path, *, expected: str) -> dict[str, Tensor]:
    """The state dict in a .safetensors file or in what `torch.save` wrote, also when it lies under a name of `NESTED`.

    Raises `InputError` that names the file and `expected` when it is damaged or something else.
    """
    try:
        if path.suffix == ".safetensors":
            state: Any = safetensors.torch.load_file(path)
        else:
            with warnings.catch_warnings(action="ignore", category=UserWarning):  # the error says it better
                state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader of a damaged file raises nearly anything
        raise _refused(path, expected, error) from error
    if isinstance(state, dict):
        state = next((state[name] for name in NESTED if isinstance(state.get(name), dict)), state)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path}: not {expected} (it holds no table of tensors)")
    return state


def read_archive(path: Path) -> torch.jit.ScriptModule:
    """The network in a TorchScript archive, on the CPU; raises `InputError`."""
    try:
        # torch would rather have its successor, but the files that are published are of this kind.
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            network: torch.jit.ScriptModule = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, OSError) as error:
        raise _refused(path, "a TorchScript archive", error) from error
    return network


def fill(network: nn.Module, state: dict[str, Tensor], path: Path, *, expected: str, assign: bool = False) -> None:
    """Load `state`, read from `path`, into `network`; raises `InputError` unless every name and shape agrees.

    `assign` puts the file's tensors in place of the network's, as a network on the meta device needs.
    """
    try:
        network.load_state_dict(state, assign=assign)
    except RuntimeError as error:
        raise _refused(path, expected, error) from error


def state_digest(network: nn.Module) -> str:
    """sha256 (hex) over names, types, shapes and bytes of a network's parameters and buffers."""
    total = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        array = value.detach().cpu().contiguous()
        total.update(f"{name}{array.dtype}{tuple(array.shape)}".encode())
        total.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _refused(path: Path, expected: str, error: Exception) -> InputError:
    lines = str(error).splitlines() or [type(error).__name__]
    # torch's first line only says that there are errors; the second is the first of them.
    reason = " ".join(line.strip() for line in lines[:2])[:200]
    return InputError(f"{path}: not {expected} ({reason})")
