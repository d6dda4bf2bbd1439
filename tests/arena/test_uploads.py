"""Uploads: what is whole and honest is stored whole; every trick is refused by name, and then nothing is stored."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data as shipped

from paragone.arena.store import Store
from paragone.arena.upload_pictures import inspect_picture
from paragone.arena.upload_sources import Limits, check_name, open_source
from paragone.arena.uploads import Row, amount, check_upload, ingest_samples, read_manifest, read_prompts, split_tags
from paragone.data import GeneratorCard, Prompt
from paragone.data.errors import InputError, UnreadableImage
from paragone.data.files import file_digest
from paragone.data.records import Task

PIXELS = shipped.astronaut()[::16, ::16]
HEADER = "file,model,prompt_id,seed\n"


def encode(kind: str, pixels: np.ndarray = PIXELS, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind, **options)
    return buffer.getvalue()


def manifest(*rows: str, header: str = HEADER) -> bytes:
    return (header + "\n".join(rows) + "\n").encode()


def zip_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "project" / "arena.db", create=True) as opened:
        opened.add_generators([GeneratorCard("one"), GeneratorCard("two <b>")])
        opened.add_prompts([Prompt("p", "a portrait"), Prompt("film", "a walk", Task.TEXT_TO_VIDEO)])
        yield opened


@pytest.fixture
def project(store: Store) -> Path:
    assert store.path is not None
    return store.path.parent


GOOD = {
    "one/0.png": encode("PNG"),
    "two/0.JPG": encode("JPEG", quality=90, progressive=True),
    "two/1.webp": encode("WEBP", lossless=True),
}
GOOD_ROWS = ("one/0.png,one,p,0", "two/0.JPG,two <b>,p,0", "two/1.webp,two <b>,p,1")
GOOD_FILES = {**GOOD, "manifest.csv": manifest(*GOOD_ROWS)}


class TestIngest:
    @pytest.mark.parametrize("how", ["zip bytes", "zip file", "folder", "memory"])
    def test_every_source_gives_the_same_samples(self, store: Store, project: Path, tmp_path: Path, how: str) -> None:
        source: object = dict(GOOD_FILES)
        if how == "zip bytes":
            source = zip_of(GOOD_FILES)
        elif how == "zip file":
            source = tmp_path / "upload.zip"
            source.write_bytes(zip_of(GOOD_FILES))
        elif how == "folder":
            source = tmp_path / "upload"
            for name, content in GOOD_FILES.items():
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                (source / name).write_bytes(content)
            (source / ".DS_Store").write_bytes(b"litter")
        upload = ingest_samples(store, project, source)  # type: ignore[arg-type]
        assert len(upload.new) == 3
        samples = store.samples()
        assert [(s.model, s.seed, s.width, s.height) for s in samples] == [
            ("one", 0, 32, 32),
            ("two <b>", 0, 32, 32),
            ("two <b>", 1, 32, 32),
        ]
        for sample, content in zip(samples, GOOD.values(), strict=True):
            assert (project / sample.path).read_bytes() == content  # the original, byte for byte
            assert sample.path == f"media/{sample.sha256[:2]}/{sample.sha256[2:4]}/{sample.sha256}" + {
                "one": ".png"
            }.get(sample.model, Path(sample.path).suffix)
            assert file_digest(project / sample.path) == sample.sha256
        assert store.verify() == []

    def test_again_changes_nothing(self, store: Store, project: Path) -> None:
        ingest_samples(store, project, GOOD_FILES)
        before = (store.samples(), sorted(project.rglob("media/**/*")))
        again = ingest_samples(store, project, zip_of(GOOD_FILES))
        assert (again.n_known, again.new) == (3, ())
        assert (store.samples(), sorted(project.rglob("media/**/*"))) == before

    def test_a_killed_run_goes_on(self, store: Store, project: Path) -> None:
        def stop(task: str, done: int, total: int) -> None:
            if task == "storing" and done == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            ingest_samples(store, project, GOOD_FILES, progress=stop)
        assert store.samples() == []  # two pictures lie there, but no row is half of an upload
        ingest_samples(store, project, GOOD_FILES)
        assert len(store.samples()) == 3
        assert len([path for path in project.rglob("media/**/*") if path.is_file()]) == 3

    def test_another_picture_for_the_same_seed(self, store: Store, project: Path) -> None:
        ingest_samples(store, project, GOOD_FILES)
        changed = {**GOOD_FILES, "one/0.png": encode("PNG", 255 - PIXELS)}
        with pytest.raises(InputError, match=r"one/0\.png: 'one' has another picture .* nothing was stored"):
            ingest_samples(store, project, changed)
        assert len(store.samples()) == 3

    def test_facts_in_the_manifest(self, store: Store, project: Path) -> None:
        table = manifest("one/0.png,one,p,7,1.5,0.04", header="file,model,prompt_id,seed,latency_s,cost_usd\n")
        ingest_samples(store, project, {"one/0.png": GOOD["one/0.png"], "manifest.csv": table})
        (sample,) = store.samples()
        assert (sample.seed, sample.latency_s, str(sample.cost_usd)) == (7, 1.5, "0.04")

    def test_rows_instead_of_a_table(self, store: Store, project: Path) -> None:
        ingest_samples(store, project, {"a.png": GOOD["one/0.png"]}, manifest=[Row("a.png", "one", "p", 3)])
        assert [s.seed for s in store.samples()] == [3]

    def test_metadata_stays_in_the_original(self, store: Store, project: Path) -> None:
        exif = Image.Exif()
        exif[0x0131] = "canary of the camera"
        exif[0x0112] = 6  # turned by a quarter
        content = encode("JPEG", PIXELS[:, :16], exif=exif)
        ingest_samples(store, project, {"a.jpg": content}, manifest=[Row("a.jpg", "one", "p", 0)])
        (sample,) = store.samples()
        assert b"canary" in (project / sample.path).read_bytes()
        assert (sample.width, sample.height) == (32, 16)  # as it is shown


def refused(store: Store, project: Path, files: dict[str, bytes] | bytes | Path, match: str) -> None:
    with pytest.raises(InputError, match=match):
        ingest_samples(store, project, files)
    assert store.samples() == []
    assert not (project / "media").exists()


class TestManifest:
    @pytest.mark.parametrize(
        ("row", "match"),
        [
            ("missing.png,one,p,5", r"row 5: there is no file 'missing\.png'"),
            ("one/0.png,one,p,5", "row 5: has the same file as row 2"),
            ("one/1.png,one,p,0", "row 5: has the same model, prompt and seed as row 2"),
            ("one/1.png,nobody,p,5", "row 5: there is no model 'nobody'"),
            ("one/1.png,one,q,5", "row 5: there is no prompt 'q'"),
            ("one/1.png,one,film,5", "row 5: prompt 'film' asks for a video"),
            ("one/1.png,one,p,-1", "row 5: seed '-1' is not a whole number"),
            ("one/1.png,one,p,9223372036854775808", "row 5: seed .* is not a whole number"),
            ("one/1.png,one,p,１", "row 5: seed '１' is not|there is no"),
            ("one/1.png,one,p", "row 5: has another number of cells"),
            ("one/1.png,one,p,5,6", "row 5: has another number of cells"),
            ("one/1.png,,p,5", "row 5: model is empty"),
            ("../1.png,one,p,5", r"'\.\./1\.png': not a plain path"),
        ],
    )
    def test_a_wrong_row_is_named(self, store: Store, project: Path, row: str, match: str) -> None:
        files = {**GOOD, "one/1.png": encode("PNG", 255 - PIXELS), "manifest.csv": manifest(*GOOD_ROWS, row)}
        refused(store, project, files, match)

    def test_all_problems_are_told_at_once(self, store: Store, project: Path) -> None:
        files = {"a.png": b"no", "b.png": b"<svg>", "manifest.csv": manifest("a.png,one,p,0", "b.png,one,p,1")}
        with open_source(files, limits=Limits()) as source:
            upload = check_upload(store, source)
        assert len(upload.problems) == 2
        refused(store, project, files, "and 1 more problems")

    def test_strange_tables(self, store: Store, project: Path) -> None:
        refused(store, project, dict(GOOD), r"manifest\.csv: is missing")
        for table, match in (
            (b"", "has no column 'file'"),
            (b"\xff\xfe\x00", "not a CSV table in UTF-8"),
            (HEADER.encode(), "has no rows"),
            (manifest(header="file,model,prompt_id,seed,licence\n"), "unknown column 'licence'"),
            (b'file,model,prompt_id,seed\n"a.png,one', "not a CSV table"),
        ):
            refused(store, project, {**GOOD, "manifest.csv": table}, match)
        refused(store, project, {**GOOD_FILES, "more.png": b""}, r"more\.png: is not in the manifest")

    def test_a_table_from_a_spreadsheet(self) -> None:
        rows = read_manifest("\ufefffile, model ,prompt_id,seed\r\n a.png ,one,p,03\r\n".encode())
        assert rows == [Row("a.png", "one", "p", 3)]

    def test_prompts(self) -> None:
        table = b'id,text,tags,task\n1,a cat,animals; fur;animals,\n2,"he said ""go""",,image-editing\n'
        one, two = read_prompts(table)
        assert one == Prompt("1", "a cat", Task.TEXT_TO_IMAGE, ("animals", "fur"))
        assert (two.text, two.task) == ('he said "go"', Task.IMAGE_EDITING)
        with pytest.raises(InputError, match="row 2: task 'sing'"):
            read_prompts(b"id,text,task\n1,x,sing\n")

    def test_words_into_values(self) -> None:
        assert split_tags(" a;b , a;;") == ("a", "b")
        assert amount("  ", "x") is None
        for wrong in ("NaN", "-1", "Infinity", "4 cents", "1e"):
            with pytest.raises(InputError, match="not an amount"):
                amount(wrong, "cost_usd")


