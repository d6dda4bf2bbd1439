"""Ingest: every kind of file and container gives the pixels that the policies promise, or an error that names it."""

from __future__ import annotations

import gc
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sklearn.datasets
from numpy.typing import NDArray
from PIL import Image

from paragone.data import decoding
from paragone.data.errors import InputError, UnreadableImage, UsageError
from paragone.data.images import ImageSource, read_images

CHINA = Path(sklearn.datasets.__file__).parent / "images" / "china.jpg"
RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(value: int, size: int = 3) -> bytes:
    return encoded(Image.new("RGB", (size, size), (value, value, value)))


def only_pixels(folder: Path) -> NDArray[np.uint8]:
    [picture] = read_images(folder)
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.shape[2] == 3
    return picture.pixels


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, content: bytes) -> Path:
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return tmp_path / "set"

    return write


# ---- Order and selection ---------------------------------------------------------------------------------------------


NAMES = ["b/10.PNG", "b/2.png", "a10.jpeg", "a2.Jpg", "a1.tif", "deep/er/x.webp", "x.bmp", "x.gif", "x.tiff"]
IN_ORDER = ["a1.tif", "a2.Jpg", "a10.jpeg", "b/2.png", "b/10.PNG", "deep/er/x.webp", "x.bmp", "x.gif", "x.tiff"]


def files() -> dict[str, bytes]:
    kinds = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "tif": "TIFF", "tiff": "TIFF"}
    picture = Image.fromarray(COLOUR)
    return {
        name: encoded(picture, kinds.get(suffix := name.rsplit(".", 1)[1].lower(), suffix.upper())) for name in NAMES
    }


CLUTTER = {"notes.txt": b"x", ".hidden.png": b"x", ".git/a.png": b"x", "__MACOSX/a.png": b"x", "labels.json": b"{}"}


