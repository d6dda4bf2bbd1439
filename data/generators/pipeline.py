"""Any pipeline of diffusers as a generator: by its folder or its name on the Hub, loaded by its own class.

What may be set in a call is what the pipeline's `__call__` takes: its signature is read, and a name that is not there
is an error that lists those that are. Noise comes from one CPU generator a request, so that a picture does not depend
on its batch. Nothing is downloaded unless `allow_download` says so; code of a repository is never run.

A pipeline's safety checker that blackens a picture makes it `filtered`, not a black sample.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paragone.data.errors import InputError, MissingWeights, ParagoneError, UsageError
from paragone.data.files import file_digest
from paragone.data.generators.base import VIDEO_TASKS, Generation, GenerationRequest
from paragone.data.generators.function import open_mask, open_rgb, torch_generator
from paragone.data.generators.media import as_clip, as_still
from paragone.data.generators.settings import check_names
from paragone.data.records import Status, Task

OURS = ("prompt", "image", "mask_image", "generator", "output_type", "return_dict")
FPS = 16.0
DTYPES = ("float32", "bfloat16", "float16")


@dataclass
class PipelineGenerator:
    """Asks a pipeline of diffusers, a batch at a time."""

    name: str
    task: Task
    model: str | Path  # a folder, or a name on the Hub
    pipeline: str = ""  # class name, where the one in model_index.json is not wanted
    device: str = ""  # by default a GPU if there is one
    dtype: str = ""  # bfloat16, float16 or float32; by default bfloat16 on a GPU and float32 on a CPU
    revision: str | None = None
    variant: str | None = None
    call: Mapping[str, Any] = field(default_factory=dict)  # num_inference_steps, guidance_scale, height …
    fps: float = FPS  # of clips; the pipelines do not say
    offload: bool = False  # keep parts in main memory while they are not needed (accelerate)
    allow_download: bool = False
    batch: int = 1
    incidental: tuple[str, ...] = field(default=("model", "revision", "offload", "allow_download", "batch"), init=False)
    seeded: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        import torch

        self._folder = self._find()
        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = self.dtype or ("float32" if device == "cpu" else "bfloat16")
        if dtype not in DTYPES:
            raise UsageError(f"{self.name}: dtype {dtype!r} is unknown; use one of {', '.join(DTYPES)}")
        self._pipe = self._load(getattr(torch, dtype))
        self._takes = [name for name in inspect.signature(self._pipe.__call__).parameters if name != "self"]
        owner = f"call of {type(self._pipe).__name__}"
        check_names(self.call, [name for name in self._takes if name not in OURS], owner=owner)
        self._check_task()
        self._pipe.set_progress_bar_config(disable=True)
        if self.offload:
            self._pipe.enable_model_cpu_offload(device=device)
        else:
            self._pipe.to(device)
        self.fingerprint = weights_digest(self._folder)

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """One call a batch; where a batch fails, each of its requests alone."""
        for start in range(0, len(requests), self.batch):
            batch = requests[start : start + self.batch]
            answered = self._answer(batch)
            if isinstance(answered, Exception) and len(batch) > 1:
                for request in batch:
                    yield from self._alone(request)
            elif isinstance(answered, Exception):
                yield from self._alone(batch[0], answered)
            else:
                yield from answered

    def _alone(self, request: GenerationRequest, failed: Exception | None = None) -> Iterator[Generation]:
        answered = failed or self._answer([request])
        if isinstance(answered, Exception):
            words = str(answered) if isinstance(answered, ParagoneError) else f"{type(answered).__name__}: {answered}"
            yield Generation(request, status=Status.ERROR, message=words)
        else:
            yield from answered

    def _answer(self, batch: Sequence[GenerationRequest]) -> list[Generation] | Exception:
        import torch

        started = time.monotonic()
        try:
            with torch.no_grad():
                made = self._pipe(**self._keywords(batch))
            return self._generations(batch, made, (time.monotonic() - started) / len(batch))
        except Exception as error:  # out of memory, a prompt that is too long: the request's error, not the run's
            return error

    def _keywords(self, batch: Sequence[GenerationRequest]) -> dict[str, Any]:
        ours: dict[str, Any] = {
            "prompt": [request.prompt.text for request in batch],
            "generator": [torch_generator(request.seed) for request in batch],
            "output_type": "np",
        }
        for name, pictures in (
            ("image", [open_rgb(request.source) for request in batch]),
            ("mask_image", [open_mask(request.mask) for request in batch]),
        ):
            if all(picture is not None for picture in pictures):
                ours[name] = pictures if len(pictures) > 1 else pictures[0]
        keywords = {name: value for name, value in ours.items() if name in self._takes} | dict(self.call)
        if "prompt" not in self._takes and "batch_size" in self._takes:  # unconditional, such as DDPM
            keywords["batch_size"] = len(batch)
        return keywords

    def _generations(self, batch: Sequence[GenerationRequest], made: Any, each_s: float) -> list[Generation]:
        video = self.task in VIDEO_TASKS
        outputs = getattr(made, "frames", None) if video else getattr(made, "images", None)
        if outputs is None or len(outputs) != len(batch):
            what = "nothing" if outputs is None else f"{len(outputs)} outputs for {len(batch)} requests"
            raise InputError(f"{type(self._pipe).__name__} returned {what}")
        flags = getattr(made, "nsfw_content_detected", None) or [False] * len(batch)
        return [
            self._generation(request, output, bool(flag), each_s)
            for request, output, flag in zip(batch, outputs, flags, strict=True)
        ]

    def _generation(self, request: GenerationRequest, output: Any, flagged: bool, took_s: float) -> Generation:
        if flagged:
            return Generation(request, status=Status.FILTERED, message="by its safety checker", latency_s=took_s)
        name = f"prompt {request.prompt.id!r}, seed {request.seed}"
        if self.task in VIDEO_TASKS:
            return Generation(request, clip=as_clip(output, name), fps=self.fps, latency_s=took_s)
        return Generation(request, as_still(output, name), latency_s=took_s)

    def _check_task(self) -> None:
        wants_source = self.task in (Task.IMAGE_EDITING, Task.IMAGE_TO_VIDEO)
        if wants_source and "image" not in self._takes:
            raise UsageError(
                f"{self.name}: {type(self._pipe).__name__} takes no image, so it cannot do {self.task}; "
                "set pipeline to a class that does"
            )
        required = [
            parameter.name
            for parameter in inspect.signature(self._pipe.__call__).parameters.values()
            if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
        ]
        given = {"prompt", "generator", "output_type", "batch_size", *self.call}
        given |= {"image", "mask_image"} if wants_source else set()
        if missing := [name for name in required if name not in given]:
            raise UsageError(f"{self.name}: {type(self._pipe).__name__} also needs call.{', call.'.join(missing)}")

    def _find(self) -> Path:
        """The folder with the pipeline's files, on this machine."""
        path = Path(self.model)
        if path.is_dir():
            if not (path / "model_index.json").is_file():
                raise InputError(f"{path}: has no model_index.json, so it is no pipeline of diffusers")
            return path
        from diffusers import DiffusionPipeline

        options = {"revision": self.revision, "variant": self.variant, "local_files_only": not self.allow_download}
        try:
            return Path(DiffusionPipeline.download(str(self.model), **options))
        except Exception as error:
            if self.allow_download:
                raise InputError(f"{self.model}: cannot be fetched: {type(error).__name__}: {error}") from error
            raise MissingWeights(
                f"{self.model}: is no folder and is not in the Hub's cache on this machine; "
                "fetch it first, or set allow_download = true"
            ) from error

    def _load(self, dtype: Any) -> Any:
        import diffusers

        cls = getattr(diffusers, self.pipeline, None) if self.pipeline else diffusers.DiffusionPipeline
        if cls is None or not hasattr(cls, "from_pretrained"):
            raise UsageError(f"{self.name}: diffusers {diffusers.__version__} has no pipeline {self.pipeline!r}")
        diffusers.utils.logging.disable_progress_bar()
        try:
            return cls.from_pretrained(
                self._folder, torch_dtype=dtype, variant=self.variant, use_safetensors=True, local_files_only=True
            )
        except Exception as error:  # loading runs through four libraries
            raise InputError(f"{self._folder}: cannot be loaded: {type(error).__name__}: {error}") from error


def weights_digest(folder: Path) -> str:
    """sha256 over names and contents of all files of a model's folder; files of the Hub's cache are named by theirs."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        blob = path.resolve().name
        digest = blob if re.fullmatch(r"[0-9a-f]{64}", blob) else file_digest(path)
        total.update(f"{path.relative_to(folder).as_posix()}\0{digest}\n".encode())
    return total.hexdigest()
