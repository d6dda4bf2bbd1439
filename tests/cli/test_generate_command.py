"""`paragone generate`: into a project that everything else reads; resumed, stopped, within a budget, never twice."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paragone.__main__ import main
from paragone.arena.store import Store
from paragone.data.records import Status, Task

SERVER = Path(__file__).parents[1] / "data" / "generators" / "media_server.py"
MODELS = '''
"""Functions that draw."""
import numpy as np
from pathlib import Path

CALLS = Path(__file__).with_name("calls.txt")

def noise(prompt, seed, scale=255, refuse=""):
    with CALLS.open("a") as file:
        file.write(f"{prompt}|{seed}\\n")
    if refuse and refuse in prompt:
        from paragone.data import Generation, GenerationRequest, Prompt, Status
        return Generation(GenerationRequest(Prompt("x", prompt), seed), status=Status.REFUSED, message="not that")
    if "breaks" in prompt:
        raise ValueError("no such brush")
    rng = np.random.default_rng([seed, len(prompt)])
    return rng.integers(0, scale + 1, (10, 20, 3)).astype(np.uint8)

def slow(prompt, seed):
    import time
    time.sleep(0.15)
    return noise(prompt, seed)

def clip(prompt, seed):
    return np.stack([noise(prompt, seed + n) for n in range(4)])

def flip(image, mask_image=None):
    return np.asarray(image)[:, ::-1]
'''


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of functions and a file of three prompts, which is where the command runs."""
    name = f"models_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODELS)
    (tmp_path / "prompts.txt").write_text("a red cube\ntwo cats\n\nthe sea\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MODELS", name)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """The exit code, stdout and stderr of a command; MODELS: stands for the module of functions."""

    def command(*arguments: str) -> tuple[int, str, str]:
        words = [argument.replace("MODELS:", f"{os.environ['MODELS']}:") for argument in arguments]
        with pytest.raises(SystemExit) as ended:
            main(words)
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return command


def calls(here: Path) -> list[str]:
    path = here / "calls.txt"
    return path.read_text().splitlines() if path.is_file() else []


def test_from_nothing_to_a_board(here: Path, run: Callable[..., Any]) -> None:
    shared = ("--dir", "p", "--prompts", "prompts.txt", "--seeds", "2", "--json", "-")
    code, out, _ = run("generate", "--generator", "MODELS:noise", *shared, "--price", "megapixel=0.5")
    assert code == 0
    (report,) = json.loads(out)["generators"]
    assert report["ended"] == {"ok": 6, "refused": 0, "filtered": 0, "error": 0, "timeout": 0}
    assert report["megapixels"] == "0.0012"  # 6 × 20 × 10 px
    assert (report["usd_paid"], report["usd_per_output"], report["usd_per_megapixel"]) == ("0.0006", "0.0001", "0.5")
    assert report["latency_p95_s"] >= report["latency_p50_s"] > 0
    run("generate", "--generator", "MODELS:noise", "--model-name", "dark", "--set", "arguments.scale=40", *shared)
    run("generate", "--generator", "MODELS:noise", "--model-name", "shy", "--set", "arguments.refuse=cats", *shared)
    with Store(here / "p" / "arena.db") as store:
        assert [card.name for card in store.generators()] == ["dark", "noise", "shy"]
        samples = store.samples(model="noise")
        assert [sample.cost_usd for sample in samples] == [Decimal("0.0001")] * 6
        assert {(s.prompt_id, s.seed) for s in samples} == {(s.prompt_id, s.seed) for s in store.samples(model="dark")}
        for sample in samples:
            with Image.open(here / "p" / sample.path) as picture:
                assert picture.size == (20, 10)
        attempts = store.attempts(model="shy")
        assert [attempt.status for attempt in attempts].count(Status.REFUSED) == 2
        assert {attempt.message for attempt in attempts if attempt.status is Status.REFUSED} == {"not that"}
        assert [price.usd for price in store.prices()] == [Decimal("0.5")]
    assert run("judge", "--dir", "p", "--judge", "contrast", "--battles", "9", "--json", "-")[0] == 0
    code, out, _ = run("leaderboard", "--dir", "p", "--json", "-")
    assert code == 0
    assert {row["model"] for row in json.loads(out)["models"]} == {"noise", "dark", "shy"}
    assert run("doctor", "--dir", "p")[0] == 0