def make_folder(path: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def make_zip(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in reversed(content.items()):
            archive.writestr(name, data)
    return path


def make_tar(path: Path, content: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_every_container_gives_the_same_pictures_in_natural_order(tmp_path: Path) -> None:
    content = files() | CLUTTER
    sources = [
        read_images(make_folder(tmp_path / "folder", content)),
        read_images(make_zip(tmp_path / "a.zip", content)),
        read_images(make_tar(tmp_path / "a.tar", content)),
        read_images(make_tar(tmp_path / "a.tar.gz", content, "w:gz")),
        read_images(make_tar(tmp_path / "a.tar.xz", content, "w:xz")),
        read_images(make_tar(tmp_path / "a.tbz", content, "w:bz2")),
    ]
    for source in sources:
        assert len(source) == len(NAMES)
        assert list(source.names) == IN_ORDER
        assert [name for name, _ in source] == IN_ORDER
        for (_, pixels), (_, expected) in zip(source, sources[0], strict=True):
            np.testing.assert_array_equal(pixels, expected)
    assert len({source.digest() for source in sources}) == 1


def test_length_and_names_are_known_without_decoding(
    put: Callable[[str, bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put("a.png", b"not decoded")
    monkeypatch.setattr("paragone.data.images.decode_picture", None)
    assert len(read_images(folder)) == 1
    assert read_images(folder).names == ("a.png",)


def test_list_of_paths_keeps_its_own_order(tmp_path: Path) -> None:
    make_folder(tmp_path / "set", {"1.png": png(1), "2.png": png(2)})
    (tmp_path / "list.txt").write_text(f"set/2.png\n\n{tmp_path}/set/1.png\n")
    values = [int(pixels[0, 0, 0]) for _, pixels in read_images(tmp_path / "list.txt")]
    assert values == [2, 1]


def test_list_with_a_missing_file_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\nnowhere.png\n")
    with pytest.raises(InputError, match=r"list\.txt, line 2: no file 'nowhere\.png'"):
        read_images(tmp_path / "list.txt")


def test_linked_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    make_folder(tmp_path / "other", {"a.png": png(1)})
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "link").symlink_to(tmp_path / "other")
    (tmp_path / "other" / "loop").symlink_to(tmp_path / "set")
    assert read_images(tmp_path / "set").names == ("link/a.png",)


def test_pictures_of_other_formats_are_not_left_out_in_silence(put: Callable[[str, bytes], Path]) -> None:
    put("a.png", png(1))
    put("b.HEIC", b"x")
    source = read_images(put("c.avif", b"x"))
    assert len(source) == 1
    assert "left out 1 .avif, 1 .heic" in source.warnings[0]


def test_names_in_archives_are_labels_only(tmp_path: Path) -> None:
    content = {"../../evil.png": png(9), "/abs.png": png(8)}
    for path in (make_zip(tmp_path / "a.zip", content), make_tar(tmp_path / "a.tar", content)):
        assert len(list(read_images(path))) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar", "a.zip"]
    assert not (tmp_path.parent.parent / "evil.png").exists()


@pytest.mark.parametrize("name", ["a.npz", "compressed.npz", "a.npy", "array"])
@pytest.mark.parametrize("shape", [(4, 6, 5, 3), (4, 6, 5), (4, 6, 5, 1), (4, 6, 5, 4)])
def test_arrays(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    images = RNG.integers(0, 256, shape, dtype=np.uint8)
    if len(shape) == 4 and shape[3] == 4:
        images[..., 3] = 255
    path = tmp_path / name
    if name.endswith(".npz"):
        (np.savez_compressed if name.startswith("c") else np.savez)(path, images)
    elif name.endswith(".npy"):
        np.save(path, images)
    source = read_images(images if name == "array" else path)
    assert len(source) == 4
    expected = images.reshape(4, 6, 5, -1)[..., :3]
    for index, (label, pixels) in enumerate(source):
        assert label.endswith(f"[{index}]")
        assert type(pixels) is np.ndarray
        assert pixels.flags.owndata
        assert pixels.flags.writeable
        np.testing.assert_array_equal(pixels, np.broadcast_to(expected[index], (6, 5, 3)))
    assert source.digest() == read_images(images).digest()


def test_adm_file_with_labels_and_moments_gives_its_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "adm.npz", np.zeros((2, 4, 4, 3), np.uint8), mu=np.zeros(3), sigma=np.eye(3))
    assert len(read_images(tmp_path / "adm.npz")) == 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(3), "sigma": np.eye(3)}, "it has mu, sigma, and images are called arr_0"),
        ({"arr_0": np.zeros((2, 4, 4, 3))}, "float64"),
        ({"arr_0": np.zeros((2, 4), np.uint8)}, "not uint8 images"),
        ({"arr_0": np.array([object()])}, "not a readable .npz|object"),
    ],
)
def test_npz_without_images(tmp_path: Path, arrays: dict[str, NDArray[np.float64]], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=message):
        read_images(tmp_path / "a.npz")


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "one.png").write_bytes(png(1))
    (tmp_path / "noise.bin").write_bytes(b"\x01" * 2000)
    make_zip(tmp_path / "text.zip", {"a.txt": b"x"})
    for name, message in {
        "empty": "no pictures there",
        "nowhere": "no such file or folder",
        "one.png": "give the folder",
        "noise.bin": "not a folder, zip, tar",
        "text.zip": "no pictures there",
    }.items():
        with pytest.raises(InputError, match=f"{name}.*{message}"):
            read_images(tmp_path / name)


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 half a zip", b"\x93NUMPY\x01\x00"])
def test_damaged_arrays_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: not a readable"):
        read_images(tmp_path / name)


def test_unknown_policy_is_refused() -> None:
    with pytest.raises(UsageError, match="raise or skip"):
        read_images(np.zeros((1, 4, 4, 3), np.uint8), on_error="ignore")  # type: ignore[arg-type]


