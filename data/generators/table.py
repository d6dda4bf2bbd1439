"""The generator adapters that can be named, built in or installed (entry-point group `paragone.generators`).

A name leads to a class or function whose keywords are its settings. `name` and `task` are given to it, and where it
takes them, `state_folder` (a folder of its own, which outlives the run) and `base_folder` (from which relative paths
are read). The demo's own models are not among them: they are objects, built from the weights that the demo trains.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paragone.data.errors import PluginError, UsageError
from paragone.data.generators.base import GeneratorAdapter
from paragone.data.generators.settings import arguments_for, plain
from paragone.data.records import Task
from paragone.data.registry import Registry

GENERATORS = Registry(
    "generators",
    {
        "folder": "paragone.data.generators.folder:FolderGenerator",
        "callable": "paragone.data.generators.function:FunctionGenerator",
        "command": "paragone.data.generators.command:CommandGenerator",
        "diffusers": "paragone.data.generators.pipeline:PipelineGenerator",
        "openai-images": "paragone.data.generators.openai_images:OpenAIImages",
        "openai-videos": "paragone.data.generators.openai_videos:OpenAIVideos",
        "http-job": "paragone.data.generators.http_job:HttpJob",
        "comfyui": "paragone.data.generators.comfyui:ComfyUI",
    },
)


def load_generator(
    target: str,
    *,
    name: str,
    task: Task,
    settings: Mapping[str, Any] | None = None,
    state_folder: Path | None = None,
    base: Path | None = None,
) -> GeneratorAdapter:
    """The adapter called `target`, made with its settings; or what stands at `module:attribute`.

    There, an object or class with `generate` is an adapter, and any other function or pipeline is asked through
    `callable`. Relative paths in settings are read from `base`. Raises `PluginError` when there is nothing that can
    generate, and `UsageError` for settings that it does not have.
    """
    found: Any = GENERATORS.load(target)
    settings = dict(settings or {})
    given = {"name": name, "task": task, "state_folder": state_folder, "base_folder": base}
    if ":" in target and not hasattr(found, "generate"):
        found, settings = GENERATORS.load("callable"), {"target": target, **settings}
    if not inspect.isclass(found) and hasattr(found, "generate"):
        if settings:
            raise UsageError(f"{target}: is an object as it is, without settings; leave out {', '.join(settings)}")
        adapter = found
    else:
        adapter = found(**arguments_for(found, settings, owner=f"generator {name!r}", given=given, base=base))
    if not isinstance(adapter, GeneratorAdapter):
        raise PluginError(f"{target}: {type(adapter).__name__} is no generator: it lacks name, task or generate(…)")
    return adapter


def description_of(adapter: GeneratorAdapter, target: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the pictures of an adapter depend on, as JSON can hold it: two runs with the same may be put together."""
    incidental = getattr(adapter, "incidental", ())
    wanted = {key: plain(value) for key, value in sorted(settings.items()) if key not in incidental}
    described = {"adapter": target, "task": str(adapter.task), "settings": wanted}
    weights = getattr(adapter, "fingerprint", None)
    return described | ({"weights": weights} if weights else {})
