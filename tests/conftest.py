"""One thread, no network beyond this machine, no third-party plug-ins, no files in the user's home."""

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before numpy and torch are imported, here and in subprocesses
os.environ["PARAGONE_PLUGINS"] = ""

LONGEST = ("tests/browser/", "tests/test_architecture", "tests/demo/", "tests/data/", "tests/cli/")

settings.register_profile("paragone", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("paragone")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long first, so that no process is left alone with one at the end."""
    rank = {start: place for place, start in enumerate(LONGEST)}
    items.sort(key=lambda item: min((rank[s] for s in LONGEST if item.nodeid.startswith(s)), default=len(LONGEST)))


@pytest.fixture(autouse=True)
def offline_and_homeless(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A test that reaches for another machine fails, and caches land in a folder of their own."""
    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in {"127.0.0.1", "::1", "localhost"}:
            raise AssertionError(f"a test reached for {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)
    # Streamlit's AppTest leaves its script behind as the main module, which every spawned process would then run.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setenv("PARAGONE_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).parent.parent