def test_shards_are_disjoint_and_complete(tmp_path: Path) -> None:
    source = read_images(make_folder(tmp_path / "set", {f"{i}.png": png(i) for i in range(7)}))
    shards = [source.shard(i, 3) for i in (1, 2, 3)]
    assert [len(shard) for shard in shards] == [3, 2, 2]
    assert sorted(name for shard in shards for name in shard.names) == sorted(source.names)
    with pytest.raises(UsageError, match="1 ≤ i ≤ k"):
        source.shard(0, 3)
    with pytest.raises(InputError, match="shard 9/9 is empty"):
        source.shard(9, 9)


def test_digest_follows_content_and_order_not_names(tmp_path: Path) -> None:
    one = read_images(make_folder(tmp_path / "one", {"a.png": png(1), "b.png": png(2)})).digest()
    renamed = read_images(make_folder(tmp_path / "renamed", {"x.png": png(1), "y.png": png(2)})).digest()
    swapped = read_images(make_folder(tmp_path / "swapped", {"a.png": png(2), "b.png": png(1)})).digest()
    assert one == renamed != swapped


def test_lossy_fraction(tmp_path: Path) -> None:
    content = {"a.png": png(1), "b.JPG": encoded(Image.fromarray(COLOUR), "JPEG")}
    assert read_images(make_folder(tmp_path / "set", content)).lossy_fraction == 0.5
    assert read_images(np.zeros((1, 4, 4, 3), np.uint8)).lossy_fraction is None


# ---- Pixels ----------------------------------------------------------------------------------------------------------


def test_sixteen_bit_grey_is_scaled_not_clipped(put: Callable[[str, bytes], Path]) -> None:
    values = np.array([[0, 128, 129, 257, 32768, 33000, 65279, 65535]], np.uint16)
    expected = np.rint(values / 257).astype(np.uint8)
    for name, kind in (("a.png", "PNG"), ("a.tif", "TIFF")):
        pixels = only_pixels(put(f"{kind}/{name}", encoded(Image.fromarray(values), kind)) / kind)
        np.testing.assert_array_equal(pixels, np.repeat(expected[..., None], 3, axis=2))
    np.testing.assert_array_equal(next(iter(read_images(values[None]))).pixels[..., 0], expected)


def test_sixteen_bit_colour_keeps_its_brightness(put: Callable[[str, bytes], Path]) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    wide = (COLOUR.astype(np.uint16) * 257).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    header = struct.pack(">IIBBBBB", 5, 6, 16, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(only_pixels(put("a.png", content)), COLOUR)


@pytest.mark.parametrize("alpha", [0, 1, 128, 255])
def test_transparency_is_composited_on_white(put: Callable[[str, bytes], Path], alpha: int) -> None:
    rgba = np.dstack([COLOUR, np.full(COLOUR.shape[:2], alpha, np.uint8)])
    expected = np.rint(COLOUR * (alpha / 255) + 255 * (1 - alpha / 255))
    np.testing.assert_array_equal(only_pixels(put("a.png", encoded(Image.fromarray(rgba)))), expected)
    np.testing.assert_array_equal(next(iter(read_images(rgba[None]))).pixels, expected)


def test_grey_with_alpha_palette_with_transparency_and_a_transparent_key(put: Callable[[str, bytes], Path]) -> None:
    grey = Image.fromarray(COLOUR[..., 0])
    half = grey.copy()
    half.putalpha(128)
    expected = np.rint(COLOUR[..., 0] * (128 / 255) + 255 * (127 / 255))
    np.testing.assert_array_equal(only_pixels(put("la/a.png", encoded(half)) / "la")[..., 2], expected)
    indexed = Image.new("P", (2, 1))
    indexed.putpalette([10, 20, 30, 40, 50, 60])
    indexed.putpixel((1, 0), 1)
    pixels = only_pixels(put("p/a.png", encoded(indexed, transparency=0)) / "p")
    np.testing.assert_array_equal(pixels, [[[255, 255, 255], [40, 50, 60]]])
    deep = np.array([[0, 25700]], np.uint16)
    pixels = only_pixels(put("k/a.png", encoded(Image.fromarray(deep), transparency=0)) / "k")
    np.testing.assert_array_equal(pixels[..., 0], [[255, 100]])


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_other_colour_modes_become_rgb(put: Callable[[str, bytes], Path], mode: str) -> None:
    picture = Image.fromarray(COLOUR).convert(mode)
    pixels = only_pixels(put("a.tif", encoded(picture, "TIFF")))
    np.testing.assert_array_equal(pixels, np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(put: Callable[[str, bytes], Path], orientation: int) -> None:
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = 255  # a white square in the upper left corner
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    picture = Image.fromarray(upright)
    stored = picture.transpose(undo[orientation]) if orientation in undo else picture
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = only_pixels(put("a.png", encoded(stored, exif=exif)))
    np.testing.assert_array_equal(pixels, upright)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_animation_gives_its_first_frame_and_a_warning(put: Callable[[str, bytes], Path], kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), (value, value, value)) for value in (250, 10)]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    source = read_images(put(f"moving.{kind.lower()}", content))
    [picture] = source
    assert (picture.pixels == 250).all()
    assert any("moving" in line and "first frame" in line for line in source.warnings)


