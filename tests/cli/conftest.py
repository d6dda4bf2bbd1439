"""A small arena, commands run in this process, and the judges' test server, for tests of `paragone judge`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from paragone.__main__ import main
from paragone.arena.store import Store
from paragone.data import GeneratorCard, Prompt, Sample, sample_id
from paragone.data.files import file_digest

FAKE_SERVER = Path(__file__).parents[1] / "judges" / "fake_server.py"
MODELS = {"dark": 60, "grey": 120, "bright": 200}  # the server's judge prefers the brighter picture
N_SEEDS, PROMPTS = 3, ("p0", "p1")


@pytest.fixture(scope="session")
def fake_server() -> ModuleType:
    name = "paragone_fake_server"
    if name not in sys.modules:
        spec = spec_from_file_location(name, FAKE_SERVER)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture
def server(fake_server: ModuleType) -> Iterator[Any]:
    with fake_server.FakeServer() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    samples = []
    for model, grey in MODELS.items():
        for prompt in PROMPTS:
            for seed in range(N_SEEDS):
                name = f"samples/{model}/{prompt}-{seed}.png"
                path = project / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (8, 8), grey + 3 * seed + (prompt == "p1")).convert("RGB").save(path)
                digest = file_digest(path)
                samples.append(Sample(sample_id(model, prompt, seed, digest), digest, name, prompt, model, seed, 8, 8))
    with Store(project / "arena.db", create=True) as store:
        store.add_generators(GeneratorCard(model) for model in MODELS)
        store.add_prompts(Prompt(prompt, f"the prompt {prompt}") for prompt in PROMPTS)
        store.add_samples(samples)
    return project


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


class Command:
    """Runs commands in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capsys, self._folder = capsys, folder

    def __call__(self, name: str, *arguments: object) -> Ended:
        given = [] if "--dir" in arguments else ["--dir", str(self._folder)]
        with pytest.raises(SystemExit) as caught:
            main([name, *map(str, arguments), *given])
        captured = self._capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return Ended(caught.value.code, captured.out, captured.err)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], folder: Path) -> Command:
    return Command(capsys, folder)
