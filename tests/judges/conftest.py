"""The test server for judges, as a module and as a running server."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def fake_server() -> ModuleType:
    """tests/judges/fake_server.py: the server's class and its behaviours."""
    name = "paragone_fake_server"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("fake_server.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture
def server(fake_server: ModuleType) -> Iterator[Any]:
    """A running server whose judge prefers the brighter picture."""
    with fake_server.FakeServer() as running:
        yield running
