"""Verifiable scenes: prompts with one right answer, drawn without a model, so that a judge can be marked exactly.

Five kinds after the compositional skills that text-to-image benchmarks ask for (GenEval, Ghosh et al. 2023,
arXiv:2310.11513): count, colour, position, size and text. Every scene has a right picture, a twin (right as well, drawn
elsewhere) and a wrong picture that differs from a right one in nothing but the answer. A layout is data: `holds` reads
the answer off it, and `draw` makes the same pixels from it on every machine with the same Pillow and FreeType.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from paragone.data.errors import UsageError
from paragone.data.records import Prompt, Task

SIZE_PX = 320
SUPERSAMPLING = 2  # drawn larger and scaled down, so that edges are smooth
COLOURS = {
    "red": (214, 40, 40),
    "blue": (38, 84, 204),
    "green": (34, 139, 60),
    "yellow": (240, 200, 30),
    "black": (20, 20, 20),
}
SHAPES = ("circle", "square", "triangle")
BACKGROUND = (255, 255, 255)
WORDS = ("HARBOUR", "LANTERN", "MEADOW", "COPPER", "WINTER", "BAKERY", "GARDEN", "PLANET", "VIOLIN", "SUMMIT")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
COUNTS = ("one", "two", "three", "four", "five", "six")
RADIUS = 0.09  # of the picture's side
LARGE, SMALL = 0.17, 0.08
CELLS = tuple(((column + 0.5) / 3, (row + 0.5) / 3) for row in range(3) for column in range(3))
JITTER = 0.05


class Shape(NamedTuple):
    """A coloured figure; `x`, `y` (centre) and `radius` are shares of the picture's side."""

    figure: str
    colour: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True, slots=True)
class Layout:
    """All that is in a picture: figures, at most one word, and the colour behind them."""

    shapes: tuple[Shape, ...] = ()
    word: str = ""
    background: tuple[int, int, int] = BACKGROUND


@dataclass(frozen=True, slots=True)
class Scene:
    """A prompt with its answer, two layouts that fulfil it and one that just does not."""

    prompt: Prompt
    kind: str
    answer: tuple[str, ...]
    right: Layout
    twin: Layout
    wrong: Layout


@dataclass(frozen=True, slots=True)
class Edit:
    """An instruction for a source picture, its faithful result, and two results that should lose against it."""

    prompt: Prompt
    source: Layout
    right: Layout
    over_edited: Layout  # the instruction carried out, and more
    unrelated: Layout


def make_scenes(n: int, *, seed: int = 0, kinds: Sequence[str] = ()) -> tuple[Scene, ...]:
    """`n` scenes, the kinds in turn (all five unless `kinds` says which); the same seed gives the same scenes.

    A longer list begins with the shorter one. Raises `UsageError` for an unknown kind or fewer than one scene.
    """
    wanted = tuple(kinds) or tuple(_MAKERS)
    for kind in wanted:
        if kind not in _MAKERS:
            raise UsageError(f"no scenes of kind {kind!r}: use {', '.join(_MAKERS)}")
    if n < 1:
        raise UsageError(f"{n} scenes: ask for at least 1")
    return tuple(_scene(wanted[index % len(wanted)], index, seed) for index in range(n))


def make_edits(n: int, *, seed: int = 0) -> tuple[Edit, ...]:
    """`n` editing tasks: change the colour of one of three figures and leave all else as it is."""
    if n < 1:
        raise UsageError(f"{n} edits: ask for at least 1")
    return tuple(_edit(index, seed) for index in range(n))


def holds(kind: str, answer: tuple[str, ...], layout: Layout) -> bool:
    """Whether a layout fulfils a scene's answer, read off the layout alone."""
    return _CHECKS[kind](answer, layout)


def draw(layout: Layout, *, size_px: int = SIZE_PX) -> Image.Image:
    """The picture of a layout, RGB, `size_px` wide and high."""
    side = size_px * SUPERSAMPLING
    picture = Image.new("RGB", (side, side), layout.background)
    pen = ImageDraw.Draw(picture)
    for shape in layout.shapes:
        _draw_shape(pen, shape, side)
    if layout.word:
        _draw_word(pen, layout.word, side)
    return picture.resize((size_px, size_px), Image.Resampling.BOX)


def scene_font(size_px: float) -> ImageFont.FreeTypeFont:
    """The font that Pillow ships, so that text looks alike everywhere.

    Raises `UsageError` where Pillow was built without FreeType.
    """
    font = ImageFont.load_default(size=size_px)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise UsageError("this Pillow was built without FreeType, which text in pictures needs: install its wheel")
    return font