def test_the_table_for_people(here: Path, run: Callable[..., Any]) -> None:
    code, out, err = run("generate", "--generator", "MODELS:noise", "--prompts", "prompts.txt", "--price", "image=0.04")
    assert code == 0
    assert "model" in out
    assert "$0.12" in out
    assert "noise: 3 of 3 samples, $0.1200" in err
    assert (here / "arena.db").is_file()
    assert "[generators.my-model]" in (here / "paragone.toml").read_text()


def test_the_same_command_again_asks_nothing(here: Path, run: Callable[..., Any]) -> None:
    command = ("generate", "--generator", "MODELS:noise", "--prompts", "prompts.txt", "--json", "-")
    run(*command)
    code, out, _ = run(*command)
    (report,) = json.loads(out)["generators"]
    assert (code, report["n_asked"], report["n_reused"], len(calls(here))) == (0, 0, 3, 3)
    run(*command, "--seeds", "2")
    assert len(calls(here)) == 6
    next((here / "samples" / "noise").glob("*-000001.png")).write_bytes(b"damaged")
    run(*command, "--seeds", "2")
    assert len(calls(here)) == 7
    with Store(here / "arena.db") as store:
        assert len(store.samples()) == 6
        assert len(store.attempts()) == 7


def test_new_prompts_of_the_project_are_for_everybody(here: Path, run: Callable[..., Any]) -> None:
    run("generate", "--generator", "MODELS:noise", "--prompts", "prompts.txt")
    code, out, _ = run("generate", "--generator", "MODELS:slow", "--json", "-")
    assert code == 0
    assert json.loads(out)["generators"][0]["ended"]["ok"] == 3


def test_failures_are_kept_and_asked_again_when_that_is_wanted(here: Path, run: Callable[..., Any]) -> None:
    (here / "prompts.txt").write_text("a cat\nbreaks\na secret\n")
    command = ("generate", "--generator", "MODELS:noise", "--set", "arguments.refuse=secret", "--json", "-")
    code, out, _ = run(*command, "--prompts", "prompts.txt")
    assert code == 0
    assert json.loads(out)["generators"][0]["ended"] == {"ok": 1, "refused": 1, "filtered": 0, "error": 1, "timeout": 0}
    for retry, n_asked in [((), 1), (("--retry", ""), 0), (("--retry", "refused,error"), 2)]:
        _, out, _ = run(*command, *retry)
        assert json.loads(out)["generators"][0]["n_asked"] == n_asked
    with Store(here / "arena.db") as store:
        ended = [attempt.status for attempt in store.attempts()]
        assert (ended.count(Status.ERROR), ended.count(Status.REFUSED)) == (3, 2)  # every one of them is a fact
        assert "ValueError: no such brush" in {attempt.message for attempt in store.attempts()}
    code, _, err = run(*command, "--retry", "ok")
    assert code == 2
    assert "'ok' is none of refused, filtered" in err


def test_other_settings_are_another_model(here: Path, run: Callable[..., Any]) -> None:
    command = ("generate", "--generator", "MODELS:noise", "--prompts", "prompts.txt")
    run(*command)
    code, _, err = run(*command, "--set", "arguments.scale=9")
    assert code == 2
    assert "made with other settings" in err
    assert '{"arguments": {"scale": 9}}' in err
    assert "--model-name" in err
    assert len(calls(here)) == 3


