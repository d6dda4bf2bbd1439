"""Scenes have one right answer, and their pictures show it: read off the layout, and off the pixels by another way."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops
from scipy import ndimage

from paragone.data import Task, UsageError
from paragone.judges.scenes import COLOURS, SCENE_KINDS, Layout, Scene, draw, holds, make_edits, make_scenes

NAMES = tuple(COLOURS)


def blobs(picture: Image.Image) -> Iterator[tuple[str, float, float, int, float]]:
    """(colour, x, y, area, filled share of its box) of each connected patch of more than 30 px."""
    pixels = np.asarray(picture, dtype=int)
    palette = np.array([*COLOURS.values(), (255, 255, 255)])
    nearest = ((pixels[:, :, None] - palette) ** 2).sum(axis=-1)
    label = np.where(nearest.min(axis=-1) < 300, nearest.argmin(axis=-1), len(NAMES))
    for number, name in enumerate(NAMES):
        patches, _ = ndimage.label(label == number)
        for index, box in enumerate(ndimage.find_objects(patches), start=1):
            mask = patches[box] == index
            if mask.sum() > 30:
                rows, columns = box
                yield (
                    name,
                    (columns.start + columns.stop) / 2,
                    (rows.start + rows.stop) / 2,
                    int(mask.sum()),
                    mask.mean(),
                )


def figure_of(filled: float) -> str:
    return "square" if filled > 0.9 else "circle" if filled > 0.68 else "triangle"


def seen_in(scene: Scene, layout: Layout) -> bool:
    """The scene's answer, read off the pixels."""
    found = [(figure_of(filled), colour, x, y, area) for colour, x, y, area, filled in blobs(draw(layout))]
    kinds = [(figure, colour) for figure, colour, *_ in found]
    if scene.kind == "count":
        figure, colour, number = scene.answer
        return kinds == [(figure, colour)] * int(number)
    f, c, g, d, *relation = scene.answer
    if sorted(kinds) != sorted([(f, c), (g, d)]):
        return False
    first, second = found[kinds.index((f, c))], found[kinds.index((g, d))]
    if scene.kind == "size":
        return first[4] > 2 * second[4]
    if scene.kind == "position":
        axis, sign = {"left of": (2, -1), "right of": (2, 1), "above": (3, -1), "below": (3, 1)}[relation[0]]
        return sign * (first[axis] - second[axis]) > 40
    return True


@pytest.mark.parametrize("kind", [kind for kind in SCENE_KINDS if kind != "text"])
def test_pixels_show_the_answer(kind: str) -> None:
    for scene in make_scenes(6, seed=7, kinds=[kind]):
        assert seen_in(scene, scene.right), scene.prompt.text
        assert seen_in(scene, scene.twin), scene.prompt.text
        assert not seen_in(scene, scene.wrong), scene.prompt.text


def test_words_that_differ_look_different() -> None:
    for scene in make_scenes(12, seed=7, kinds=["text"]):
        right, wrong = draw(scene.right), draw(scene.wrong)
        box = ImageChops.difference(right, wrong).getbbox()
        assert box is not None
        assert box[3] - box[1] < 60  # nothing but a line of text differs
        assert len(scene.wrong.word) == len(scene.right.word)
        assert f'"{scene.answer[0]}"' in scene.prompt.text
        dark = np.asarray(right.convert("L")) < 90
        assert 100 < dark[120:200].sum() < 20_000


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**9), kind=st.sampled_from(SCENE_KINDS))
def test_layouts_hold_or_not_as_they_should(seed: int, kind: str) -> None:
    (scene,) = make_scenes(1, seed=seed, kinds=[kind])
    assert holds(kind, scene.answer, scene.right)
    assert holds(kind, scene.answer, scene.twin)
    assert not holds(kind, scene.answer, scene.wrong)
    assert scene.right != scene.twin
    for layout in (scene.right, scene.twin, scene.wrong):
        for shape in layout.shapes:
            assert shape.radius <= shape.x <= 1 - shape.radius
            assert shape.radius <= shape.y <= 1 - shape.radius
        for i, one in enumerate(layout.shapes):
            for other in layout.shapes[:i]:
                assert max(abs(one.x - other.x), abs(one.y - other.y)) >= one.radius + other.radius - 1e-9
    common = set(scene.right.shapes) & set(scene.wrong.shapes)
    if kind == "count":
        assert len(common) == min(len(scene.right.shapes), len(scene.wrong.shapes))
    if kind == "colour":
        assert len(common) == 1


def test_the_seed_decides_and_longer_lists_begin_alike() -> None:
    assert make_scenes(12, seed=5)[:7] == make_scenes(7, seed=5)
    assert make_scenes(5, seed=5) != make_scenes(5, seed=6)
    assert [scene.kind for scene in make_scenes(10)] == [*SCENE_KINDS, *SCENE_KINDS]
    scene = make_scenes(1, seed=5)[0]
    assert draw(scene.right).tobytes() == draw(scene.right).tobytes()
    assert len({scene.prompt.id for scene in make_scenes(50)}) == 50


def test_edits_change_one_thing() -> None:
    for edit in make_edits(8, seed=2):
        assert edit.prompt.task is Task.IMAGE_EDITING
        changed = [(old, new) for old, new in zip(edit.source.shapes, edit.right.shapes, strict=True) if old != new]
        ((old, new),) = changed
        assert old._replace(colour=new.colour) == new
        assert f"Make the {old.colour} {old.figure} {new.colour}" in edit.prompt.text
        assert edit.right.background == edit.source.background != edit.over_edited.background
        assert new in edit.over_edited.shapes
        assert len(set(edit.over_edited.shapes) & set(edit.right.shapes)) == 2
        assert not edit.unrelated.shapes


def test_unknown_kinds_and_no_scenes_are_refused() -> None:
    with pytest.raises(UsageError, match="kind 'smell': use count"):
        make_scenes(3, kinds=["smell"])
    with pytest.raises(UsageError, match="at least 1"):
        make_scenes(0)
    with pytest.raises(UsageError, match="at least 1"):
        make_edits(0)