def _draw_shape(pen: ImageDraw.ImageDraw, shape: Shape, side: int) -> None:
    x, y, r = shape.x * side, shape.y * side, shape.radius * side
    colour = COLOURS[shape.colour]
    if shape.figure == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif shape.figure == "square":
        pen.rectangle((x - r, y - r, x + r, y + r), fill=colour)
    else:
        pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=colour)


def _draw_word(pen: ImageDraw.ImageDraw, word: str, side: int) -> None:
    font = scene_font(side * 0.13)
    pen.text((side / 2, side / 2), word, font=font, fill=COLOURS["black"], anchor="mm")


def _scene(kind: str, index: int, seed: int) -> Scene:
    rng = random.Random(f"scene|{seed}|{index}|{kind}")
    text, answer, right, twin, wrong = _MAKERS[kind](rng)
    prompt = Prompt(id=f"scene-{seed}-{index}", text=text, tags=("scenes", kind))
    return Scene(prompt, kind, answer, right, twin, wrong)


Made = tuple[str, tuple[str, ...], Layout, Layout, Layout]  # text, answer, right, twin, wrong


def _place(figure: str, colour: str, cell: int, rng: random.Random, *, radius: float = RADIUS) -> Shape:
    x, y = CELLS[cell]
    return Shape(figure, colour, x + rng.uniform(-JITTER, JITTER), y + rng.uniform(-JITTER, JITTER), radius)


def _two_different(rng: random.Random) -> tuple[tuple[str, str], tuple[str, str]]:
    """(figure, colour) twice, neither figure nor colour shared."""
    (f, g), (c, d) = rng.sample(SHAPES, 2), rng.sample(list(COLOURS), 2)
    return (f, c), (g, d)


def _count(rng: random.Random) -> Made:
    figure, colour, number = rng.choice(SHAPES), rng.choice(list(COLOURS)), rng.randint(2, 5)
    layouts = []
    for shown in (number, number):
        cells = rng.sample(range(9), shown)
        layouts.append(Layout(tuple(_place(figure, colour, cell, rng) for cell in cells)))
    right, twin = layouts
    more = rng.random() < 0.5
    free = [cell for cell in range(9) if not any(_cell_of(shape) == cell for shape in right.shapes)]
    added = (*right.shapes, _place(figure, colour, rng.choice(free), rng))
    wrong = Layout(added if more else right.shapes[:-1])
    text = f"Exactly {COUNTS[number - 1]} {colour} {figure}s on a white background, and nothing else."
    return text, (figure, colour, str(number)), right, twin, wrong


def _cell_of(shape: Shape) -> int:
    return int(shape.y * 3) * 3 + int(shape.x * 3)


def _colour(rng: random.Random) -> Made:
    (f, c), (g, d) = _two_different(rng)
    layouts = []
    for _ in range(2):
        first, second = rng.sample(range(9), 2)
        layouts.append(Layout((_place(f, c, first, rng), _place(g, d, second, rng))))
    right, twin = layouts
    other = rng.choice([colour for colour in COLOURS if colour not in (c, d)])
    wrong = Layout((right.shapes[0]._replace(colour=other), right.shapes[1]))
    return f"A {c} {f} and a {d} {g} on a white background.", (f, c, g, d), right, twin, wrong


def _position(rng: random.Random) -> Made:
    (f, c), (g, d) = _two_different(rng)
    relation = rng.choice(("left of", "right of", "above", "below"))
    right, twin = (Layout(_related(rng, (f, c), (g, d), relation)) for _ in range(2))
    subject, thing = right.shapes
    exchanged = (subject._replace(x=thing.x, y=thing.y), thing._replace(x=subject.x, y=subject.y))
    words = {"left of": "to the left of", "right of": "to the right of"}.get(relation, relation)
    return f"A {c} {f} {words} a {d} {g}.", (f, c, g, d, relation), right, twin, Layout(exchanged)


def _related(
    rng: random.Random, subject: tuple[str, str], thing: tuple[str, str], relation: str
) -> tuple[Shape, Shape]:
    low, high, across = 0, 2, rng.randrange(3)
    if relation in ("left of", "right of"):
        near, far = across * 3 + low, across * 3 + high
    else:
        near, far = low * 3 + across, high * 3 + across
    if relation in ("right of", "below"):
        near, far = far, near
    return _place(*subject, near, rng), _place(*thing, far, rng)


