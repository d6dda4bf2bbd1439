"""The pages without a browser: a vote is stored, then revealed; before it, no trace of a model; text stays text."""

from __future__ import annotations

import base64
import io
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from streamlit.testing.v1 import AppTest

from paragone.arena.store import Store
from paragone.arena.ui import battle, pictures
from paragone.arena.ui import main as ui_main
from paragone.data import (
    GeneratorCard,
    MetricResult,
    Prompt,
    Sample,
    UnreadableImage,
    VoterKind,
    sample_id,
)
from paragone.data.files import file_digest

MODELS = ("model-anna", "model-<b>bea</b> **x** [y](http://evil.example)")
CANARY = "canary-of-the-sampler"
PROMPT = "draw :red[this] <script>alert(1)</script> ![z](http://evil.example/z.png)"
PATIENCE = 30  # seconds to the end of one script run
MAIN = str(ui_main.__file__)


def save_picture(path: Path, pixels: np.ndarray) -> None:
    """A PNG that tells who made it, as many samplers' do."""
    told = PngInfo()
    told.add_text("parameters", f"{CANARY}: {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, pnginfo=told)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    with Store(tmp_path / "arena.db", create=True) as store:
        store.add_generators(GeneratorCard(name) for name in MODELS)
        store.add_prompts([Prompt("p", PROMPT)])
        samples = []
        for n, model in enumerate(MODELS):
            for seed in range(20):
                path = tmp_path / "samples" / f"folder-of-{n}" / f"{seed}.png"
                save_picture(path, rng.integers(0, 256, (8, 8 + 8 * n), np.uint8))
                digest = file_digest(path)
                name = sample_id(model, "p", seed, digest)
                place = path.relative_to(tmp_path).as_posix()
                samples.append(Sample(name, digest, place, "p", model, seed, 8 + 8 * n, 8))
        store.add_samples(samples)
    monkeypatch.setenv("PARAGONE_DIR", str(tmp_path))
    monkeypatch.delenv("PARAGONE_DB", raising=False)
    monkeypatch.setattr(battle, "FASTEST_MS", 0)
    return tmp_path


@pytest.fixture
def app(folder: Path) -> AppTest:
    return AppTest.from_file(MAIN, default_timeout=PATIENCE).run()


def sent(app: AppTest) -> str:
    """All that the server would have sent for what is on the page now, and for the session's toasts."""
    return "\n".join(str(node.proto) for node in walk(app._tree))


def walk(node: object) -> list[object]:
    children = getattr(node, "children", {})
    own = [node] if hasattr(node, "proto") and node.proto is not None else []
    return own + [found for child in children.values() for found in walk(child)]


def button(app: AppTest, label: str) -> object:
    return next(button for button in app.button if button.label == label)


def page(app: AppTest, module: str) -> AppTest:
    """Another page than the first, by itself."""
    script = (
        f"from paragone.arena.ui import {module}\n"
        "from paragone.arena.ui.reading import open_project\n"
        f"{module}.show(open_project())\n"
    )
    return AppTest.from_string(script, default_timeout=PATIENCE).run()


def human_votes(folder: Path) -> list[str]:
    with Store(folder / "arena.db") as store:
        return list(store.votes(VoterKind.HUMAN)["winner"])


class TestBattle:
    @pytest.mark.parametrize(
        ("label", "winner"),
        [("A is better", "model_a"), ("B is better", "model_b"), ("Tie", "tie"), ("Both bad", "both_bad")],
    )
    def test_vote_and_reveal(self, app: AppTest, folder: Path, label: str, winner: str) -> None:
        assert not app.exception
        assert [b.label for b in app.button] == ["A is better", "Tie", "B is better", "Both bad"]
        button(app, label).click().run()
        assert human_votes(folder) == [winner]
        with Store(folder / "arena.db") as store:
            row = store.votes().iloc[0]
        shown = [text.value for text in app.text]
        assert f"A: {row['model_a']}" in shown
        assert f"B: {row['model_b']}" in shown
        change = {"model_a": 2.0, "model_b": -2.0}.get(winner, 0.0)
        assert [metric.value for metric in app.metric] == [f"{1000 + change:.1f}", f"{1000 - change:.1f}"]
        assert "expected to score 50 % and 50 %" in app.caption[-1].value

    def test_next_battle_is_another(self, app: AppTest, folder: Path) -> None:
        keys = [b.key for b in app.button]
        button(app, "Tie").click().run()
        button(app, "Next battle").click().run()
        assert not set(keys) & {b.key for b in app.button}
        button(app, "A is better").click().run()
        assert human_votes(folder) == ["tie", "model_a"]

    def test_elo_follows_all_earlier_votes(self, app: AppTest, folder: Path) -> None:
        from paragone.arena import fit_elo

        for label in ("A is better", "B is better", "A is better"):
            button(app, label).click().run()
            with Store(folder / "arena.db") as store:
                votes = store.votes(VoterKind.HUMAN)
            ratings = fit_elo(votes)
            elo = dict(zip(ratings.models, ratings.rating, strict=True))
            last = votes.iloc[-1]
            expected = [f"{elo[last[side]]:.1f}" for side in ("model_a", "model_b")]
            assert [metric.value for metric in app.metric] == expected
            button(app, "Next battle").click().run()

    def test_rerun_keeps_the_battle(self, app: AppTest, folder: Path) -> None:
        keys = [b.key for b in app.button]
        app.run()
        assert [b.key for b in app.button] == keys
        with Store(folder / "arena.db") as store:
            assert store.counts()["battles"] == 1

    def test_second_press_changes_nothing(self, app: AppTest, folder: Path) -> None:
        press_a, press_b = button(app, "A is better"), button(app, "B is better")
        press_a.click()
        press_b.click()  # both arrive in one run
        app.run()
        assert len(human_votes(folder)) == 1
        assert not app.exception

    def test_answer_faster_than_a_look_is_not_taken(
        self, app: AppTest, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(battle, "FASTEST_MS", 10**9)
        button(app, "Tie").click().run()
        assert human_votes(folder) == []
        monkeypatch.setattr(battle, "FASTEST_MS", 0)
        button(app, "Tie").click().run()
        assert human_votes(folder) == ["tie"]

    def test_times_and_propensity_are_stored(self, app: AppTest, folder: Path) -> None:
        button(app, "Tie").click().run()
        with sqlite3.connect(folder / "arena.db") as connection:
            battle_row = connection.execute("SELECT shown_at, propensity, policy FROM battles").fetchone()
            dwell = connection.execute("SELECT dwell_ms FROM votes").fetchone()[0]
        connection.close()
        assert None not in battle_row
        assert battle_row[1] == 1.0  # the only pair
        assert dwell >= 0


class TestBlindness:
    def secrets(self, folder: Path) -> list[str]:
        with Store(folder / "arena.db") as store:
            samples = store.samples()
        told = {value for s in samples for value in (s.model, s.id, s.sha256, s.path, s.sha256[:16])}
        return [*told, CANARY, "folder-of", "model-anna", "samples/", "arena.db", str(folder)]

    def test_nothing_before_the_vote(self, app: AppTest, folder: Path) -> None:
        text = sent(app)
        assert "data:image/png;base64," in text  # the pictures are in what is searched
        for secret in self.secrets(folder):
            assert secret not in text
        button(app, "Tie").click().run()
        assert "model-anna" in sent(app)

    def test_pictures_are_pixels_alone_and_alike_in_size(self, app: AppTest) -> None:
        found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", sent(app))
        assert len(found) == 2
        decoded = [base64.b64decode(text) for text in found]
        for content in decoded:
            assert CANARY.encode() not in content
            assert png_chunks(content) <= {b"IHDR", b"IDAT", b"IEND"}
        assert len({Image.open(io.BytesIO(content)).size for content in decoded}) == 1

    def test_broken_picture_names_nobody(self, folder: Path) -> None:
        for path in (folder / "samples").rglob("*.png"):
            path.write_bytes(b"damaged")
        app = AppTest.from_file(MAIN, default_timeout=PATIENCE).run()
        assert not app.exception
        assert len(app.error) == 1
        for secret in self.secrets(folder):
            assert secret not in sent(app)
        button(app, "Another battle").click().run()
        assert human_votes(folder) == []

    def test_hostile_text_is_never_markup(self, app: AppTest) -> None:
        assert PROMPT in [text.value for text in app.text]
        button(app, "Tie").click().run()
        for kind in (app.markdown, app.caption, app.title, app.info, app.warning, app.error):
            for element in kind:
                assert "evil.example" not in element.value
                assert "<script" not in element.value


class TestOtherPages:
    def test_leaderboard(self, app: AppTest, folder: Path) -> None:
        empty = page(app, "board")
        assert not empty.exception
        assert "No votes yet" in empty.info[0].value
        assert list(empty.dataframe[0].value["model"]) == sorted(MODELS)
        button(app, "A is better").click().run()
        board = page(app, "board")
        assert not board.exception
        assert board.dataframe[0].value["votes"].tolist() == [1, 1]
        assert board.dataframe[0].value["rank"].tolist() == ["1–2", "1–2"]
        assert "1 vote of people" in board.caption[0].value

    def test_voters_are_asked_for_only_where_there_is_a_choice(self, app: AppTest, folder: Path) -> None:
        from paragone.data import Battle, Judgement, Verdict, Winner

        button(app, "Tie").click().run()
        assert not page(app, "board").segmented_control
        with Store(folder / "arena.db") as store:
            a, b = (store.samples(model=model)[0] for model in MODELS)
            verdicts = (Verdict(Winner.MODEL_A),) * 2
            two = [
                Judgement(Battle(str(n), "p", *MODELS, a.id, b.id), verdicts, Winner.MODEL_A, True) for n in range(2)
            ]
            store.record_judgements(two, judge="ruler")
        board = page(app, "board")
        assert "2 votes of judges" in board.caption[0].value
        choice = board.segmented_control[0]
        assert list(choice.options) == ["People", "Judges", "Both, mixed"]
        choice.set_value("all").run()
        assert "3 votes of people and judges together" in board.caption[0].value

    def test_gallery(self, app: AppTest) -> None:
        gallery = page(app, "gallery")
        assert not gallery.exception
        assert {text.value for text in gallery.text} == set(MODELS)
        assert gallery.selectbox[0].options == [PROMPT]
        assert gallery.selectbox[1].options == ["0 – 15", "16 – 19"]
        gallery.selectbox[1].set_value(1).run()
        assert not gallery.exception

    def test_metrics(self, app: AppTest, folder: Path) -> None:
        assert "No metrics" in page(app, "measures").info[0].value
        with Store(folder / "arena.db") as store:
            for n, model in enumerate(MODELS):
                store.add_metric_results(model, [MetricResult("fd", 1.0 + n, False, 20, signature="fd")])
        button(app, "A is better").click().run()
        measures = page(app, "measures")
        assert not measures.exception
        assert measures.selectbox[0].options == ["fd"]
        assert measures.dataframe[0].value["value"].tolist() == [1.0, 2.0]


class TestProjects:
    def test_another_database_in_the_same_place(self, app: AppTest, folder: Path, tmp_path: Path) -> None:
        """A project that was deleted and made anew under a running server."""
        old = [b.key for b in app.button]
        for path in folder.glob("arena.db*"):
            path.rename(path.with_name(f"old-{path.name}"))
        source, target = (sqlite3.connect(folder / name) for name in ("old-arena.db", "arena.db"))
        source.backup(target)
        source.close()
        target.close()
        app.run()
        assert [b.key for b in app.button] != old
        button(app, "Tie").click().run()
        assert human_votes(folder) == ["tie"]

    def test_without_a_project(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("PARAGONE_DIR", raising=False)
        monkeypatch.delenv("PARAGONE_DB", raising=False)
        app = AppTest.from_file(MAIN, default_timeout=PATIENCE).run()
        assert not app.exception
        assert "paragone demo --serve" in [code.value for code in app.code]

    def test_file_that_is_no_database(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "arena.db").write_text("not a database at all")
        monkeypatch.setenv("PARAGONE_DIR", str(tmp_path))
        app = AppTest.from_file(MAIN, default_timeout=PATIENCE).run()
        assert not app.exception
        assert "cannot be opened" in app.error[0].value

    def test_project_without_samples(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Store(tmp_path / "arena.db", create=True).close()
        monkeypatch.setenv("PARAGONE_DIR", str(tmp_path))
        app = AppTest.from_file(MAIN, default_timeout=PATIENCE).run()
        assert not app.exception
        assert "no battle" in app.info[0].value

    def test_database_elsewhere(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("PARAGONE_DIR")
        monkeypatch.setenv("PARAGONE_DB", f"sqlite:///{folder / 'arena.db'}")
        assert "A is better" in [b.label for b in AppTest.from_file(MAIN, default_timeout=PATIENCE).run().button]

    def test_entry_at_the_top_of_the_checkout(self, folder: Path) -> None:
        entry = Path(MAIN).resolve().parents[2] / "streamlit_app.py"
        if not entry.is_file():
            pytest.skip("not a checkout")
        assert "A is better" in [b.label for b in AppTest.from_file(str(entry), default_timeout=PATIENCE).run().button]

    def test_pages_never_load_torch(self) -> None:
        code = "import sys, paragone.arena.ui.main; print('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "False"


class TestPictures:
    def test_small_pictures_grow_by_whole_pixels(self) -> None:
        picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
        (grown,) = pictures.same_box([picture])
        assert grown.shape == (512, 512, 3)
        assert np.array_equal(grown[::64, ::64], picture)
        assert np.array_equal(grown[63::64, 63::64], picture)

    def test_pictures_of_a_size_in_between_are_untouched(self) -> None:
        picture = np.random.default_rng(0).integers(0, 256, (1024, 768, 3), np.uint8)
        for same in pictures.same_box([picture, picture]):
            assert np.array_equal(same, picture)

    def test_huge_pictures_shrink_below_what_streamlit_would_resize(self) -> None:
        (shrunk,) = pictures.same_box([np.zeros((100, 3000, 3), np.uint8)])
        assert shrunk.shape[1] == pictures.LARGE_PX <= 1460

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.integers(1, 700), st.integers(1, 700)), min_size=1, max_size=3))
    def test_always_one_size(self, shapes: list[tuple[int, int]]) -> None:
        same = pictures.same_box([np.zeros((*shape, 3), np.uint8) for shape in shapes])
        assert len({picture.shape for picture in same}) == 1
        assert all(picture.dtype == np.uint8 for picture in same)

    def test_changed_file_is_not_shown(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        save_picture(path, np.zeros((8, 8), np.uint8))
        sample = Sample("s", file_digest(path), "a.png", "p", "m", 0, 8, 8)
        assert pictures.read_sample_picture(tmp_path, sample).shape == (8, 8, 3)
        save_picture(path, np.ones((8, 8), np.uint8))
        with pytest.raises(UnreadableImage, match=r"a\.png: has changed"):
            pictures.read_sample_picture(tmp_path, sample)
        path.unlink()
        with pytest.raises(UnreadableImage, match=r"a\.png: cannot be read"):
            pictures.read_sample_picture(tmp_path, sample)

    def test_contact_sheet_keeps_places(self) -> None:
        one, two = (np.full((8, 8, 3), value, np.uint8) for value in (10, 200))
        sheet = pictures.contact_sheet([one, None, two], columns=2)
        half = sheet.shape[0] // 2
        assert sheet[0, 0, 0] == 10
        assert sheet[0, -1, 0] == pictures.PAPER
        assert sheet[half + 10, 0, 0] == 200
        assert pictures.contact_sheet([None, None], columns=2).shape[2] == 3


def png_chunks(content: bytes) -> set[bytes]:
    """The kinds of chunk in a PNG."""
    kinds, at = set(), 8
    while at < len(content):
        kinds.add(content[at + 4 : at + 8])
        at += 12 + int.from_bytes(content[at : at + 4], "big")
    return kinds