class TestPictures:
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
    def test_anything_behind_the_picture_is_refused(self, kind: str) -> None:
        content, name = encode(kind), f"a.{kind.lower()}"
        assert inspect_picture(content, name).width == 32
        for rider in (b"<script>alert(1)</script>", zip_of({"x": b"y"}), b"\0"):
            with pytest.raises(UnreadableImage, match=f"{len(rider)} bytes follow"):
                inspect_picture(content + rider, name)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
    @settings(max_examples=40, deadline=None)
    @given(cut=st.floats(0, 0.999))
    def test_a_cut_picture_is_refused(self, kind: str, cut: float) -> None:
        content = encode(kind)
        with pytest.raises(UnreadableImage):
            inspect_picture(content[: int(cut * len(content))], f"a.{kind.lower()}")

    @pytest.mark.parametrize(
        ("content", "match"),
        [
            (b"", "an empty file"),
            (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "SVG, HTML or XML"),
            (b"\xef\xbb\xbf  <!DOCTYPE html>", "SVG, HTML or XML"),
            (b"<?xml version='1.0'?><svg/>", "SVG, HTML or XML"),
            (encode("GIF"), "no PNG, JPEG or WebP"),
            (encode("TIFF"), "no PNG, JPEG or WebP"),
            (encode("BMP"), "no PNG, JPEG or WebP"),
            (b"%PDF-1.7", "no PNG, JPEG or WebP"),
            (zip_of({"a.png": encode("PNG")}), "no PNG, JPEG or WebP"),
        ],
    )
    def test_other_kinds(self, content: bytes, match: str) -> None:
        with pytest.raises(UnreadableImage, match=match):
            inspect_picture(content, "a.png")

    def test_the_ending_is_the_formats(self) -> None:
        for name, match in (("a.jpg", "ending .png"), ("a", "no ending"), ("a.svg", "ending .png"), ("a.html", ".png")):
            with pytest.raises(UnreadableImage, match=match):
                inspect_picture(encode("PNG"), name)

    def test_animations(self) -> None:
        frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
        for kind in ("PNG", "WEBP"):
            buffer = io.BytesIO()
            frames[0].save(buffer, format=kind, save_all=True, append_images=frames[1:])
            with pytest.raises(UnreadableImage, match="an animation"):
                inspect_picture(buffer.getvalue(), f"a.{kind.lower()}")

    @pytest.mark.parametrize("side", [16_000, 40_000, 2**31 - 1])
    def test_a_header_that_promises_too_much(self, side: int) -> None:
        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        content = b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1 << 20))), (b"IEND", b""))
        )
        with pytest.raises(UnreadableImage, match="megapixels"):
            inspect_picture(content, "a.png")

    def test_a_long_thin_picture(self) -> None:
        with pytest.raises(UnreadableImage, match="16,384 px a side"):
            inspect_picture(encode("PNG", np.zeros((1, 16_385, 3), np.uint8)), "a.png")

    def test_damage_inside(self) -> None:
        content = bytearray(encode("PNG"))
        content[len(content) // 2] ^= 1
        with pytest.raises(UnreadableImage, match="checksum"):
            inspect_picture(bytes(content), "a.png")


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            *("/etc/passwd", "../a.png", "a/../../b.png", "..", "./a.png", "a//b.png", "a/", ""),
            *("a\\b.png", "C:/a.png", "c:a.png", "\\\\host\\a.png"),
            *("a\0b.png", "a\nb.png", "gnp\u202eexe.png", "a\u200bb.png", "x" * 501),
        ],
    )
    def test_refused(self, name: str) -> None:
        with pytest.raises(InputError):
            check_name(name)

    @pytest.mark.parametrize("name", ["a.png", "model/1.png", "модель/1.png", "%2e%2e/a.png", "é.png", "...png"])
    def test_taken(self, name: str) -> None:
        check_name(name)

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=30))
    def test_no_accepted_name_leads_outside(self, name: str) -> None:
        try:
            check_name(name)
        except InputError:
            return
        root = Path("/root/of/upload")
        assert os.path.normpath(root / name).startswith(f"{root}/")


