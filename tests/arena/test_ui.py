"""The pages without a browser: a vote is stored, then revealed; before it, no trace of a model; text stays text."""

from __future__ import annotations

import json
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

from paragone.arena import own_votes
from paragone.arena.store import Store
from paragone.arena.ui import battle, pictures
from paragone.arena.ui import main as ui_main
from paragone.data import (
    GeneratorCard,
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


def widget(app: AppTest) -> object:
    """The battle's component, as it was sent."""
    (found,) = (node.proto for node in walk(app._tree) if getattr(node, "type", "") == "bidi_component")
    return found


def shown(app: AppTest) -> dict[str, object]:
    """What the browser is told of the battle."""
    told: dict[str, object] = json.loads(widget(app).json)
    return told


def press(app: AppTest, act: str, **other: object) -> AppTest:
    """Answer as the browser does; `other` replaces parts of the answer."""
    return send(app, {"battle": shown(app)["battle"], "act": act, "dwell_ms": 5000} | other)


def send(app: AppTest, payload: object) -> AppTest:
    """Send any payload from the battle's component."""
    states = app._tree.get_widget_states()
    trigger = states.widgets.add(id=f"$$STREAMLIT_INTERNAL_KEY_{widget(app).id}__events")
    trigger.json_trigger_value = json.dumps([{"event": "act", "value": payload}])
    return app._run(states)


def human_votes(folder: Path) -> list[str]:
    with Store(folder / "arena.db") as store:
        return list(store.votes(VoterKind.HUMAN)["winner"])


class TestBattle:
    @pytest.mark.parametrize("winner", ["model_a", "model_b", "tie", "both_bad"])
    def test_vote_and_reveal(self, app: AppTest, folder: Path, winner: str) -> None:
        assert not app.exception
        assert shown(app)["reveal"] is None
        press(app, winner)
        assert human_votes(folder) == [winner]
        with Store(folder / "arena.db") as store:
            row = store.votes().iloc[0]
        told = shown(app)["reveal"]
        assert [side["model"] for side in told["sides"]] == [row["model_a"], row["model_b"]]
        change = {"model_a": 2.0, "model_b": -2.0}.get(winner, 0.0)
        assert [side["after"] for side in told["sides"]] == [f"{1000 + change:.1f}", f"{1000 - change:.1f}"]
        assert told["surprise"] == (0.5 if change else 0.0)
        assert [side["won"] for side in told["sides"]] == [winner == "model_a", winner == "model_b"]

    def test_next_battle_is_the_one_that_was_drawn_ahead(self, app: AppTest, folder: Path) -> None:
        first = shown(app)["battle"]
        press(app, "tie")
        ahead = shown(app)["next"]
        assert len(ahead) == 2
        press(app, "next")
        assert shown(app)["battle"] != first
        assert shown(app)["media"] == ahead
        assert shown(app)["reveal"] is None
        press(app, "model_a")
        assert human_votes(folder) == ["tie", "model_a"]

    def test_only_what_is_on_the_page_counts_as_shown(self, app: AppTest, folder: Path) -> None:
        def times() -> list[tuple[str, bool]]:
            with sqlite3.connect(folder / "arena.db") as connection:
                rows = connection.execute("SELECT id, shown_at IS NOT NULL FROM battles ORDER BY issued_at").fetchall()
            connection.close()
            return [(name, bool(was)) for name, was in rows]

        assert [was for _, was in times()] == [True, False]  # this one, and the one drawn ahead
        press(app, "tie")
        assert [was for _, was in times()] == [True, False]
        press(app, "next")
        assert dict(times())[shown(app)["battle"]]
        assert sorted(was for _, was in times()) == [False, True, True]

    def test_elo_follows_all_earlier_votes(self, app: AppTest, folder: Path) -> None:
        from paragone.arena import fit_elo

        for winner in ("model_a", "model_b", "model_a"):
            press(app, winner)
            with Store(folder / "arena.db") as store:
                votes = store.votes(VoterKind.HUMAN)
            ratings = fit_elo(votes)
            elo = dict(zip(ratings.models, ratings.rating, strict=True))
            last = votes.iloc[-1]
            expected = [f"{elo[last[side]]:.1f}" for side in ("model_a", "model_b")]
            assert [side["after"] for side in shown(app)["reveal"]["sides"]] == expected
            press(app, "next")

    def test_rerun_keeps_the_battle(self, app: AppTest, folder: Path) -> None:
        battle_id = shown(app)["battle"]
        app.run()
        assert shown(app)["battle"] == battle_id
        with Store(folder / "arena.db") as store:
            assert store.counts()["battles"] == 2

    def test_second_press_changes_nothing(self, app: AppTest, folder: Path) -> None:
        battle_id = shown(app)["battle"]
        press(app, "model_a")
        press(app, "model_b", battle=battle_id)
        assert human_votes(folder) == ["model_a"]
        assert "voted on before" in shown(app)["notice"]
        assert not app.exception

    def test_answer_faster_than_a_look_is_not_taken(
        self, app: AppTest, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(battle, "FASTEST_MS", 400)
        press(app, "tie", dwell_ms=399)
        assert human_votes(folder) == []
        assert "quicker than a look" in shown(app)["notice"]
        monkeypatch.setattr(battle, "FASTEST_MS", 10**8)
        press(app, "tie", dwell_ms=10**7)  # the browser's word is not enough
        assert human_votes(folder) == []
        monkeypatch.setattr(battle, "FASTEST_MS", 0)
        press(app, "tie")
        assert human_votes(folder) == ["tie"]
        assert shown(app)["notice"] == ""

    def test_times_and_propensity_are_stored(self, app: AppTest, folder: Path) -> None:
        press(app, "tie", dwell_ms=10**7)  # longer than the page has been there
        with sqlite3.connect(folder / "arena.db") as connection:
            row = connection.execute("SELECT shown_at, propensity, policy FROM battles WHERE shown_at > ''").fetchone()
            dwell = connection.execute("SELECT dwell_ms FROM votes").fetchone()[0]
        connection.close()
        assert None not in row
        assert row[1] == 1.0  # the only pair
        assert 0 <= dwell < 10**6

    def test_skipping_is_no_vote(self, app: AppTest, folder: Path) -> None:
        battle_id = shown(app)["battle"]
        press(app, "skip")
        assert shown(app)["battle"] != battle_id
        assert human_votes(folder) == []
        battle_id = shown(app)["battle"]
        press(app, "next")  # is for a revealed battle only
        assert shown(app)["battle"] == battle_id

    @pytest.mark.parametrize(
        "payload",
        [
            None,
            "model_a",
            [],
            {},
            {"act": "model_a", "dwell_ms": 5000},
            {"battle": "0" * 32, "act": "model_a", "dwell_ms": 5000},
            {"battle": None, "act": "drop table", "dwell_ms": 5000},
            {"battle": None, "act": ["model_a"], "dwell_ms": 5000},
            {"battle": None, "act": "model_a", "dwell_ms": -1},
            {"battle": None, "act": "model_a", "dwell_ms": True},
            {"battle": None, "act": "model_a", "dwell_ms": 5000.5},
            {"battle": None, "act": "model_a", "dwell_ms": 10**12},
            {"battle": None, "act": "model_a", "dwell_ms": 5000, "voter": "somebody else"},
        ],
    )
    def test_other_payloads_are_ignored(self, app: AppTest, folder: Path, payload: object) -> None:
        if isinstance(payload, dict) and payload.get("battle", "") is None:
            payload = payload | {"battle": shown(app)["battle"]}
        send(app, payload)
        assert not app.exception
        assert human_votes(folder) == []
        press(app, "tie")
        assert human_votes(folder) == ["tie"]

    def test_limits_are_told(self, app: AppTest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(battle, "refusal", lambda kind: f"Too many {kind}s.")
        press(app, "tie")
        assert human_votes(folder) == []
        assert shown(app)["notice"] == "Too many votes."
        press(app, "skip")
        press(app, "skip")  # the one that was drawn ahead is used up
        assert app.text[0].value == "Too many battles."

    def test_agreement_with_the_crowd_is_told_late(
        self, app: AppTest, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        press(app, "model_a")
        assert shown(app)["reveal"]["yours"] == ""
        record = own_votes.VoterRecord(20, 0, 15, 12)
        monkeypatch.setattr(battle, "voter_record", lambda *_, **__: record)
        app.run()
        assert shown(app)["reveal"]["yours"].endswith("80 % of your votes went with it (12 of 15).")


class TestTakingBack:
    def test_the_vote_stays_in_the_log_and_does_not_count(self, app: AppTest, folder: Path) -> None:
        press(app, "model_a")
        assert 0 < shown(app)["reveal"]["undo_ms"] <= 60_000
        press(app, "undo")
        assert human_votes(folder) == []
        with Store(folder / "arena.db") as store:
            assert store.votes(excluded=True)["given"].tolist() == ["model_a"]
            assert store.events()[["kind", "rule"]].to_numpy().tolist() == [["exclude", own_votes.TAKEN_BACK]]
            assert store.verify() == []
        told = shown(app)["reveal"]
        assert told["undo_ms"] == 0
        assert told["surprise"] is None
        assert "does not count" in shown(app)["notice"]
        press(app, "model_b")  # now that the names are known
        assert human_votes(folder) == []

    def test_is_soon_or_never(self, app: AppTest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        press(app, "model_a")
        monkeypatch.setattr(battle, "UNDO_S", -1.0)
        press(app, "undo")
        assert human_votes(folder) == ["model_a"]
        assert "older" in shown(app)["notice"]

    def test_a_blind_battle_has_nothing_to_take_back(self, app: AppTest, folder: Path) -> None:
        press(app, "undo")
        assert "no vote of yours" in shown(app)["notice"]

    def test_is_seldom(self, app: AppTest, folder: Path) -> None:
        for _ in range(own_votes.FREE):
            press(app, "model_a")
            press(app, "undo")
            press(app, "next")
        press(app, "model_a")
        press(app, "undo")
        assert human_votes(folder) == ["model_a"]
        assert "this one stays" in shown(app)["notice"]


class TestBlindness:
    def secrets(self, folder: Path) -> list[str]:
        with Store(folder / "arena.db") as store:
            samples = store.samples()
        told = {value for s in samples for value in (s.model, s.id, s.sha256, s.path, s.sha256[:16])}
        return [*told, CANARY, "folder-of", "model-anna", "samples/", "arena.db", str(folder)]

    def test_nothing_before_the_vote(self, app: AppTest, folder: Path) -> None:
        text = sent(app)
        assert PROMPT in shown(app)["prompt"]
        for secret in self.secrets(folder):
            assert secret not in text
        press(app, "tie")
        assert "model-anna" in sent(app)
        assert CANARY in sent(app)  # what the original file says comes with the names
        press(app, "next")
        for secret in self.secrets(folder):
            assert secret not in sent(app)

    def test_addresses_are_of_this_battle_alone(self, app: AppTest, folder: Path) -> None:
        seen: set[str] = set()
        for _ in range(3):
            a, b = shown(app)["media"]
            assert a != b
            assert not {a, b} & seen
            seen |= {a, b}
            press(app, "skip")

    def test_hostile_text_is_never_markup(self, app: AppTest) -> None:
        press(app, "tie")
        assert shown(app)["prompt"] == PROMPT
        for kind in (app.markdown, app.caption, app.title, app.info, app.warning, app.error):
            for element in kind:
                assert "evil.example" not in element.value
                assert "<script" not in element.value

    def test_the_widget_sets_text_as_text(self) -> None:
        for path in (Path(MAIN).parent / "widget").iterdir():
            code = path.read_text(encoding="utf-8")
            for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http:", "https:"):
                assert way not in code, path


class TestProjects:
    def test_another_database_in_the_same_place(self, app: AppTest, folder: Path, tmp_path: Path) -> None:
        """A project that was deleted and made anew under a running server."""
        old = shown(app)["battle"]
        for path in folder.glob("arena.db*"):
            path.rename(path.with_name(f"old-{path.name}"))
        source, target = (sqlite3.connect(folder / name) for name in ("old-arena.db", "arena.db"))
        source.backup(target)
        source.close()
        target.close()
        app.run()
        assert shown(app)["battle"] != old
        press(app, "tie")
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
        assert shown(AppTest.from_file(MAIN, default_timeout=PATIENCE).run())["prompt"] == PROMPT

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