def test_described_generators(here: Path, run: Callable[..., Any]) -> None:
    (here / "paragone.toml").write_text(f"""
[generators.bright]
adapter = "{os.environ["MODELS"]}:noise"
settings = {{ arguments = {{ scale = 255 }} }}
card = {{ family = "noise", open_weights = true, released = 2026-01-31, parameters = 12e9, space = "pixel" }}
prices = [
  {{ unit = "image", usd = "0.10", valid_from = 2020-01-01 }},
  {{ unit = "image", usd = 0.07, valid_from = 2021-01-01, source = "https://example.org/prices" }},
  {{ unit = "image", usd = "0.01", valid_from = 2999-01-01 }},
]
[generators.dark]
adapter = "{os.environ["MODELS"]}:noise"
settings = {{ arguments = {{ scale = 9 }} }}
""")
    code, out, _ = run("generate", "--prompts", "prompts.txt", "--json", "-")
    assert code == 0
    assert [report["generator"] for report in json.loads(out)["generators"]] == ["bright", "dark"]
    assert json.loads(out)["generators"][0]["usd_paid"] == "0.21"  # the price of today, neither older nor later
    assert json.loads(out)["generators"][1]["usd_paid"] is None
    with Store(here / "arena.db") as store:
        card = store.generators()[0]
        assert (card.family, card.open_weights, card.released, card.parameters, card.space) == (
            "noise",
            True,
            "2026-01-31",
            12_000_000_000,
            "pixel",
        )
        assert len(store.prices()) == 3
    code, out, _ = run("generate", "dark", "--seeds", "2", "--json", "-")
    assert json.loads(out)["generators"][0]["n_asked"] == 3
    code, _, err = run("generate", "drak")
    assert code == 2
    assert "it describes bright, dark" in err


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("adapter = 3", "needs an adapter"),
        ('adapter = "folder"\npath = "x"', "has no key 'path'"),
        ('adapter = "folder"\ntask = "poems"', "task 'poems'"),
        ('adapter = "folder"\ncard = { colour = "red" }', "has no field 'colour'"),
        ('adapter = "folder"\ncard = { space = "outer" }', "space is 'outer'"),
        ('adapter = "folder"\ncard = { parameters = "many" }', "should be int"),
        ('adapter = "folder"\nprices = { unit = "image", usd = "0.1" }', "valid_from"),
        ('adapter = "folder"\nprices = { unit = "image", usd = "-1", valid_from = "2026-01-01" }', "no amount"),
        ('adapter = "folder"\nprices = { unit = "hour", usd = "1", valid_from = "2026-01-01" }', "unit 'hour'"),
        ('adapter = "folder"\nprices = { unit = "image", usd = "1", valid_from = "soon" }', "no date"),
        ('adapter = "foldr"', "did you mean 'folder'"),
        ('adapter = "folder"\nsettings = { pathe = "x" }', "did you mean 'path'"),
        ('adapter = "folder"', "needs the setting path"),
        ("adapter = ", "cannot be read"),
    ],
)
def test_a_description_that_cannot_work_names_the_key(
    here: Path, run: Callable[..., Any], table: str, words: str
) -> None:
    (here / "paragone.toml").write_text(f"[generators.x]\n{table}\n")
    code, _, err = run("generate", "x", "--prompts", "prompts.txt")
    assert code == 2
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--prompts", "none.txt"), "none.txt: cannot be read"),
        (("--prompts", "prompts.txt", "--set", "arguments.scal=1"), "did you mean 'scale'"),
        (("--prompts", "prompts.txt", "--set", "scale"), "write KEY=VALUE"),
        (("--prompts", "prompts.txt", "--price", "image"), "write UNIT=USD"),
        (("--prompts", "prompts.txt", "--price", "image=free"), "no amount"),
        (("--prompts", "prompts.txt", "--budget", "1"), "a budget needs the price of noise"),
        (("--prompts", "prompts.txt", "--task", "image-editing"), "needs an input picture"),
        ((), "name a file of them with --prompts"),
        (("bright", "--prompts", "prompts.txt"), "leave out bright"),
    ],
)
def test_options_that_cannot_work(here: Path, run: Callable[..., Any], arguments: tuple[str, ...], words: str) -> None:
    code, _, err = run("generate", "--generator", "MODELS:noise", *arguments)
    assert code == 2
    assert words in err
    assert calls(here) == []