class TestArchives:
    def test_traversal(self, store: Store, project: Path) -> None:
        for name in ("../../evil.png", "/evil.png", "a\\..\\evil.png", "C:evil.png"):
            refused(store, project, zip_of({**GOOD_FILES, name: GOOD["one/0.png"]}), "not a plain path")
        assert not list(project.parent.rglob("evil*"))

    def test_nul_in_a_name(self, store: Store, project: Path) -> None:
        content = zip_of({**GOOD_FILES, "aXb.png": GOOD["one/0.png"]}).replace(b"aXb.png", b"a\0b.png")
        refused(store, project, content, "invisible character U")

    def test_links_and_devices(self, store: Store, project: Path) -> None:
        for mode in (0o120777, 0o020666, 0o010644):
            buffer = io.BytesIO(zip_of(GOOD_FILES))
            with zipfile.ZipFile(buffer, "a") as archive:
                info = zipfile.ZipInfo("link.png")
                info.external_attr = mode << 16
                archive.writestr(info, "/etc/passwd")
            refused(store, project, buffer.getvalue(), "a link or special file")

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_names_twice(self, store: Store, project: Path) -> None:
        buffer = io.BytesIO(zip_of(GOOD_FILES))
        with zipfile.ZipFile(buffer, "a") as archive:
            archive.writestr("one/0.png", b"another")
        refused(store, project, buffer.getvalue(), "is there twice")
        for other in ("ONE/0.png", "one/0.PNG"):
            refused(store, project, zip_of({**GOOD_FILES, other: GOOD["one/0.png"]}), "the same name on some systems")
        composed = {"caf\u00e9.png": b"x", "cafe\u0301.png": b"y"}
        refused(store, project, zip_of({**GOOD_FILES, **composed}), "the same name on some systems")

    def test_bombs(self, store: Store, project: Path) -> None:
        refused(store, project, zip_of({**GOOD_FILES, "zeros.png": bytes(30 << 20)}), "refused as a bomb")

    def test_a_member_longer_than_it_says(self, store: Store, project: Path) -> None:
        files = {"a.png": bytes(5000), "manifest.csv": manifest("a.png,one,p,0")}
        content = zip_of(files).replace(struct.pack("<I", 5000), struct.pack("<I", 50))
        refused(store, project, content, r"a\.png: .*damaged|as long as the archive says")

    def test_limits(self) -> None:
        files = {f"{n}.png": bytes(100) for n in range(4)}
        for limits, match in (
            (Limits(files=2), "4 files; one upload takes 2"),
            (Limits(file_bytes=99), "one file may have"),
            (Limits(total_bytes=399), "split it"),
        ):
            for source in (files, zip_of(files)):
                with pytest.raises(InputError, match=match):
                    open_source(source, limits=limits)

    @pytest.mark.parametrize("content", [b"", b"PK\x05\x06", b"not a zip", zip_of(GOOD_FILES)[:-30]])
    def test_no_archive(self, store: Store, project: Path, content: bytes) -> None:
        refused(store, project, content, "not a zip archive")

    def test_a_member_with_a_wrong_checksum(self, store: Store, project: Path) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name, content in GOOD_FILES.items():
                archive.writestr(name, content)
        content = bytearray(buffer.getvalue())
        content[content.index(GOOD["one/0.png"]) + 60] ^= 1
        refused(store, project, bytes(content), r"one/0\.png: .*damaged")


class TestFolders:
    def test_links_are_not_followed(self, store: Store, project: Path, tmp_path: Path) -> None:
        (tmp_path / "secret.png").write_bytes(GOOD["one/0.png"])
        upload = tmp_path / "upload"
        upload.mkdir()
        (upload / "a.png").symlink_to(tmp_path / "secret.png")
        (upload / "manifest.csv").write_bytes(manifest("a.png,one,p,0"))
        refused(store, project, upload, "a link or special file")
        (upload / "a.png").unlink()
        (upload / "a").symlink_to(tmp_path, target_is_directory=True)
        refused(store, project, upload, "a link or special file")

    def test_a_link_that_comes_later(self, tmp_path: Path) -> None:
        upload = tmp_path / "upload"
        upload.mkdir()
        (upload / "a.png").write_bytes(b"x")
        with open_source(upload, limits=Limits()) as source:
            (upload / "a.png").unlink()
            (upload / "a.png").symlink_to("/etc/hostname")
            with pytest.raises(UnreadableImage, match="cannot be read"):
                source.read("a.png")

    def test_no_such_folder(self, store: Store, project: Path) -> None:
        refused(store, project, project / "nowhere", "no such folder")
