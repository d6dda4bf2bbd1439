"""Runs, budgets, prices, settings, functions as generators: what was paid for is kept, and no more is paid."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from paragone.data.errors import InputError, PluginError, UsageError
from paragone.data.generators.base import Generation, GenerationRequest
from paragone.data.generators.function import FunctionGenerator
from paragone.data.generators.pricing import Budget, BudgetSpent, cost_of, megapixels, money, prices_on
from paragone.data.generators.runner import read_manifest, requests_for, to_sample, write_samples
from paragone.data.generators.running import Journal, NoAnswers, Run
from paragone.data.generators.settings import Words, arguments_for, convert
from paragone.data.generators.table import GENERATORS, description_of, load_generator
from paragone.data.prompts import prompt_id_of, read_prompts
from paragone.data.records import Price, PriceUnit, Prompt, Status, Task

REQUESTS = requests_for([Prompt(f"p{n}", f"words {n}") for n in range(10)], seeds=[0])


class Model:
    """Answers as `how` says, and counts."""

    name, task = "m", Task.TEXT_TO_IMAGE

    def __init__(self, how: Any = None, **facts: Any) -> None:
        self.asked: list[tuple[str, int]] = []
        self.peak = self.open = 0
        self._how, self._facts, self._lock = how, facts, threading.Lock()
        self.at_once = 8

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        for request in requests:
            with self._lock:
                self.asked.append(request.key)
                self.open += 1
                self.peak = max(self.peak, self.open)
            try:
                yield self._how(request) if self._how else self.picture(request)
            finally:
                self.open -= 1

    def picture(self, request: GenerationRequest) -> Generation:
        return Generation(request, np.full((100, 100), request.seed, np.uint8), **self._facts)


def price(usd: str, unit: str = "image", day: str = "2020-01-01", model: str = "m") -> Price:
    return Price(model, PriceUnit(unit), Decimal(usd), day)


# ---- runs ----


def test_each_request_is_answered_once_whatever_the_order() -> None:
    model = Model()
    run = Run(model, REQUESTS, at_once=4, batch=3)
    assert sorted(generation.request.key for generation in run.generations()) == [r.key for r in REQUESTS]
    assert sorted(model.asked) == [r.key for r in REQUESTS]
    assert run.stopped is None


def test_as_many_at_once_as_the_adapter_takes() -> None:
    for at_once, allowed, peak in [(4, 8, 4), (8, 2, 2), (None, 8, 1)]:
        model = Model(slowly)
        model.at_once = allowed
        list(Run(model, REQUESTS, at_once=at_once).generations())
        assert model.peak == peak
    remote = Model(slowly)
    remote.remote = True  # type: ignore[attr-defined]
    list(Run(remote, REQUESTS).generations())
    assert remote.peak == 4


def slowly(request: GenerationRequest) -> Generation:
    time.sleep(0.05)
    return Generation(request, np.zeros((2, 2), np.uint8))


def test_a_stopped_run_finishes_what_is_on_its_way() -> None:
    model = Model(slowly)
    run = Run(model, REQUESTS)
    answers = []
    for generation in run.generations():
        answers.append(generation)
        run.stop("enough")
    assert run.stopped == "enough"
    assert len(answers) == len(model.asked) < 10


def test_latency_is_measured_where_nobody_says() -> None:
    assert all(generation.latency_s is not None for generation in Run(Model(), REQUESTS).generations())
    assert {g.latency_s for g in Run(Model(latency_s=7.0), REQUESTS).generations()} == {7.0}
    assert {g.latency_s for g in Run(Model(), REQUESTS, batch=5).generations()} == {None}  # whose time would it be?


def test_failures_in_a_row_end_a_run() -> None:
    def fails(request: GenerationRequest) -> Generation:
        return Generation(request, status=Status.TIMEOUT, message="silence")

    run = Run(Model(fails), REQUESTS * 3)
    with pytest.raises(NoAnswers, match="m: 10 requests in a row ended in errors; the last one: silence"):
        list(run.generations())
    patient = Model(fails)
    patient.keep_going = True  # type: ignore[attr-defined]
    assert len(list(Run(patient, REQUESTS * 2).generations())) == 20


def test_what_an_adapter_raises_is_reported_under_its_name() -> None:
    def breaks(request: GenerationRequest) -> Generation:
        if request.prompt.id == "p3":
            raise ZeroDivisionError("oops")
        return Generation(request, np.zeros((2, 2), np.uint8))

    answers: list[Generation] = []
    with pytest.raises(PluginError, match="generator 'm' failed: ZeroDivisionError: oops"):
        answers.extend(Run(Model(breaks), REQUESTS).generations())
    assert len(answers) == 3


# ---- money ----


def test_the_price_of_the_day() -> None:
    prices = [price("0.10"), price("0.07", day="2024-06-01"), price("9", model="other"), price("0.2", "megapixel")]
    for day, usd in [
        ("2019-12-31", []),
        ("2020-01-01", ["0.10"]),
        ("2024-05-31", ["0.10"]),
        ("2024-06-01T12", ["0.07"]),
    ]:
        found = [str(p.usd) for p in prices_on(prices, model="m", day=day) if p.unit == "image"]
        assert found == usd


def test_costs_are_exact() -> None:
    assert megapixels(1024, 1024) == Decimal("1.048576")
    assert megapixels(1280, 720, 120) == Decimal("110.592")  # 5 s at 24 frames a second
    assert cost_of([price("0.012", "megapixel")], width=1024, height=1024) == Decimal("0.012582912")
    assert cost_of([price("0.1", "second")], width=1, height=1, frames=120, fps=24.0) == Decimal("0.5")
    assert cost_of([price("0.1", "second")], width=1, height=1, frames=49, fps=24.0) == Decimal("0.204166666667")
    assert cost_of([price("0.04"), price("0.01", "megapixel")], width=1000, height=1000) == Decimal("0.05")
    assert str(cost_of([price("100")], width=1, height=1)) == "100"
    assert cost_of([], width=1, height=1) is None
    assert cost_of([price("0.1", "second")], width=1, height=1, frames=1) is None
    with pytest.raises(UsageError, match="priced by the second, and makes stills"):
        Run(Model(), REQUESTS, prices=[price("0.1", "second")])
    for value in ("-1", "nan", "1e400000000", "free", True, 0.1, None):
        with pytest.raises(InputError, match="no amount"):
            money(value, "x")


def test_what_was_not_delivered_costs_nothing_and_what_came_too_late_nobody_knows() -> None:
    statuses = iter([Status.OK, Status.REFUSED, Status.ERROR, Status.TIMEOUT])

    def answer(request: GenerationRequest) -> Generation:
        status = next(statuses)
        picture = np.zeros((100, 100), np.uint8) if status is Status.OK else None
        return Generation(request, picture, status, "" if status is Status.OK else "no")

    run = Run(Model(answer), REQUESTS[:4], prices=[price("0.01", "megapixel")])
    assert [generation.cost_usd for generation in run.generations()] == [Decimal("0.0001"), 0, 0, None]


def test_what_the_service_says_it_charged_goes_before_the_price_list() -> None:
    run = Run(Model(cost_usd=Decimal("0.5")), REQUESTS[:1], prices=[price("0.01")])
    assert [generation.cost_usd for generation in run.generations()] == [Decimal("0.5")]


@pytest.mark.parametrize("at_once", [1, 5])
def test_a_budget_is_never_overdrawn_where_the_price_is_known(at_once: int) -> None:
    for limit, n in [("0.39", 9), ("0.4", 10), ("0.04", 1), ("0.03", 0), ("0", 0)]:
        model = Model()
        run = Run(model, REQUESTS, at_once=at_once, prices=[price("0.04")], budget=Decimal(limit))
        assert len(list(run.generations())) == n
        assert run.budget.spent == Decimal("0.04") * n <= Decimal(limit)
        assert (run.stopped is None) == (n == 10)


@pytest.mark.parametrize("at_once", [1, 5])
def test_an_unknown_price_is_learnt_from_one_request(at_once: int) -> None:
    model = Model()  # 0.01 megapixels each
    run = Run(model, REQUESTS, at_once=at_once, prices=[price("10", "megapixel")], budget=Decimal("0.35"))
    assert len(list(run.generations())) == 3
    run = Run(Model(), REQUESTS, at_once=at_once, prices=[price("10", "megapixel")], budget=Decimal("0.05"))
    assert len(list(run.generations())) == 1  # by which it is overdrawn, as is said
    assert run.stopped is not None


def test_a_budget_without_any_price_is_refused() -> None:
    with pytest.raises(UsageError, match="a budget needs the price of m"):
        Run(Model(), REQUESTS, prices=[price("1", model="other")], budget=Decimal(1))
    honest = Model(cost_usd=Decimal("0.3"))
    honest.reports_cost = True  # type: ignore[attr-defined]
    assert len(list(Run(honest, REQUESTS, budget=Decimal(1)).generations())) == 3


def test_a_request_that_cost_nothing_frees_what_was_set_aside() -> None:
    budget = Budget(Decimal("0.1"), Decimal("0.1"))
    budget.reserve()
    budget.settle(Decimal(0))
    budget.reserve()
    budget.settle(Decimal("0.1"))
    with pytest.raises(BudgetSpent, match=r"\$0.1 are spent"):
        budget.reserve()


# ---- journals ----


def test_a_journal_keeps_every_attempt_and_the_last_counts(tmp_path: Path) -> None:
    request = REQUESTS[0]
    with Journal(tmp_path, {"a": 1}) as journal:
        assert journal.missing(REQUESTS) == REQUESTS
        journal.add(Generation(request, status=Status.ERROR, message="no"))
        assert request in journal.missing(REQUESTS)
        assert request not in journal.missing(REQUESTS, retry=())
        journal.add(Generation(request, np.zeros((2, 2), np.uint8), details={"usage": 3}))
    with Journal(tmp_path, {"a": 1}) as journal:
        assert [entry.status for entry in journal.entries()] == [Status.ERROR, Status.OK]
        (last,) = journal.last_entries().values()
        assert (last.status, last.details) == (Status.OK, {"usage": 3})
        assert len(journal.missing(REQUESTS)) == 9
    with pytest.raises(UsageError, match=r"other settings \(a: 1 → 2; b: null → \"x\"\)"):
        Journal(tmp_path, {"a": 2, "b": "x"}).__enter__()
    with Journal(tmp_path, {"a": 1}):
        pass  # the lock of the failed one is gone


def test_a_folder_that_somebody_else_made_is_not_mixed_with(tmp_path: Path) -> None:
    write_samples(Model(), REQUESTS, tmp_path, recipe="r")
    with pytest.raises(UsageError, match="not made by paragone generate"):
        Journal(tmp_path, {"a": 1}).__enter__()
    (tmp_path / "manifest.jsonl").write_text("nonsense")
    with pytest.raises(InputError, match="not a manifest"):
        Journal(tmp_path, {"a": 1}).__enter__()


def test_changed_words_and_pictures_are_noticed(tmp_path: Path, media: Any) -> None:
    source = tmp_path / "s.png"
    source.write_bytes(media.png("x", 0))
    prompts = [Prompt("e", "turn it", Task.IMAGE_EDITING, source="s.png")]
    (request,) = requests_for(prompts, seeds=[0], folder=tmp_path)
    assert request.source == source.resolve()
    with Journal(tmp_path / "m", {}) as journal:
        journal.add(Generation(request, np.zeros((2, 2), np.uint8)))
        assert journal.missing([request]) == []
        for changed in (Prompt("e", "burn it", Task.IMAGE_EDITING, source="s.png"), None):
            if changed is None:
                source.write_bytes(media.png("y", 0))
            (other,) = requests_for([changed or prompts[0]], seeds=[0], folder=tmp_path)
            with pytest.raises(InputError, match="prompt 'e': its words or input pictures are others"):
                journal.missing([other])
    with pytest.raises(InputError, match=r"its source .*none\.png is not there"):
        requests_for([Prompt("e", "x", source="none.png")], seeds=[0], folder=tmp_path)
    with pytest.raises(InputError, match="in which folder"):
        requests_for(prompts, seeds=[0])


def test_clips_have_frames_in_manifest_and_sample(tmp_path: Path) -> None:
    class Clips(Model):
        def picture(self, request: GenerationRequest) -> Generation:
            return Generation(request, clip=np.zeros((5, 4, 6, 3), np.uint8), fps=8.0, revised_prompt="r")

    (entry,) = write_samples(Clips(), REQUESTS[:1], tmp_path, recipe="r")
    assert read_manifest(tmp_path) == [entry]
    sample = to_sample(entry, model="m", folder="samples/m")
    assert (sample.frames, sample.fps, sample.width, sample.height) == (5, 8.0, 6, 4)
    assert sample.path.endswith("-000000.mp4")
    assert entry.revised_prompt == "r"
    clip, still = np.zeros((1, 2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8)
    for wrong in (
        Generation(REQUESTS[0]),
        Generation(REQUESTS[0], clip=clip),
        Generation(REQUESTS[0], still, clip=clip, fps=8.0),
    ):
        with pytest.raises(InputError, match="p0"):
            write_samples(Model(lambda _, wrong=wrong: wrong), REQUESTS[:1], tmp_path / "wrong", recipe="r")


# ---- settings and functions ----


def draw(prompt: str, seed: int, *, size: int = 8, warmth: float = 0.5, cold: bool = False) -> np.ndarray:
    return np.full((size, size, 3), seed + int(100 * warmth), np.uint8)


def everything(prompt, generator, source=None, image=None, request=None):  # type: ignore[no-untyped-def]
    import torch

    assert source is None
    assert image is None
    noise = torch.rand(3, 8, 8, generator=generator)

    return SimpleNamespace(images=[noise])


class Painter:
    """Made once, called for each request."""

    def __init__(self, shade: int = 3) -> None:
        self._shade = shade

    def __call__(self, prompt: str, seed: int) -> np.ndarray:
        return np.full((4, 4, 3), self._shade + seed, np.uint8)


def function(attribute: str, **settings: Any) -> FunctionGenerator:
    return FunctionGenerator("f", Task.TEXT_TO_IMAGE, f"{__name__}:{attribute}", **settings)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or __import__(__name__))


def test_functions_get_what_they_take(ask: Any) -> None:
    from paragone.data.generators.conformance import check_generator

    assert check_generator(function("everything"), seeded=True).n_ok
    made = ask(function("draw", arguments={"warmth": 0.25}), seed=7)
    assert made.image[0, 0].tolist() == [32, 32, 32]
    assert ask(function("Painter", create={"shade": 9}), seed=1).image[0, 0, 0] == 10
    with pytest.raises(UsageError, match="did you mean 'warmth'"):
        function("draw", arguments={"warmht": 1})
    with pytest.raises(PluginError, match="cannot be called"):
        function("REQUESTS")
    with pytest.raises(PluginError, match="no_such"):
        function("no_such")


def test_settings_are_what_their_annotations_say(tmp_path: Path) -> None:
    def target(
        name: str,
        path: Path,
        n: int = 1,
        x: float = 0.5,
        on: bool = False,
        words: str = "",
        table: dict[str, Any] | None = None,
        many: list[str] | None = None,
        cost: Decimal | None = None,
    ) -> None: ...

    given = {
        "path": "a/b", "n": Words("4"), "x": Words("2"), "on": Words("true"), "words": Words("007"),
        "table": {"deep": Words("0.5"), "text": Words("hello there")}, "many": Words('["a", "b"]'), "cost": "0.10",
    }  # fmt: skip
    given["cost"] = Decimal("0.10")
    found = arguments_for(target, given, owner="o", given={"name": "m", "task": "t"}, base=tmp_path)
    assert found == {
        "name": "m", "path": tmp_path / "a" / "b", "n": 4, "x": 2.0, "on": True, "words": "007",
        "table": {"deep": 0.5, "text": "hello there"}, "many": ["a", "b"], "cost": Decimal("0.10"),
    }  # fmt: skip
    for wrong, words in [
        ({"path": 3}, "path is 3; it should be Path"),
        ({"path": "x", "n": Words("four")}, "n is 'four'; it should be int"),
        ({"path": "x", "n": True}, "n is True"),
        ({"path": "x", "on": 1}, "on is 1"),
        ({"path": "x", "many": [1]}, r"many\[0\] is 1"),
        ({}, "needs the setting path"),
    ]:
        with pytest.raises(UsageError, match=words):
            arguments_for(target, wrong, owner="o", given={"name": "m"})
    assert convert(Words("a=b\nc"), Any, "x") == "a=b\nc"


def test_every_built_in_adapter_has_a_name_and_says_what_it_needs() -> None:
    for name in GENERATORS.plugins():
        with pytest.raises(UsageError, match=r"needs the setting|did you mean|has no setting"):
            load_generator(name, name="x", task=Task.TEXT_TO_IMAGE, settings={"no_such_setting": 1})


def test_a_description_leaves_out_what_does_not_change_pictures(media: Any) -> None:
    settings = {"model": "m", "base_url": "http://127.0.0.1:1/v1", "timeout_s": 3.0, "body": {"steps": Words("4")}}
    adapter = load_generator("openai-images", name="x", task=Task.TEXT_TO_IMAGE, settings=settings)
    assert description_of(adapter, "openai-images", settings)["settings"] == {
        "base_url": "http://127.0.0.1:1/v1",
        "body": {"steps": 4},
        "model": "m",
    }
    adapter = load_generator(
        f"{__name__}:Painter", name="x", task=Task.TEXT_TO_IMAGE, settings={"create": {"shade": 5}}
    )
    assert isinstance(adapter, FunctionGenerator)


# ---- prompts ----


@pytest.mark.parametrize(
    ("name", "text", "ids"),
    [
        (
            "p.txt",
            "A cat!\n\n a dog \n",
            [prompt_id_of("A cat!", "text-to-image"), prompt_id_of("a dog", "text-to-image")],
        ),
        ("p.jsonl", '{"id": "x", "text": "a"}\n{"prompt_id": 7, "prompt": "b", "tags": ["t"]}\n', ["x", "7"]),
        ("p.json", '["a", {"text": "b", "id": "y"}]', [prompt_id_of("a", "text-to-image"), "y"]),
        ("p.csv", 'id,text,tags\n1,"a, ""b""\nc",x;y\n2,d,\n', ["1", "2"]),
    ],
)
def test_prompt_files(tmp_path: Path, name: str, text: str, ids: list[str]) -> None:
    (tmp_path / name).write_text(text)
    assert [prompt.id for prompt in read_prompts(tmp_path / name)] == ids


def test_ids_are_readable_and_of_the_words() -> None:
    assert prompt_id_of("A red cube, on a table").startswith("a-red-cube-on-a-table-")
    assert prompt_id_of("A") != prompt_id_of("a")
    assert prompt_id_of("画像").startswith("prompt-")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.txt", "\n\n", "has no prompts"),
        ("p.txt", "a\na\n", "row 2: the prompt 'a-[0-9a-f]{8}' is there already"),
        ("p.jsonl", '{"text": ""}', "row 1: has no text"),
        ("p.jsonl", '{"text": "a", "task": "poem"}', "row 1: task 'poem'"),
        ("p.jsonl", '{"text": "a", "tags": 3}', "row 1: tags"),
        ("p.jsonl", "3", "row 1: is neither"),
        ("p.jsonl", "{", "is no JSON"),
        ("p.json", "{}", "holds no list"),
        ("p.csv", "id,words\n1,a\n", "no column text"),
        ("p.yaml", "a", "the suffix says"),
        ("none.txt", None, "cannot be read"),
    ],
)
def test_prompt_files_that_are_wrong_name_the_row(tmp_path: Path, name: str, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        read_prompts(tmp_path / name)


def test_a_still_is_no_clip_and_floats_are_no_picture(tmp_path: Path) -> None:
    (made,) = Run(Model(), [GenerationRequest(Prompt("v", "waves", Task.TEXT_TO_VIDEO), 0)]).generations()
    assert (made.status, made.message) == (Status.ERROR, "a still came, and a clip was asked for")
    floats = Model(lambda request: Generation(request, np.zeros((4, 4, 3))))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"prompt 'p0', seed 0: float64 \(4, 4, 3\) is no picture"):
        list(Run(floats, REQUESTS[:1]).generations())
    with pytest.raises(InputError, match="float64"):
        write_samples(floats, REQUESTS[:1], tmp_path, recipe="r")


def test_refusals_teach_nothing_of_the_price() -> None:
    statuses = iter([Status.REFUSED, *[Status.OK] * 9])

    def answer(request: GenerationRequest) -> Generation:
        status = next(statuses)
        return Generation(request, np.zeros((100, 100), np.uint8) if status is Status.OK else None, status, "x")

    run = Run(Model(answer), REQUESTS, at_once=8, prices=[price("10", "megapixel")], budget=Decimal("0.35"))
    assert sum(made.status is Status.OK for made in run.generations()) == 3


def test_settings_that_gave_nothing_but_errors_may_be_changed(tmp_path: Path) -> None:
    with Journal(tmp_path, {"a": 1}) as journal:
        journal.add(Generation(REQUESTS[0], status=Status.ERROR, message="no such model"))
    with Journal(tmp_path, {"a": 2}) as journal:
        assert journal.entries() == []
        journal.add(Generation(REQUESTS[0], status=Status.REFUSED, message="no"))
    with pytest.raises(UsageError, match="other settings"):
        Journal(tmp_path, {"a": 3}).__enter__()


def test_paths_are_read_from_where_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def target(path: Path, model: str | Path) -> None: ...

    (tmp_path / "weights").mkdir()
    (tmp_path / "here" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    found = arguments_for(target, {"path": "x", "model": "weights"}, owner="o", base=tmp_path)
    assert found == {"path": tmp_path / "x", "model": tmp_path / "weights"}
    found = arguments_for(target, {"path": Words("x"), "model": Words("mine")}, owner="o", base=tmp_path)
    assert found == {"path": Path("x"), "model": Path("mine")}
    assert arguments_for(target, {"path": "x", "model": "org/name"}, owner="o", base=tmp_path)["model"] == "org/name"
