"""A file that was prepared before is not decoded again before its bytes are wanted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from paragone.data.errors import InputError
from paragone.judges.cache import ReplyCache
from paragone.judges.media import Media, MediaPreparer


@pytest.fixture
def index(tmp_path: Path) -> Iterator[ReplyCache]:
    with ReplyCache(tmp_path / "replies.db") as cache:
        yield cache


@pytest.fixture
def files(tmp_path: Path) -> list[tuple[Path, bool]]:
    paths = [tmp_path / "small.png", tmp_path / "large.png"]
    Image.effect_noise((40, 30), 60).convert("RGB").save(paths[0])
    Image.effect_noise((300, 200), 60).convert("RGB").save(paths[1])
    return [(path, False) for path in paths]


def seen(media: Media) -> tuple[str, int, int, float | None, bytes]:
    return media.sha256, media.width, media.height, media.time_s, media.encoded


def test_what_is_known_is_what_would_be_made(index: ReplyCache, files: list[tuple[Path, bool]]) -> None:
    for shown in (files, files[:1]):  # alone, the small one is enlarged: another recipe
        plain = MediaPreparer().prepare(shown)
        MediaPreparer(index=index).prepare(shown)
        again = MediaPreparer(index=index)
        known = again.prepare(shown)
        assert again.n_encoded == 0
        assert all(one.facts.n_bytes > 0 for (one,) in known)
        assert [seen(one) for (one,) in known] == [seen(one) for (one,) in plain]
        assert again.n_encoded == len(shown)  # now that the bytes were wanted


def test_a_changed_file_is_prepared_anew(index: ReplyCache, files: list[tuple[Path, bool]]) -> None:
    before = MediaPreparer(index=index).prepare(files)
    Image.effect_noise((300, 200), 60).convert("RGB").save(files[1][0])
    after = MediaPreparer(index=index).prepare(files)
    assert after[0][0].sha256 == before[0][0].sha256
    assert after[1][0].sha256 != before[1][0].sha256


def test_another_size_limit_is_another_recipe(index: ReplyCache, files: list[tuple[Path, bool]]) -> None:
    MediaPreparer(index=index).prepare(files)
    ((small,), (large,)) = MediaPreparer(index=index, max_side_px=150).prepare(files)
    assert (small.width, large.width) == (20, 150)


def test_bytes_that_are_not_what_was_known_are_not_sent(index: ReplyCache, files: list[tuple[Path, bool]]) -> None:
    MediaPreparer(index=index).prepare(files[1:])
    again = MediaPreparer(index=index)
    ((known,),) = again.prepare(files[1:])
    facts = os.stat(files[1][0])
    Image.effect_noise((300, 200), 60).convert("RGB").save(files[1][0])
    os.utime(files[1][0], ns=(facts.st_atime_ns, facts.st_mtime_ns))
    with pytest.raises(InputError, match="changed while it was judged"):
        _ = known.encoded