def test_a_budget_is_kept(here: Path, run: Callable[..., Any]) -> None:
    command = ("generate", "--generator", "MODELS:noise", "--price", "image=0.04", "--seeds", "4", "--json", "-")
    code, out, _ = run(*command, "--prompts", "prompts.txt", "--budget", "0.21", "--concurrency", "3")
    (report,) = json.loads(out)["generators"]
    assert code == 0
    assert (report["n_asked"], report["usd_paid"], report["n_unanswered"]) == (5, "0.20", 7)
    assert "the budget of $0.21 is reached" in report["stopped"]
    _, out, _ = run(*command, "--budget", "10")
    assert json.loads(out)["generators"][0]["usd_paid"] == "0.48"
    assert len(calls(here)) == 12


def test_clips_and_edits(here: Path, run: Callable[..., Any]) -> None:
    clips = ("--generator", "MODELS:clip", "--task", "text-to-video", "--set", "fps=5", "--price", "second=0.5")
    code, out, _ = run("generate", *clips, "--prompts", "prompts.txt", "--json", "-")
    assert code == 0
    assert json.loads(out)["generators"][0]["usd_per_output"] == "0.4"  # 4 frames at 5 a second
    with Store(here / "arena.db") as store:
        assert {(s.frames, s.fps, s.width) for s in store.samples(model="clip")} == {(4, 5.0, 20)}
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(1, 4, 3)).save(here / "input.png")
    outside = here.parent / f"{here.name}-outside.png"
    Image.fromarray(np.full((2, 2, 3), 9, np.uint8)).save(outside)
    rows = [{"id": "in", "text": "turn it", "source": "input.png"}, {"id": "out", "text": "x", "source": str(outside)}]
    (here / "edits.jsonl").write_text("\n".join(map(json.dumps, rows)))
    edit = ("generate", "--generator", "MODELS:flip", "--task", "image-editing")
    assert run(*edit, "--prompts", "edits.jsonl")[0] == 0
    with Store(here / "arena.db") as store:
        sources = {prompt.id: prompt.source for prompt in store.prompts() if prompt.task is Task.IMAGE_EDITING}
        assert sources["in"] == "input.png"
        assert sources["out"].startswith("media/")
        (sample,) = [sample for sample in store.samples(model="flip") if sample.prompt_id == "in"]
        with Image.open(here / sample.path) as picture:
            assert np.asarray(picture)[0, 0].tolist() == [9, 10, 11]
    Image.fromarray(np.zeros((1, 4, 3), np.uint8)).save(here / "input.png")
    code, _, err = run(*edit)
    assert code == 2
    assert "prompt 'in': its words or input pictures are others" in err


def test_a_prompt_that_changes_its_words_needs_a_new_id(here: Path, run: Callable[..., Any]) -> None:
    command = ("generate", "--generator", "MODELS:noise", "--prompts", "p.csv")
    (here / "p.csv").write_text("id,text\none,a cat\n")
    assert run(*command)[0] == 0
    (here / "p.csv").write_text("id,text\none,a dog\n")
    code, _, err = run(*command)
    assert code == 2
    assert "prompt one: is stored with another text" in err


def test_models_with_names_that_are_no_folders(here: Path, run: Callable[..., Any]) -> None:
    for name in ("org/model:v1", "org-model:v1", "../x"):
        command = ("generate", "--generator", "MODELS:noise", "--model-name", name, "--prompts", "prompts.txt")
        assert run(*command)[0] == 0
    folders = {path.name for path in (here / "samples").iterdir()}
    assert len(folders) == 3
    assert not (here.parent / "x").exists()


def test_a_generator_that_never_answers_ends_the_run(here: Path, run: Callable[..., Any]) -> None:
    (here / "prompts.txt").write_text("\n".join(f"breaks {n}" for n in range(30)))
    code, out, err = run("generate", "--generator", "MODELS:noise", "--prompts", "prompts.txt", "--json", "-")
    assert code == 5
    assert "10 requests in a row ended in errors; the last one: ValueError: no such brush" in err
    assert json.loads(out)["generators"][0]["ended"]["error"] == 10


