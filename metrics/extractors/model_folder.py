"""Video networks of transformers, from a folder on this machine: config.json and model.safetensors, nothing fetched."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

from paragone.data.errors import InputError, MissingWeights, PluginError
from paragone.data.files import file_digest

CONFIG = "config.json"


def read_folder(folder: Path, kind: str) -> Any:
    """The network of the class `kind` of transformers in a folder; every weight of it must be there.

    Raises `PluginError` without transformers, `InputError` for a folder of another network.
    """
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise PluginError(f"{folder}: needs transformers: pip install 'paragone[local]' ({error})") from error
    transformers.logging.disable_progress_bar()
    try:
        network, found = getattr(transformers, kind).from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # the readers of damaged files raise nearly anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{folder}: not a {kind} that can be loaded ({reason})") from error
    if missing := sorted(found["missing_keys"]):
        raise InputError(
            f"{folder}: not a whole {kind}: {missing[0]} and {len(missing) - 1} more are not in it, and would be random"
        )
    return network.float().eval().requires_grad_(False)


def folder_digest(weights: Path | None, *, extractor: str, wanted: str) -> str:
    """sha256 over the files of a model folder; raises `MissingWeights` when it is none."""
    if weights is None or not (weights / CONFIG).is_file():
        found = "none is named" if weights is None else f"{weights} has no {CONFIG}"
        raise MissingWeights(
            f"the extractor {extractor} needs {wanted}, and {found}; name it with --weights FOLDER, or use --features "
            "gist3d, which needs none"
        )
    total = hashlib.sha256()
    for path in [weights / CONFIG, *sorted(weights.glob("*.safetensors"))]:
        total.update(f"{path.name}:{file_digest(path)}\n".encode())
    return total.hexdigest()
