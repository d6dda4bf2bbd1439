"""The server of image and video services, as a module and running; services that do not wait between attempts."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from paragone.data.generators import http_service
from paragone.data.generators.base import GenerationRequest
from paragone.data.records import Prompt, Task


@pytest.fixture(scope="session")
def media() -> ModuleType:
    """media_server.py: the server's class, its behaviours, and what it draws."""
    name = "paragone_media_server"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("media_server.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture
def server(media: ModuleType) -> Iterator[Any]:
    """One that runs."""
    with media.MediaServer() as running:
        yield running


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What a service would have waited (s), which it now does not; jitter draws its longest wait."""
    asked: list[float] = []
    made = http_service.Service.__init__

    def patched(self: Any, *arguments: Any, **options: Any) -> None:
        made(self, *arguments, **options)
        self.sleep, self.draw = asked.append, lambda: 1.0

    monkeypatch.setattr(http_service.Service, "__init__", patched)
    return asked


@pytest.fixture
def ask() -> Callable[..., Any]:
    """The one answer of an adapter to a prompt."""

    def answer(adapter: Any, text: str = "a cat", seed: int = 0, **pictures: Path) -> Any:
        prompt = Prompt("p", text, Task(adapter.task))
        (generation,) = adapter.generate([GenerationRequest(prompt, seed, **pictures)])
        return generation

    return answer
