"""`paragone provenance`: files, folders, archives and projects; what fails a job; and that absence proves nothing."""

from __future__ import annotations

import importlib.util
import io
import json
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from paragone.__main__ import main
from paragone.arena.store import Store
from paragone.data import GeneratorCard, Prompt, Sample, sample_id
from paragone.data.files import file_digest
from paragone.data.provenance import ABSENCE
from paragone.data.records import ProvenanceState

MARKED = Path(__file__).parents[1] / "data" / "pictures"


@pytest.fixture(scope="module")
def certificates() -> ModuleType:
    pytest.importorskip("c2pa", reason="needs paragone[provenance]")
    path = Path(__file__).parents[1] / "data" / "certificates.py"
    spec = importlib.util.spec_from_file_location("certificates_of_command", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["provenance", *map(str, arguments)])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def reference(tmp_path: Path, certificates: ModuleType) -> Path:
    """A reference set of four, into which one picture of a model and one changed one have come."""
    folder = tmp_path / "reference"
    (folder / "deep").mkdir(parents=True)
    authority = certificates.make_authority("Mock Vendor")
    (tmp_path / "roots.pem").write_bytes(authority.root)
    (folder / "plain.png").write_bytes(png(0))
    (folder / "photo.png").write_bytes(authority.sign(png(1), "image/png", source=certificates.CAMERA))
    (folder / "deep" / "ai.png").write_bytes(authority.sign(png(2), "image/png"))
    broken = bytearray(authority.sign(png(3), "image/png", source=certificates.CAMERA))
    broken[-40] ^= 1
    (folder / "changed.png").write_bytes(broken)
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_a_reference_set_is_searched_for_made_pictures(reference: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(reference) == 0
    out = capsys.readouterr().out
    assert "4 files: 1 absent, 2 valid-untrusted, 1 invalid; 1 say that a model made them" in out
    assert "ai.png" in out
    assert "trainedAlgorithmicMedia" in out
    assert "plain.png" not in out
    assert ABSENCE in out
    assert run(reference, "--fail-on", "ai") == 1
    assert "--fail-on ai: 1 of 4 files" in capsys.readouterr().err
    assert run(reference / "plain.png", reference / "photo.png", "--fail-on", "ai", "--fail-on", "invalid") == 0
    assert run(reference, "--fail-on", "invalid", "--fail-on", "unverified") == 1


def test_json_says_all_and_anchors_make_trust(reference: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(reference, "--anchors", reference.parent / "roots.pem", "--json", "-", "--fail-on", "ai") == 1
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "paragone.provenance/1"
    assert document["counts"] == {"absent": 1, "trusted": 2, "invalid": 1}
    assert document["failed"] == ["ai"]
    assert document["note"] == ABSENCE
    rows = {Path(row["file"]).name: row for row in document["files"]}
    assert rows["ai.png"]["says_ai"]
    assert rows["ai.png"]["signer"] == "Mock Vendor, Mock Vendor Signer"
    assert rows["changed.png"]["codes"] == ["assertion.dataHash.mismatch"]
    assert rows["plain.png"]["watermarks"] is None


def test_a_zip_is_read_without_unpacking(reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(reference.rglob("*.png")):
            archive.write(path, path.name)
    assert run(tmp_path / "set.zip", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"absent": 1, "valid-untrusted": 2, "invalid": 1}


def test_watermarks_with_a_null_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(MARKED, "--watermark", "--fail-on", "ai") == 1
    out = capsys.readouterr().out
    assert "1 hide a known watermark" in out
    assert "Stable Diffusion 2, p = 2e-08" in out
    rng = np.random.default_rng(0)
    for n in range(20):
        Image.fromarray(rng.integers(0, 256, (260, 260, 3), np.uint8)).save(tmp_path / f"{n}.png")
    assert run(MARKED, "--watermark", "--null", tmp_path, "--json", "-") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["watermarks_sought"]
    assert found["n_watermarked"] == 1
    (tmp_path / "0.png").unlink()
    assert run(MARKED, "--watermark", "--null", tmp_path) == 2
    assert "needs 20 unmarked pictures" in capsys.readouterr().err


def test_samples_of_a_project_are_stored(reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = tmp_path / "project"
    with Store(project / "arena.db", create=True) as store:
        store.add_generators([GeneratorCard("vendor")])
        store.add_prompts([Prompt("p", "x")])
        for seed, name in enumerate(("plain.png", "deep/ai.png")):
            digest = file_digest(reference / name)
            (project / f"{seed}.png").write_bytes((reference / name).read_bytes())
            store.add_samples(
                [Sample(sample_id("vendor", "p", seed, digest), digest, f"{seed}.png", "p", "vendor", seed, 32, 24)]
            )
    assert run("--dir", project) == 0
    assert "vendor" in capsys.readouterr().out
    with Store(project / "arena.db") as store:
        found = store.provenance()
        assert found[file_digest(reference / "deep/ai.png")].state is ProvenanceState.UNTRUSTED
        assert found[file_digest(reference / "plain.png")].state is ProvenanceState.ABSENT
    (project / "0.png").write_bytes(png(9))
    assert run("--dir", project) == 2
    assert "0.png: is not the file that was stored" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name files or folders to look at, or a project with --dir"),
        (["{}", "--dir", "{}"], "one of the two"),
        (["{}/empty"], "holds no pictures and no clips"),
        (["{}/gone.png"], "no such file"),
        (["{}/a.npy"], "arrays of pixels say nothing of their origin"),
        (["{}/a.png", "--null", "{}"], "add --watermark"),
        (["{}/a.png", "--anchors", "{}/gone.pem"], "cannot be read"),
    ],
)
def test_what_cannot_be_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.png").write_bytes(png(0))
    np.save(tmp_path / "a.npy", np.zeros((2, 8, 8, 3), np.uint8))
    assert run(*(argument.format(tmp_path) for argument in arguments)) == 2
    assert message in capsys.readouterr().err
