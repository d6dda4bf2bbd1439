"""The extraction loop: one result for any batch size and workers, a cache that resumes, errors that name files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from paragone.data.decoding import Decoded
from paragone.data.errors import InputError, PluginError, UnreadableImage, UsageError
from paragone.data.images import CPU_CHUNK, ImageSource, Unreadable, read_images
from paragone.metrics import feature_store
from paragone.metrics import features as loop
from paragone.metrics.extractors.gist import Gist
from paragone.metrics.features import (
    ExtractionOptions,
    choose_device,
    extract_side,
    extract_sides,
    extract_statistics,
    open_extractor,
)

RNG = np.random.default_rng(0)


class MeanColour:
    """Three features, and logits that tell how many pictures each call saw."""

    name = "mean-colour-1"
    protocol = "paragone"
    resize = "none"
    fingerprint = "1"
    dim = 3
    has_logits = True
    warnings: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.batches: list[int] = []

    def prepare(self, image: NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(image.reshape(-1, 3).mean(axis=0, dtype=np.float32))[:, None, None]

    def to(self, device: torch.device) -> None:
        pass

    def __call__(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        self.batches.append(len(batch))
        return batch.flatten(1), torch.full((len(batch), 2), float(len(batch)))


class Largest(MeanColour):
    """Another extractor of another width, without logits."""

    name = "largest-1"
    dim = 1
    has_logits = False

    def prepare(self, image: NDArray[np.uint8]) -> Tensor:
        return torch.tensor([float(image.max())])[:, None, None]

    def __call__(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        return super().__call__(batch)[0], None


class Forgetful(MeanColour):
    def __call__(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        return super().__call__(batch)[0].flatten(), None


class Broken(MeanColour):
    def __call__(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        features, logits = super().__call__(batch)
        return torch.where(features[:, :1] == 7, torch.nan, features), logits


class Interrupted(MeanColour):
    def __call__(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        if len(self.batches) == 1:
            raise KeyboardInterrupt
        return super().__call__(batch)


def write_pictures(folder: Path, n: int) -> Path:
    """Pictures of mixed sizes; the red of picture i is i."""
    folder.mkdir()
    for index in range(n):
        pixels = RNG.integers(0, 256, (5 + index % 3, 4 + index % 5, 3), dtype=np.uint8)
        pixels[..., 0] = index
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "set", 41)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageSource, "block", 32)


def side_of(folder: Path, extractor: MeanColour, **options: object) -> loop.Extraction:
    return extract_side(read_images(folder), extractor, ExtractionOptions(device="cpu", **options), task="t")  # type: ignore[arg-type]


def test_rows_are_in_natural_order_and_statistics_are_of_them(folder: Path) -> None:
    extractor = MeanColour()
    found = side_of(folder, extractor)
    assert found.side.features is not None
    np.testing.assert_array_equal(found.side.features[:, 0], np.arange(41))
    assert found.side.features.dtype == np.float32  # as the extractor made them
    assert found.side.logits is not None
    assert found.side.logits.shape == (41, 2)
    statistics = found.side.statistics
    assert (statistics.n, statistics.extractor, statistics.protocol) == (41, "mean-colour-1", "paragone")
    np.testing.assert_allclose(statistics.mean, found.side.features.mean(axis=0, dtype=np.float64))
    np.testing.assert_allclose(statistics.covariance(), np.cov(found.side.features.T))
    assert found.content == read_images(folder).digest()


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (7, 1), (64, 3)])
def test_a_cpu_always_sees_batches_of_one_size(folder: Path, batch_size: int, workers: int) -> None:
    extractor = MeanColour()
    found = side_of(folder, extractor, batch_size=batch_size, workers=workers)
    assert set(extractor.batches) == {CPU_CHUNK}
    assert found.side.features is not None
    np.testing.assert_array_equal(found.side.features[:, 0], np.arange(41))


def test_gist_has_the_same_bits_for_any_batch_size_and_workers(folder: Path, tmp_path: Path) -> None:
    written = set()
    for number, (batch_size, workers) in enumerate(((1, 0), (7, 1), (64, 3))):
        options = ExtractionOptions("cpu", batch_size, workers)
        side = extract_side(read_images(folder), Gist(), options, task="t").side
        assert side.features is not None
        extract_statistics(read_images(folder), Gist(), options, task="t").save(tmp_path / f"{number}.npz")
        written.add((side.features.tobytes(), (tmp_path / f"{number}.npz").read_bytes()))
    assert len(written) == 1


def test_features_on_disk_are_those_in_memory(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = side_of(folder, MeanColour())
    monkeypatch.setattr(feature_store, "MEMORY_BYTES", 100)
    mapped = side_of(folder, MeanColour(), cache=tmp_path / "cache")
    for one, two in ((held.side.features, mapped.side.features), (held.side.logits, mapped.side.logits)):
        assert one is not None
        assert two is not None
        assert one.tobytes() == two.tobytes()
        assert (one.flags.writeable, two.flags.writeable) == (True, False)
    assert held.side.statistics.scatter.tobytes() == mapped.side.statistics.scatter.tobytes()
    assert all(path.suffix == ".npz" for path in (tmp_path / "cache").iterdir())


def count_reads(source: ImageSource, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    reads: list[int] = []
    read = source.read

    def counted(index: int) -> Decoded | Unreadable:
        reads.append(index)
        return read(index)

    monkeypatch.setattr(source, "read", counted)
    return reads


@pytest.mark.parametrize("workers", [0, 2])
def test_several_extractors_decode_each_picture_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    alone = [side_of(folder, MeanColour()), side_of(folder, Largest())]
    options = ExtractionOptions("cpu", workers=workers, cache=tmp_path / "cache")
    source = read_images(folder)
    reads = count_reads(source, monkeypatch)
    together = extract_sides(source, [MeanColour(), Largest()], options, task="t")
    assert sorted(reads) == list(range(41))
    assert len(together) == 2
    for one, two in zip(alone, together, strict=True):
        assert one.side.features is not None
        assert two.side.features is not None
        assert one.side.features.tobytes() == two.side.features.tobytes()
        assert one.side.statistics.scatter.tobytes() == two.side.statistics.scatter.tobytes()
        assert one.content == two.content
    assert together[0].side.logits is not None
    assert together[1].side.logits is None


def test_an_extractor_in_the_cache_is_not_called_for_the_others_sake(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ExtractionOptions("cpu", cache=tmp_path / "cache")
    [first] = extract_sides(read_images(folder), [Largest()], options, task="t")
    colour, largest = MeanColour(), Largest()
    found = extract_sides(read_images(folder), [colour, largest], options, task="t")
    assert colour.batches
    assert largest.batches == []
    np.testing.assert_array_equal(found[1].side.features, first.side.features)
    source = read_images(folder)
    reads = count_reads(source, monkeypatch)
    extract_sides(source, [largest, colour], options, task="t")
    assert reads == []


def test_the_pictures_digests_are_handed_on(folder: Path) -> None:
    found = side_of(folder, MeanColour())
    source = read_images(folder)
    assert found.digests == b"".join(map(source.content_digest, range(41)))
    assert found.content == hashlib.sha256(found.digests).hexdigest()


def test_progress_ends_where_the_pictures_do(folder: Path, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []

    def record(task: str, done: int, total: int, /) -> None:
        calls.append((task, done, total))

    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        calls.clear()
        options = ExtractionOptions("cpu", cache=cache)
        extract_side(read_images(folder), MeanColour(), options, task="work", progress=record)
        assert calls[-1] == ("work", 41, 41)
        assert calls == sorted(set(calls))


# ---- Cache -----------------------------------------------------------------------------------------------------------


def test_a_second_run_extracts_nothing_and_gives_the_same_bits(folder: Path, tmp_path: Path) -> None:
    first = side_of(folder, MeanColour(), cache=tmp_path / "cache")
    again = MeanColour()
    second = side_of(folder, again, cache=tmp_path / "cache")
    assert again.batches == []
    assert first.content == second.content
    for one, two in ((first.side.features, second.side.features), (first.side.logits, second.side.logits)):
        assert one is not None
        assert two is not None
        assert one.tobytes() == two.tobytes()
    assert first.side.statistics.scatter.tobytes() == second.side.statistics.scatter.tobytes()


def test_a_changed_picture_costs_its_block_only(folder: Path, tmp_path: Path) -> None:
    side_of(folder, MeanColour(), cache=tmp_path / "cache")
    Image.new("RGB", (4, 4), (200, 0, 0)).save(folder / "40.png")
    extractor = MeanColour()
    found = side_of(folder, extractor, cache=tmp_path / "cache")
    assert len(extractor.batches) == 1
    assert found.side.features is not None
    assert found.side.features[40, 0] == 200


@pytest.mark.parametrize("changed", ["name", "fingerprint", "protocol", "resize"])
def test_another_extractor_or_protocol_is_a_miss(folder: Path, tmp_path: Path, changed: str) -> None:
    side_of(folder, MeanColour(), cache=tmp_path / "cache")
    extractor = MeanColour()
    setattr(extractor, changed, "other")
    side_of(folder, extractor, cache=tmp_path / "cache")
    assert len(extractor.batches) == 3


def test_a_damaged_cache_is_made_anew(folder: Path, tmp_path: Path) -> None:
    expected = side_of(folder, MeanColour(), cache=tmp_path / "cache")
    for number, path in enumerate(sorted((tmp_path / "cache").iterdir())):
        path.write_bytes(path.read_bytes()[:100] if number else b"")
    extractor = MeanColour()
    found = side_of(folder, extractor, cache=tmp_path / "cache")
    assert len(extractor.batches) == 3
    np.testing.assert_array_equal(found.side.features, expected.side.features)
    again = MeanColour()
    side_of(folder, again, cache=tmp_path / "cache")
    assert again.batches == []


def test_an_interrupted_run_goes_on_from_its_last_block(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageSource, "block", 16)
    with pytest.raises(KeyboardInterrupt):
        side_of(folder, Interrupted(), cache=tmp_path / "cache")
    extractor = MeanColour()
    side_of(folder, extractor, cache=tmp_path / "cache")
    assert len(extractor.batches) == 2


def test_a_cache_that_is_a_file_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="must be a folder"):
        ExtractionOptions(cache=folder / "0.png")


# ---- What goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_unreadable_pictures_stop_the_run_or_are_named_every_time(folder: Path, tmp_path: Path, workers: int) -> None:
    for name in ("3.png", "16.png", "40.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:60])
    options = ExtractionOptions("cpu", workers=workers, cache=tmp_path / "cache")
    with pytest.raises(UnreadableImage, match=r"/3\.png"):
        extract_side(read_images(folder), MeanColour(), options, task="t")
    for _ in range(2):
        source = read_images(folder, on_error="skip")
        side = extract_side(source, MeanColour(), options, task="t").side
        assert source.skipped == ("3.png", "16.png", "40.png")
        assert side.features is not None
        np.testing.assert_array_equal(side.features[:, 0], np.delete(np.arange(41), [3, 16, 40]))
    with pytest.raises(UnreadableImage, match=r"/3\.png"):
        extract_side(read_images(folder), MeanColour(), options, task="t")


def test_warnings_about_animations_are_given_every_time(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "set", 3)
    frames = [Image.new("RGB", (4, 4), (value, 0, 0)) for value in (1, 200)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    for _ in range(2):
        source = read_images(folder)
        extract_side(source, MeanColour(), ExtractionOptions("cpu", cache=tmp_path / "cache"), task="t")
        assert any("moving.gif" in line for line in source.warnings)


def test_a_set_without_a_readable_picture_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match="none of its 1 pictures could be read"):
        extract_side(read_images(tmp_path, on_error="skip"), MeanColour(), ExtractionOptions("cpu"), task="t")


def test_features_of_the_wrong_shape_are_the_plugins_fault(folder: Path) -> None:
    with pytest.raises(PluginError, match=r"mean-colour-1: gave features of shape \(48,\)"):
        side_of(folder, Forgetful())


def test_features_that_are_not_finite_name_the_picture(folder: Path) -> None:
    with pytest.raises(InputError, match=r"7\.png: mean-colour-1 gives features that are not finite"):
        side_of(folder, Broken())


def test_unknown_extractors_and_devices() -> None:
    with pytest.raises(PluginError, match="did you mean 'gist'"):
        open_extractor("gis")
    for target in ("paragone.metrics.extractors.gist:Gist", "paragone.metrics.extractors.gist:NAME"):
        with pytest.raises(PluginError, match="cannot be called with weights= and protocol="):
            open_extractor(target)
    for options, message in (({"device": "tpu"}, "device"), ({"batch_size": 0}, "batch"), ({"workers": -1}, "workers")):
        with pytest.raises(UsageError, match=message):
            ExtractionOptions(**options)  # type: ignore[arg-type]
    if not torch.cuda.is_available():
        assert choose_device("auto").type == "cpu"
        with pytest.raises(UsageError, match="no CUDA device"):
            choose_device("cuda")