def test_jpeg_is_decoded_as_pillow_does(put: Callable[[str, bytes], Path]) -> None:
    pixels = only_pixels(put("china.jpg", CHINA.read_bytes()))
    with Image.open(CHINA) as picture:
        np.testing.assert_array_equal(pixels, np.asarray(picture))


# ---- What cannot be read ---------------------------------------------------------------------------------------------


def broken_files() -> dict[str, tuple[str, bytes]]:
    picture = Image.open(CHINA).resize((64, 48))
    whole = {kind: encoded(picture, kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")}
    cases = {f"truncated {kind}": (f"bad.{kind.lower()}", data[: len(data) // 2]) for kind, data in whole.items()}
    flipped = bytearray(whole["PNG"])
    flipped[len(flipped) // 2] ^= 0xFF
    floating = Image.fromarray(np.zeros((4, 4), np.float32))
    integers = Image.fromarray(np.zeros((4, 4), np.int32))
    return cases | {
        "empty": ("bad.png", b""),
        "text": ("bad.jpg", b"<html>404</html>"),
        "flipped bits": ("bad.png", bytes(flipped)),
        "floating point": ("bad.tif", encoded(floating, "TIFF")),
        "32-bit integers": ("bad.tif", encoded(integers, "TIFF")),
        "bomb": ("bad.png", encoded(Image.new("1", (10_000, 6_401)))),
        "greater bomb": ("bad.png", encoded(Image.new("1", (20_000, 10_000)))),
        "middling bomb": ("bad.png", encoded(Image.new("1", (10_000, 10_000)))),
    }


BROKEN = broken_files()


@pytest.mark.parametrize("case", BROKEN)
def test_unreadable_picture_is_named_or_skipped_by_name(put: Callable[[str, bytes], Path], case: str) -> None:
    name, content = BROKEN[case]
    put("good.png", png(5))
    folder = put(name, content)
    with pytest.raises(UnreadableImage, match=rf"set/{name}: .*--on-error skip"):
        list(read_images(folder))
    source = read_images(folder, on_error="skip")
    assert [picture.name for picture in source] == ["good.png"]
    assert source.skipped == (name,)
    assert any(line.startswith(f"left out: {folder}/{name}: ") for line in source.warnings)
    assert any("1 of 2 pictures" in line for line in source.warnings)


def test_largest_picture_allowed_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_PIXELS", 12)
    assert decoding.decode_picture(encoded(Image.new("RGB", (3, 4))), "a").pixels.shape == (4, 3, 3)
    with pytest.raises(UnreadableImage, match="over"):
        decoding.decode_picture(encoded(Image.new("RGB", (13, 1))), "a")


def test_damage_inside_archives_is_named(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.png": png(3, 64)})
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF  # inside the stored picture: its checksum no longer holds
    path.write_bytes(content)
    with pytest.raises(UnreadableImage, match=r"a\.zip/a\.png"):
        list(read_images(path))
    tar = make_tar(tmp_path / "a.tar", {"a.png": png(3, 64)})
    tar.write_bytes(tar.read_bytes()[:600])
    with pytest.raises(InputError, match=r"a\.tar"):
        list(read_images(tar))


def test_member_that_claims_to_be_huge_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paragone.data.image_containers.MAX_FILE_BYTES", 10)
    with pytest.raises(UnreadableImage, match="decompression bomb"):
        list(read_images(make_zip(tmp_path / "a.zip", {"a.png": png(3)})))


def test_reading_again_counts_once(put: Callable[[str, bytes], Path]) -> None:
    put("good.png", png(5))
    source = read_images(put("bad.png", b""), on_error="skip")
    list(source), list(source)
    assert len(source.skipped) == 1
    assert isinstance(read_images(source), ImageSource)
    assert read_images(source) is source


# ---- Hostile and large containers ------------------------------------------------------------------------------------


def test_an_archive_that_expands_beyond_reason_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paragone.data.image_containers.ALWAYS_ALLOWED_BYTES", 100_000)
    flat = {f"{number}.bmp": encoded(Image.new("RGB", (300, 300)), "BMP") for number in range(3)}
    packed = tmp_path / "bomb.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in flat.items():
            archive.writestr(name, content)
    make_tar(tmp_path / "bomb.tar.gz", flat, "w:gz")
    np.savez_compressed(tmp_path / "bomb.npz", np.zeros((9, 300, 300, 3), np.uint8))
    for name in ("bomb.zip", "bomb.tar.gz", "bomb.npz"):
        with pytest.raises(InputError, match=rf"{name}: expands to .* refused as a decompression bomb") as caught:
            read_images(tmp_path / name)
        assert "\n" not in str(caught.value)
    with zipfile.ZipFile(tmp_path / "honest.zip", "w") as archive:  # as large, but not packed
        for name, content in flat.items():
            archive.writestr(name, content)
    assert len(read_images(tmp_path / "honest.zip")) == 3


def test_expanded_files_go_when_their_readers_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    np.savez_compressed(tmp_path / "images.npz", RNG.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8))
    source = read_images(tmp_path / "images.npz")
    assert len(list((tmp_path / "tmp").iterdir())) == 1
    assert len(list(source)) == 3
    del source
    gc.collect()
    assert list((tmp_path / "tmp").iterdir()) == []
    packed = (tmp_path / "images.npz").read_bytes()
    (tmp_path / "images.npz").write_bytes(packed[:60] + b"\0" * 40 + packed[100:])
    with pytest.raises(InputError, match=r"images\.npz: not a readable"):
        read_images(tmp_path / "images.npz")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("a.png", png(1))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.png", png(2))
    with tarfile.open(tmp_path / "twice.tar", "w") as tar:
        for value in (1, 2):
            info = tarfile.TarInfo("a.png")
            info.size = len(png(value))
            tar.addfile(info, io.BytesIO(png(value)))
    for name in ("twice.zip", "twice.tar"):
        with pytest.raises(InputError, match=rf"{name}: holds 2 files called a\.png"):
            read_images(tmp_path / name)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_python_objects_in_arrays_are_refused(tmp_path: Path, save: Callable[..., None]) -> None:
    save(tmp_path / "objects.npz", np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match=r"objects\.npz: not a readable \.npz"):
        read_images(tmp_path / "objects.npz")


def test_compressed_arrays_are_those_that_were_written(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (5, 8, 9, 3), dtype=np.uint8)
    labels = np.arange(5)
    np.savez_compressed(tmp_path / "adm.npz", images, labels)
    np.savez(tmp_path / "plain.npz", images, labels)
    found, plain = read_images(tmp_path / "adm.npz"), read_images(tmp_path / "plain.npz")
    np.testing.assert_array_equal([pixels for _, pixels in found], images)
    assert found.digest() == plain.digest()


# ---- Parquet ---------------------------------------------------------------------------------------------------------


def make_parquet(path: Path, cells: list[object], *, kind: pa.DataType, **more: list[object]) -> Path:
    table = pa.table({"image": pa.array(cells, kind), **more})
    pq.write_table(table, path, row_group_size=2)
    return path


HF_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_parquet_of_hugging_face_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [png(value) for value in range(5)]
    cells = [{"bytes": content, "path": f"x/{9 - index}.png"} for index, content in enumerate(pictures)]
    source = read_images(make_parquet(tmp_path / "a.parquet", cells, kind=HF_IMAGE, label=list(range(5))))
    assert source.names == tuple(f"x/{9 - index}.png" for index in range(5))  # its own order
    assert [int(pixels[0, 0, 0]) for _, pixels in source] == [0, 1, 2, 3, 4]
    assert source.lossy_fraction == 0
    groups: list[int] = []
    read = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_group",
        lambda self, group, **more: (groups.append(group), read(self, group, **more))[1],
    )
    for index in (0, 1, 2, 3, 4, 4):
        source.read(index)
    assert groups == [0, 1, 2]  # one at a time, and each once


def test_parquet_of_plain_bytes(tmp_path: Path) -> None:
    source = read_images(make_parquet(tmp_path / "a.parquet", [png(3), png(4)], kind=pa.binary(), note=["x", "y"]))
    assert source.names == ("row 0", "row 1")
    assert [int(pixels[0, 0, 0]) for _, pixels in source] == [3, 4]
    assert source.lossy_fraction is None


def test_parquet_with_nulls_names_the_row(tmp_path: Path) -> None:
    cells = [png(1), None, png(2)]
    path = make_parquet(tmp_path / "a.parquet", cells, kind=pa.binary())
    with pytest.raises(UnreadableImage, match=r"a\.parquet/row 1: null instead of a picture"):
        list(read_images(path))
    skipping = read_images(path, on_error="skip")
    assert [name for name, _ in skipping] == ["row 0", "row 2"]
    assert skipping.kept_names == ("row 0", "row 2")
    structs = [{"bytes": png(1), "path": None}, {"bytes": None, "path": None}, None]
    source = read_images(make_parquet(tmp_path / "b.parquet", structs, kind=HF_IMAGE), on_error="skip")
    assert [name for name, _ in source] == ["row 0"]
    assert len(source.skipped) == 2


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"text": ["a"]}, "one column of encoded pictures .*found none"),
        ({"a": [b"x"], "b": [b"y"]}, "found a, b; keep one"),
        ({"image": []}, "no pictures there"),
    ],
)
def test_parquet_without_pictures(tmp_path: Path, table: dict[str, list[object]], message: str) -> None:
    columns = {name: pa.array(cells, pa.binary() if name != "text" else pa.string()) for name, cells in table.items()}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=rf"a\.parquet: .*{message}"):
        read_images(tmp_path / "a.parquet")


def test_damaged_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 but not really PAR1")
    with pytest.raises(InputError, match=r"a\.parquet: not a readable parquet file"):
        read_images(tmp_path / "a.parquet")


# ---- Parts -----------------------------------------------------------------------------------------------------------


def test_what_is_found_in_parts_is_told_by_the_whole(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {f"{index}.png": png(index) for index in range(6)} | {"4.png": b""})
    whole = read_images(folder, on_error="skip")
    positions = [1, 4, 5]
    part = whole.part(positions)
    assert part.names == ("1.png", "4.png", "5.png")
    assert [name for name, _ in part] == ["1.png", "5.png"]
    assert whole.skipped == ()
    whole.adopt(positions, *part.findings())
    assert whole.skipped == ("4.png",)
    assert whole.kept_names == ("0.png", "1.png", "2.png", "3.png", "5.png")
    assert "1 of 6 pictures were unreadable" in whole.warnings[0]
    assert len(whole.part([])) == 0
