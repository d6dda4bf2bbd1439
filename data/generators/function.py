"""Any function or pipeline in Python as a generator: `module:attr`.

It is called once a request with those of these keywords that it takes:

    prompt        the words                       seed        the request's
    source        path of the input picture       mask        path of the mask
    image         the input picture (PIL, RGB)    mask_image  the mask (PIL, grey)
    generator     torch.Generator on the CPU, seeded with the request's seed
    request       the whole `GenerationRequest`

and with the `arguments` of its settings. It returns a picture or clip (PIL, array, tensor, list of frames, path,
encoded bytes), an object with `images` or `frames`, as the pipelines of diffusers do, or a `Generation`. An exception
is the request's error, and the run goes on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from paragone.data.errors import ParagoneError, PluginError
from paragone.data.generators.base import VIDEO_TASKS, Generation, GenerationRequest
from paragone.data.generators.media import as_clip, as_still, delivered
from paragone.data.generators.settings import check_names
from paragone.data.records import Status, Task
from paragone.data.registry import Plugin

OURS = ("prompt", "seed", "source", "mask", "image", "mask_image", "generator", "request")
FPS = 8.0


@dataclass
class FunctionGenerator:
    """Asks a function for each request."""

    name: str
    task: Task
    target: str  # module:attribute; a class is made first, with `create`
    arguments: Mapping[str, Any] = field(default_factory=dict)  # for every call
    create: Mapping[str, Any] = field(default_factory=dict)  # for making the class's object
    fps: float = FPS  # of clips that do not say
    version: str = ""  # to be changed when the code behind it changes: samples of two versions are not mixed

    def __post_init__(self) -> None:
        found: Any = Plugin(self.target, self.target, "module path").load()
        if inspect.isclass(found):
            found = found(**self.create)
        if not callable(found):
            raise PluginError(f"{self.target}: {type(found).__name__} is no function or pipeline: it cannot be called")
        self._call: Callable[..., Any] = found
        self._takes, takes_any = _parameters(found)
        if not takes_any:
            check_names(self.arguments, self._takes, owner=f"{self.target} of generator {self.name!r}")
        if not set(self._takes) & set(OURS) and not takes_any:
            raise PluginError(f"{self.target}: takes none of {', '.join(OURS)}")

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """One call a request."""
        return (self._answer(request) for request in requests)

    def _answer(self, request: GenerationRequest) -> Generation:
        try:
            made = self._call(**self._keywords(request))
            return generation_of(made, request, self.task, self.fps)
        except ParagoneError as error:
            return Generation(request, status=Status.ERROR, message=str(error))
        except Exception as error:  # foreign code
            return Generation(request, status=Status.ERROR, message=f"{type(error).__name__}: {error}")

    def _keywords(self, request: GenerationRequest) -> dict[str, Any]:
        makers: dict[str, Callable[[], Any]] = {
            "prompt": lambda: request.prompt.text,
            "seed": lambda: request.seed,
            "source": lambda: request.source,
            "mask": lambda: request.mask,
            "image": lambda: open_rgb(request.source),
            "mask_image": lambda: open_mask(request.mask),
            "generator": lambda: torch_generator(request.seed),
            "request": lambda: request,
        }
        found = {name: make() for name, make in makers.items() if name in self._takes and name not in self.arguments}
        return {name: value for name, value in found.items() if value is not None} | dict(self.arguments)


def generation_of(made: Any, request: GenerationRequest, task: Task, fps: float) -> Generation:
    """What a function returned as a `Generation`; raises `InputError` for what is no picture or clip."""
    name = f"prompt {request.prompt.id!r}, seed {request.seed}"
    if isinstance(made, Generation):
        return replace(made, request=request)
    if isinstance(made, Path):
        made = made.read_bytes()
    if isinstance(made, bytes):
        return Generation(request, file=delivered(made, name))
    if task in VIDEO_TASKS:
        frames = getattr(made, "frames", made)
        return Generation(request, clip=as_clip(frames, name), fps=fps)
    images = getattr(made, "images", made)
    if isinstance(images, (list, tuple)) and len(images) == 1:
        images = images[0]
    return Generation(request, as_still(images, name))


def open_rgb(path: Path | None) -> Image.Image | None:
    """An input picture, upright, in RGB."""
    if path is None:
        return None
    with Image.open(path) as picture:
        return ImageOps.exif_transpose(picture).convert("RGB")


def open_mask(path: Path | None) -> Image.Image | None:
    """A mask in grey: white may change."""
    if path is None:
        return None
    with Image.open(path) as picture:
        return picture.convert("L")


def torch_generator(seed: int) -> Any:
    """A generator of the CPU, whose numbers are the same on every machine and in every batch."""
    import torch

    return torch.Generator("cpu").manual_seed(seed)


def _parameters(function: Callable[..., Any]) -> tuple[list[str], bool]:
    """The names that a function takes as keywords, and whether it takes any others."""
    parameters = inspect.signature(function).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return names, any(p.kind is p.VAR_KEYWORD for p in parameters)