def test_check_says_which_rules_held(here: Path, run: Callable[..., Any]) -> None:
    code, out, _ = run("generate", "--generator", "MODELS:noise", "--check")
    assert code == 0
    assert "neighbours" in out
    assert not (here / "arena.db").exists()
    code, _, err = run("generate", "--generator", "MODELS:flip", "--check")
    assert code == 0 or "rule" in err


# ---- a service, and the ends that a process can come to ----


@pytest.fixture
def server() -> Iterator[Any]:
    """The server of image services, running."""
    name = "paragone_media_server"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, SERVER)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    with sys.modules[name].MediaServer() as running:
        yield running


def service(server: Any, *more: str) -> tuple[str, ...]:
    settings = ("--set", f"base_url={server.url}/v1", "--set", "model=fake")
    return ("generate", "--generator", "openai-images", "--model-name", "fake", *settings, *more)


def test_a_service_is_asked_several_things_at_once(here: Path, run: Callable[..., Any], server: Any) -> None:
    (here / "many.txt").write_text("\n".join(f"prompt {n}" for n in range(12)))
    slowly = lambda received: server.well_behaved(received).__class__(  # noqa: E731
        200, server.well_behaved(received).body, delay_s=0.1
    )
    server.on("/v1/images/generations", slowly)
    assert run(*service(server, "--prompts", "many.txt", "--concurrency", "6"))[0] == 0
    assert 4 <= server.peak <= 6
    with Store(here / "arena.db") as store:
        assert len(store.samples()) == 12


def start(here: Path, *arguments: str) -> subprocess.Popen[str]:
    words = [argument.replace("MODELS:", f"{os.environ['MODELS']}:") for argument in arguments]
    path = os.pathsep.join([str(here), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-m", "paragone", *words],
        cwd=here,
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def wait_for_calls(here: Path, n: int) -> None:
    deadline = time.monotonic() + 60
    while len(calls(here)) < n:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_kill_9_loses_nothing_that_was_answered(here: Path, run: Callable[..., Any]) -> None:
    (here / "many.txt").write_text("\n".join(f"prompt {n}" for n in range(14)))
    command = ("generate", "--generator", "MODELS:slow", "--prompts", "many.txt")
    process = start(here, *command)
    wait_for_calls(here, 5)
    process.kill()
    process.communicate()
    manifest = (here / "samples" / "slow" / "manifest.jsonl").read_text().splitlines()
    with (here / "samples" / "slow" / "manifest.jsonl").open("a") as file:
        file.write('{"prompt_id": "half a li')
    code, out, _ = run(*command, "--json", "-")
    assert code == 0
    (report,) = json.loads(out)["generators"]
    assert report["ended"]["ok"] == 14
    assert report["n_reused"] == len(manifest) - 1 >= 4
    assert len(calls(here)) <= 14 + 1  # only what was on its way is asked again
    with Store(here / "arena.db") as store:
        assert len(store.samples()) == len(store.attempts()) == 14


def test_ctrl_c_finishes_what_is_on_its_way(here: Path, run: Callable[..., Any]) -> None:
    (here / "many.txt").write_text("\n".join(f"prompt {n}" for n in range(40)))
    command = ("generate", "--generator", "MODELS:slow", "--prompts", "many.txt")
    process = start(here, *command)
    wait_for_calls(here, 3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "waiting for the requests on their way" in err
    n_calls = len(calls(here))
    with Store(here / "arena.db") as store:
        assert len(store.samples()) == len(store.attempts()) == n_calls < 40


def test_two_runs_at_once_are_one_too_many(here: Path, run: Callable[..., Any]) -> None:
    (here / "many.txt").write_text("\n".join(f"prompt {n}" for n in range(40)))
    command = ("generate", "--generator", "MODELS:slow", "--prompts", "many.txt")
    process = start(here, *command)
    try:
        wait_for_calls(here, 1)
        code, _, err = run(*command)
        assert code == 2
        assert "another run is writing samples there" in err
    finally:
        process.kill()
        process.communicate()