def _size(rng: random.Random) -> Made:
    (f, c), (g, d) = _two_different(rng)
    right, twin = (Layout(_large_and_small(rng, (f, c), (g, d))) for _ in range(2))
    large, small = right.shapes
    wrong = Layout((large._replace(radius=SMALL), small._replace(radius=LARGE)))
    return f"A large {c} {f} and a small {d} {g} on a white background.", (f, c, g, d), right, twin, wrong


def _large_and_small(rng: random.Random, large: tuple[str, str], small: tuple[str, str]) -> tuple[Shape, Shape]:
    """In two of the quarters of the picture, so that either may have either size."""
    quarters = rng.sample([(0.26, 0.26), (0.74, 0.26), (0.26, 0.74), (0.74, 0.74)], 2)
    (x, y), (u, v) = [(x + rng.uniform(-JITTER, JITTER), y + rng.uniform(-JITTER, JITTER)) for x, y in quarters]
    return Shape(*large, x, y, LARGE), Shape(*small, u, v, SMALL)


def _text(rng: random.Random) -> Made:
    word = rng.choice(WORDS)
    at = rng.randrange(len(word))
    other = rng.choice([letter for letter in LETTERS if letter != word[at]])
    misspelt = word[:at] + other + word[at + 1 :]
    corners = rng.sample((0, 2, 6, 8), 2)
    figure, colour = rng.choice(SHAPES), rng.choice(list(COLOURS))
    right, twin = (Layout((_place(figure, colour, corner, rng, radius=SMALL),), word) for corner in corners)
    text = f'The word "{word}" in black capital letters on a white background, with a {colour} {figure} in a corner.'
    return text, (word,), right, twin, replace(right, word=misspelt)


def _edit(index: int, seed: int) -> Edit:
    rng = random.Random(f"edit|{seed}|{index}")
    before, after, *others = rng.sample(list(COLOURS), 5)
    figures, cells = rng.sample(SHAPES, 3), rng.sample(range(9), 3)
    shapes = [
        _place(figure, colour, cell, rng)
        for figure, colour, cell in zip(figures, (before, *others[:2]), cells, strict=True)
    ]
    done = shapes[0]._replace(colour=after)
    changed = shapes[1]._replace(colour=others[2], radius=RADIUS * 0.6)
    text = f"Make the {before} {figures[0]} {after} and leave everything else as it is."
    prompt = Prompt(id=f"edit-{seed}-{index}", text=text, task=Task.IMAGE_EDITING, tags=("scenes", "editing"))
    over = Layout((done, changed, shapes[2]), background=(236, 226, 205))
    unrelated = Layout(word=rng.choice(WORDS))
    return Edit(prompt, Layout(tuple(shapes)), Layout((done, *shapes[1:])), over, unrelated)


def _only(layout: Layout, figure: str, colour: str) -> Shape | None:
    """The one shape of this figure and colour, or None unless there is exactly one."""
    found = [shape for shape in layout.shapes if (shape.figure, shape.colour) == (figure, colour)]
    return found[0] if len(found) == 1 else None


def _check_count(answer: tuple[str, ...], layout: Layout) -> bool:
    figure, colour, number = answer
    fitting = [shape for shape in layout.shapes if (shape.figure, shape.colour) == (figure, colour)]
    return len(fitting) == len(layout.shapes) == int(number)


def _check_colour(answer: tuple[str, ...], layout: Layout) -> bool:
    f, c, g, d = answer
    return _only(layout, f, c) is not None and _only(layout, g, d) is not None


def _check_position(answer: tuple[str, ...], layout: Layout) -> bool:
    f, c, g, d, relation = answer
    subject, thing = _only(layout, f, c), _only(layout, g, d)
    if subject is None or thing is None:
        return False
    signed = {
        "left of": thing.x - subject.x,
        "right of": subject.x - thing.x,
        "above": thing.y - subject.y,
        "below": subject.y - thing.y,
    }
    return signed[relation] > 0


def _check_size(answer: tuple[str, ...], layout: Layout) -> bool:
    f, c, g, d = answer
    large, small = _only(layout, f, c), _only(layout, g, d)
    return large is not None and small is not None and large.radius > small.radius


def _check_text(answer: tuple[str, ...], layout: Layout) -> bool:
    return layout.word == answer[0]


_MAKERS: dict[str, Callable[[random.Random], Made]] = {
    "count": _count,
    "colour": _colour,
    "position": _position,
    "size": _size,
    "text": _text,
}
_CHECKS: dict[str, Callable[[tuple[str, ...], Layout], bool]] = {
    "count": _check_count,
    "colour": _check_colour,
    "position": _check_position,
    "size": _check_size,
    "text": _check_text,
}
SCENE_KINDS = tuple(_MAKERS)
