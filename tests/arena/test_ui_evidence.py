"""Gallery, metrics, agreement, audit, admin and method, without a browser."""

from __future__ import annotations

import io
import random
import sqlite3
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from paragone.arena.agreement_tables import confusion, judge_coverage, share_of
from paragone.arena.chain import EventKind
from paragone.arena.elo import fit_elo
from paragone.arena.matchmaking import POLICY
from paragone.arena.store import Store
from paragone.arena.store_audit import (
    VoteFilter,
    chain_summary,
    count_votes,
    daily_votes,
    events_of,
    vote_ids,
    vote_page,
)
from paragone.arena.ui import access, measures, method
from paragone.arena.ui.admin import check_card
from paragone.arena.vote_events import VoteEvent
from paragone.arena.what_if import what_if
from paragone.data import Battle, GeneratorCard, Judgement, MetricResult, Prompt, Sample, Verdict, Winner
from paragone.data.errors import InputError, UsageError
from paragone.data.files import file_digest
from paragone.data.records import Price, PriceUnit, Status, sample_id

HOSTILE = "<img src=x onerror=alert(1)> **b** [l](http://evil.example) \u202egnp\u202c :red[r] " + "long " * 50 + "🎨"
MODELS = ("anna", "bert", "cara", HOSTILE.strip())
PROMPTS = 12
PATIENCE = 60
MARKUP = ("markdown", "caption", "title", "info", "warning", "error", "success", "subheader", "header")


def make_samples(folder: Path, *, seeds: int = 2) -> list[Sample]:
    rng, samples = np.random.default_rng(0), []
    for m, model in enumerate(MODELS):
        for p in range(PROMPTS):
            for seed in range(seeds):
                path = folder / "samples" / str(m) / f"{p}-{seed}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
                digest = file_digest(path)
                place = path.relative_to(folder).as_posix()
                samples.append(
                    Sample(sample_id(model, f"p{p}", seed, digest), digest, place, f"p{p}", model, seed, 8, 8)
                )
    return samples


def people(store: Store, n: int, rng: random.Random, *, voters: int = 6, noise: float = 0.2) -> None:
    """Votes for the model that comes first in `MODELS`, mostly."""
    for number in range(n):
        voter = f"guest-{number % voters}"
        issued = store.issue_battle(voter, rng)
        first = MODELS.index(issued.battle.model_a) < MODELS.index(issued.battle.model_b)
        right = first != (rng.random() < noise)
        winner = Winner.TIE if rng.random() < 0.1 else Winner.MODEL_A if right else Winner.MODEL_B
        store.record_vote(issued.token, winner, voter=voter, dwell_ms=1500)


def judged(samples: list[Sample], rng: random.Random) -> list[Judgement]:
    """A judge who refuses what the last model made, and likes the first side too well."""
    found = []
    by_key = {(s.model, s.prompt_id, s.seed): s for s in samples}
    for p in range(PROMPTS):
        for m, a in enumerate(MODELS):
            for b in MODELS[m + 1 :]:
                one, two = by_key[a, f"p{p}", 0], by_key[b, f"p{p}", 0]
                battle = Battle(f"j{len(found)}", f"p{p}", a, b, one.id, two.id)
                if b == MODELS[-1] and rng.random() < 0.5:
                    no = Verdict(None, Status.REFUSED, "will not look")
                    found.append(Judgement(battle, (no, no), None, None))
                    continue
                biased = rng.random() < 0.3  # the side shown first, whatever it is
                verdicts = (Verdict(Winner.MODEL_A), Verdict(Winner.MODEL_B if biased else Winner.MODEL_A))
                found.append(Judgement(battle, verdicts, Winner.TIE if biased else Winner.MODEL_A, not biased))
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with Store(tmp_path / "arena.db", create=True) as store:
        store.add_generators(GeneratorCard(name) for name in MODELS)
        store.add_prompts(
            Prompt(f"p{n}", f"a prompt {n} {HOSTILE if n == 1 else ''}", tags=("text",) if n % 2 else ("faces", "text"))
            for n in range(PROMPTS)
        )
        store.add_samples(make_samples(tmp_path))
    monkeypatch.setenv("PARAGONE_DIR", str(tmp_path))
    monkeypatch.delenv("PARAGONE_DB", raising=False)
    return tmp_path


@pytest.fixture
def store(folder: Path):  # type: ignore[no-untyped-def]
    with Store(folder / "arena.db") as opened:
        yield opened


def admit(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """As somebody whom access.py lets in."""
    monkeypatch.setattr(f"paragone.arena.ui.{module}.require_admin", lambda: "the auditor")


def page(module: str, **address: str) -> AppTest:
    script = (
        f"from paragone.arena.ui import {module}\n"
        "from paragone.arena.ui.reading import open_project\n"
        f"{module}.show(open_project())\n"
    )
    app = AppTest.from_string(script, default_timeout=PATIENCE)
    for name, value in address.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception
    assert_text_only(app)
    return app


def assert_text_only(app: AppTest) -> None:
    """What came from outside is in no element that reads Markdown or HTML."""
    for kind in MARKUP:
        for element in getattr(app, kind):
            assert "evil.example" not in str(element.value), kind
            assert "onerror" not in str(element.value), kind


def shown(app: AppTest) -> str:
    return "\n".join([t.value for t in app.text] + [c.value for c in app.caption] + [i.value for i in app.info])


class TestGallery:
    def test_the_prompt_is_in_the_address(self, folder: Path) -> None:
        app = page("gallery", prompt="p1")
        assert app.selectbox(key="gallery-prompt").value == "p1"
        assert {text.value for text in app.text} == {*MODELS, f"a prompt 1 {HOSTILE}"}  # a long prompt is shown whole
        app.selectbox(key="gallery-prompt").set_value("p2").run()
        assert app.query_params["prompt"] in ("p2", ["p2"])
        assert page("gallery", prompt="no such").selectbox(key="gallery-prompt").value == "p0"

    def test_tags_narrow_the_prompts(self, folder: Path) -> None:
        app = page("gallery", tag="faces")
        assert len(app.selectbox(key="gallery-prompt").options) == PROMPTS // 2

    def test_many_models_come_in_pages(self, folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("paragone.arena.ui.gallery.IN_VIEW", 2)
        monkeypatch.setattr("paragone.arena.ui.gallery.FEWEST_TILES", 3)
        first = page("gallery")
        second = page("gallery", models="2")
        names = [{t.value for t in app.text} for app in (first, second)]
        assert names[0] | names[1] == set(MODELS)
        assert not names[0] & names[1]
        assert "Page 1 of 2: 4 models" in shown(first)
        next(b for b in first.button if b.label == "Next").click().run()
        assert {t.value for t in first.text} == names[1]
        assert {t.value for t in page("gallery", models="x").text} == names[0]

    def test_the_same_place_is_the_same_seed(self, folder: Path, store: Store) -> None:
        from paragone.arena.ui.gallery import _sheet

        a, b = (s for s in store.samples(model="anna") if s.prompt_id == "p0")
        both, second = (
            np.asarray(Image.open(io.BytesIO(_sheet(str(folder), samples, frozenset()))))
            for samples in ((a, b), (None, b))
        )
        assert both.shape == second.shape
        half = both.shape[1] // 2 + 2
        assert np.array_equal(both[:, half:], second[:, half:])
        assert len(np.unique(second[:, : half - 4])) == 1  # paper

    def test_large_pictures_are_reduced_before_they_are_sent(self, tmp_path: Path) -> None:
        from paragone.arena.ui.gallery import SHEET_PX, _sheet

        path = tmp_path / "large.png"
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (1500, 1000, 3), np.uint8)).save(path)
        sample = Sample("s", file_digest(path), "large.png", "p", "m", 0, 1000, 1500)
        sheet = Image.open(io.BytesIO(_sheet(str(tmp_path), (sample,), frozenset())))
        assert max(sheet.size) == SHEET_PX

    def test_a_missing_picture_is_named(self, folder: Path) -> None:
        for path in (folder / "samples" / "0").glob("*.png"):
            path.unlink()
        assert "cannot be read" in shown(page("gallery"))

    def test_no_prompts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Store(tmp_path / "new" / "arena.db", create=True).close()
        monkeypatch.setenv("PARAGONE_DIR", str(tmp_path / "new"))
        for module, words in (
            ("gallery", "No prompts yet"),
            ("measures", "No metrics"),
            ("agreement", "No votes yet"),
            ("method", "Elo depends on the order"),
        ):
            assert words in shown(page(module))


class TestMetrics:
    def measure(self, store: Store) -> None:
        for n, model in enumerate(MODELS):
            value = 3.0 + n
            good = MetricResult("fd", value, False, 20, ci_low=value - 1, ci_high=value + 1, signature="fd|n:20")
            other = MetricResult("fd", 100.0 - n, False, 50, signature="fd|n:50")
            store.add_metric_results(model, [good, *([other] if n < 2 else [])])

    def test_correlations_and_protocols(self, folder: Path, store: Store) -> None:
        self.measure(store)
        people(store, 60, random.Random(1), noise=0.05)
        app = page("measures")
        table = app.dataframe[0].value
        assert set(table["signature"]) == {"fd|n:20", "fd|n:50"}
        mine = table[table["signature"] == "fd|n:20"]
        assert mine["models"].tolist() == [4, 4]
        assert (mine["Spearman ρ"] > 0).all()  # lower is better, and the sign is turned
        few = table[table["signature"] == "fd|n:50"]
        assert few["Spearman ρ"].isna().all()
        assert all("2 models" in note for note in few["note"])
        assert "4 models with both numbers" in shown(app)
        other = page("measures", protocol="fd|n:50")
        assert "2 models with both numbers" in shown(other)

    def test_without_votes(self, folder: Path, store: Store) -> None:
        self.measure(store)
        assert "No votes yet" in shown(page("measures"))

    def test_points_have_both_numbers_and_both_intervals(self) -> None:
        columns = {"rating": [1100.0, 1000.0, None], "rating_lower": 900.0, "rating_upper": 1200.0}
        board = type("Board", (), {"frame": pd.DataFrame({"model": ["a", "b", "c"], **columns})})()
        rows = pd.DataFrame({"model": ["c", "b", "d"], "value": [1.0, 2.0, 3.0], "ci_low": None, "ci_high": None})
        assert measures.points_of(board, rows)["model"].tolist() == ["b"]

    @pytest.mark.parametrize("n", [1, 2, 5, 20, 40])
    def test_names_never_cover_each_other(self, n: int) -> None:
        rng = np.random.default_rng(n)
        for ratings in (
            np.full(n, 1000.0),
            np.sort(rng.normal(1000, 5, n))[::-1],
            np.sort(rng.normal(1000, 200, n))[::-1],
        ):
            height = max(measures.LEAST_PX, measures.LINE_PX * n + 20)
            low, high = ratings.min() - 100, ratings.max() + 100
            at = measures.name_lines(ratings, low, high, height)
            px = (high - at) / (high - low) * height
            assert (np.diff(px) >= measures.LINE_PX - 1e-6).all()
            assert px.min() >= 0
            assert px.max() <= height
            if n == 1:
                assert at == pytest.approx(ratings)


class TestAgreement:
    def test_only_judges(self, folder: Path, store: Store) -> None:
        store.record_judgements(judged(store.samples(), random.Random(0)), judge="ruler")
        app = page("agreement")
        assert "Only judges have voted" in shown(app)
        assert "'ruler'" in shown(app)  # why nothing can be said
        same, coverage = (frame.value for frame in app.dataframe)
        assert same["judge"].tolist() == ["ruler"]
        assert 60 < same["same answer"].iloc[0] < 90
        assert same["to the first side"].iloc[0] == 100
        worst = coverage.set_index("model")["answered"]
        assert worst.idxmin() == MODELS[-1]
        assert worst.drop(MODELS[-1]).max() < 100  # its battles are other models' too

    def test_people_and_judges(self, folder: Path, store: Store) -> None:
        store.record_judgements(judged(store.samples(), random.Random(0)), judge="ruler")
        people(store, 150, random.Random(3))
        app = page("agreement")
        kinds = app.dataframe[0].value
        assert {("people", "judges"), ("people", "people")} <= set(zip(kinds["one"], kinds["other"], strict=True))
        assert kinds["agree"].str.match(r"[01]\.\d\d  \[").any()
        tags = next(f.value for f in app.dataframe if "tag" in f.value)
        assert set(tags["tag"]) == {"faces", "text"}
        assert "People chose side A in" in shown(app)
        assert "leaving out prompts one at a time" in shown(app)
        dropped = page("agreement", both_bad="drop")
        assert dropped.segmented_control[0].value == "drop"

    def test_confusion_counts_pairs(self) -> None:
        rows = [
            ("x", "y", "model_a", "p1", "human", "1"),
            ("x", "y", "model_a", "p2", "human", "1"),
            ("y", "x", "model_a", "r", "judge", "1"),  # the other side, sides exchanged
            ("x", "y", "tie", "p1", "human", "2"),
            ("x", "y", "both_bad", "r", "judge", "2"),
            ("x", "y", "tie", "p1", "human", "3"),  # no judge
        ]
        votes = pd.DataFrame(rows, columns=["model_a", "model_b", "winner", "voter", "kind", "item"]).assign(prompt="p")
        table = confusion(votes)
        assert table.to_numpy().sum() == 3
        assert table.to_numpy()[[0, 2], [2, 0]].sum() == 2
        assert table.loc["tie", "both bad"] == 1
        assert confusion(votes, both_bad="tie").loc["tie", "tie"] == 1
        assert confusion(votes, both_bad="drop").to_numpy().sum() == 2
        assert confusion(votes.iloc[:0]).to_numpy().sum() == 0

    def test_coverage_counts_the_last_attempt(self) -> None:
        calls = pd.DataFrame(
            [("j", "b1", "x", "y", "error", 1), ("j", "b1", "x", "y", "ok", 2), ("j", "b2", "x", "z", "refused", 1)],
            columns=["judge", "battle", "model_a", "model_b", "status", "attempt"],
        )
        table = judge_coverage(calls).set_index("model")
        assert table.loc["x", ["n_calls", "ok", "refused", "error"]].tolist() == [2, 1, 1, 0]
        assert table.loc["y", "answered"] == 1
        assert judge_coverage(calls.iloc[:0]).empty
        assert share_of(5, 10)[1] == pytest.approx(0.2366, abs=1e-4)


class TestAuditQueries:
    def test_filters(self, folder: Path, store: Store) -> None:
        people(store, 40, random.Random(0))
        votes = store.votes()
        assert count_votes(store, VoteFilter()) == 40
        assert vote_page(store, VoteFilter(), page=0, size=15)["id"].tolist() == list(range(40, 25, -1))
        assert vote_page(store, VoteFilter(), page=2, size=15)["id"].tolist() == list(range(10, 0, -1))
        assert vote_ids(store, VoteFilter(voter="guest-1")) == votes.loc[votes["voter"] == "guest-1", "id"].tolist()
        with_cara = votes[(votes["model_a"] == "cara") | (votes["model_b"] == "cara")]
        assert vote_ids(store, VoteFilter(model="cara")) == with_cara["id"].tolist()
        assert count_votes(store, VoteFilter(kind="judge")) == 0
        assert vote_ids(store, VoteFilter(voter="' OR 1=1 --")) == []
        with pytest.raises(UsageError, match="state="):
            VoteFilter(state="lost")  # type: ignore[arg-type]

    def test_states_follow_events(self, folder: Path, store: Store) -> None:
        people(store, 10, random.Random(0))
        store.add_events(
            [VoteEvent(1, EventKind.FLAG, "fast"), VoteEvent(2, EventKind.EXCLUDE), VoteEvent(3, EventKind.EXCLUDE)]
        )
        store.add_events([VoteEvent(3, EventKind.RESTORE), VoteEvent(4, EventKind.CORRECT, winner=Winner.TIE)])
        expected = {"flagged": [1], "excluded": [2], "corrected": [4], "all": list(range(1, 11))}
        for state, ids in expected.items():
            assert vote_ids(store, VoteFilter(state=state)) == ids  # type: ignore[arg-type]
        assert vote_ids(store, VoteFilter(rule="fast")) == [1]
        assert events_of(store, [3])["kind"].tolist() == ["exclude", "restore"]
        (day,) = daily_votes(store).to_dict("records")
        assert (day["n_votes"], day["n_excluded"], day["n_flagged"]) == (10, 1, 1)
        summary = chain_summary(store)
        assert (summary["last_vote"], summary["last_event"], summary["n_excluded"]) == (10, 5, 1)

    def test_what_if_is_what_comes(self, folder: Path, store: Store) -> None:
        from paragone.arena.leaderboard import store_leaderboard

        people(store, 80, random.Random(0))
        ids = vote_ids(store, VoteFilter(voter="guest-1"))
        table = what_if(store.votes(excluded=True), leave_out=ids).set_index("model")
        before = store_leaderboard(store, voters="human").frame.set_index("model")
        assert table["rating"].to_dict() == pytest.approx(before["rating"].to_dict())
        store.add_events([VoteEvent(number, EventKind.EXCLUDE, reason="test") for number in ids])
        after = store_leaderboard(store, voters="human").frame.set_index("model")
        assert table["rating_then"].to_dict() == pytest.approx(after["rating"].to_dict())
        assert (table["n_votes_then"] == after["n_votes"][table.index]).all()
        back = what_if(store.votes(excluded=True), take_in=ids).set_index("model")
        assert back["rating_then"].to_dict() == pytest.approx(before["rating"].to_dict())
        with pytest.raises(InputError, match="vote 999"):
            what_if(store.votes(excluded=True), leave_out=[999])
        with pytest.raises(InputError, match="no vote would be left"):
            what_if(store.votes(excluded=True), leave_out=store.votes()["id"].tolist())


def test_both_databases_answer_alike(tmp_path: Path, database_url: str) -> None:
    with Store(database_url, create=True) as store:
        store.add_generators(GeneratorCard(name) for name in MODELS)
        store.add_prompts(Prompt(f"p{n}", "a prompt") for n in range(PROMPTS))
        store.add_samples(make_samples(tmp_path, seeds=1))
        people(store, 12, random.Random(0))
        store.add_events([VoteEvent(2, EventKind.EXCLUDE, "burst"), VoteEvent(3, EventKind.FLAG, "fast")])
        wanted = VoteFilter(voter="guest-1", model=store.votes(excluded=True)["model_a"].iloc[1], kind="human")
        assert vote_ids(store, wanted)[0] == 2
        assert [count_votes(store, VoteFilter(state=s)) for s in ("all", "counted", "excluded", "flagged")] == [
            12,
            11,
            1,
            1,
        ]
        assert vote_page(store, VoteFilter(rule="burst"), page=0, size=5)["id"].tolist() == [2]
        (day,) = daily_votes(store).to_dict("records")
        assert (day["n_votes"], day["n_excluded"], day["n_flagged"]) == (12, 1, 1)
        assert chain_summary(store)["n_excluded"] == 1
        assert events_of(store, [2])["rule"].tolist() == ["burst"]


class TestAuditPage:
    def test_strangers_see_nothing(self, folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        people(store, 5, random.Random(0))
        monkeypatch.setenv("PARAGONE_ADMIN_PASSWORD", "a password that is long enough")
        for module in ("audit", "admin"):
            app = page(module)
            assert not app.dataframe
            assert not app.segmented_control
            assert "guest-" not in shown(app)

    def test_exclude_and_restore(self, folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        admit(monkeypatch, "audit")
        people(store, 60, random.Random(0))
        before = store.pair_counts().to_dict("records")
        app = page("audit", voter="guest-2")
        assert set(app.dataframe[0].value["voter"]) == {"guest-2"}
        write = next(b for b in app.button if b.label == "Exclude 10 votes")
        assert write.disabled  # without a reason
        app.text_input(key=next(t.key for t in app.text_input if "Reason" in t.label)).set_value(
            "votes like a coin"
        ).run()
        app.toggle[0].set_value(True).run()
        assert not app.exception
        assert {"rating", "rating_then", "change"} <= set(app.dataframe[1].value.columns)
        assert store.events().empty  # so far it was only asked
        next(b for b in app.button if b.label == "Exclude 10 votes").click().run()
        assert not app.exception
        events = store.events()
        assert set(events["actor"]) == {"the auditor"}
        assert set(events["reason"]) == {"votes like a coin"}
        assert len(store.votes()) == 50
        assert app.success[0].value.startswith("Exclude: 10 votes")
        again = page("audit", state="excluded")
        next(c for c in again.segmented_control if c.label == "What to do").set_value(EventKind.RESTORE).run()
        next(t for t in again.text_input if "Reason" in t.label).set_value("it was a person").run()
        next(b for b in again.button if b.label == "Restore 10 votes").click().run()
        assert store.pair_counts().to_dict("records") == before
        assert len(store.votes(excluded=True)) == 60
        assert store.verify() == []

    def test_checks_show_their_evidence(self, folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        admit(monkeypatch, "audit")
        people(store, 30, random.Random(0))
        issued = store.issue_battle("robot", random.Random(1))
        store.record_vote(issued.token, Winner.MODEL_A, voter="robot", dwell_ms=3)
        app = page("audit", show="Checks")
        next(b for b in app.button if b.label == "Run the checks").click().run()
        assert not app.exception
        flags = app.dataframe[0].value
        fast = flags[flags["flag"] == "fast"]
        assert fast["vote"].tolist() == [31]
        assert "0.003 s" in fast["evidence"].iloc[0]
        assert store.events().empty

    def test_exclusions_are_seen_over_time(self, folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        admit(monkeypatch, "audit")
        assert "No votes of people" in shown(page("audit", show="Exclusions"))
        people(store, 10, random.Random(0))
        store.add_events([VoteEvent(n, EventKind.EXCLUDE, "burst", HOSTILE, "x") for n in (1, 2)])
        app = page("audit", show="Exclusions")
        assert "2 of 10 votes of people are excluded (20.0%)" in shown(app)
        assert "more than 5% of the votes" in app.warning[0].value
        assert app.dataframe[0].value["vote_id"].tolist() == [2, 1]

    def test_influence(self, folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        admit(monkeypatch, "audit")
        people(store, 80, random.Random(0))
        app = page("audit", show="Influence")
        app.button[0].click().run()
        assert not app.exception
        assert "of 80 votes" in shown(app)

    def test_record(self, folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        admit(monkeypatch, "audit")
        people(store, 20, random.Random(0))
        app = page("audit", show="Record")
        assert chain_summary(store)["head"] in app.code[0].value
        next(b for b in app.button if b.label == "Keep the human board").click().run()
        assert not app.exception
        assert len(store.snapshots()) == 1
        next(b for b in app.button if b.label == "Make them again and compare").click().run()
        assert "Every kept board" in app.success[-1].value
        next(b for b in app.button if b.label == "Check the whole store").click().run()
        assert "All sound" in app.success[-1].value
        with sqlite3.connect(folder / "arena.db") as connection:
            connection.execute("DROP TRIGGER votes_no_update")
            connection.execute("UPDATE votes SET winner = 'tie' WHERE id = 7")
        connection.close()
        next(b for b in app.button if b.label == "Check the whole store").click().run()
        assert "vote 7 does not follow" in shown(app)


class TestAdminPage:
    @pytest.fixture(autouse=True)
    def admitted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        admit(monkeypatch, "admin")

    def field(self, app: AppTest, label: str):  # type: ignore[no-untyped-def]
        return next(f for f in (*app.text_input, *app.text_area, *app.selectbox) if f.label == label)

    def press(self, app: AppTest, label: str) -> None:
        next(b for b in app.button if b.label == label).click().run()
        assert not app.exception
        assert_text_only(app)

    def test_add_and_change_a_model(self, folder: Path, store: Store) -> None:
        app = page("admin")
        self.field(app, "Name").set_value("  dora  ")
        self.field(app, "Report").set_value("javascript:alert(1)")
        self.press(app, "Add")
        assert "is not an address" in shown(app)
        assert "dora" not in {card.name for card in store.generators()}
        self.field(app, "Report").set_value("https://example.org/paper")
        self.field(app, "Open weights").set_value(True)
        self.press(app, "Add")
        assert app.success[0].value == "Stored."
        card = next(card for card in store.generators() if card.name == "dora")
        assert (card.report_url, card.open_weights) == ("https://example.org/paper", True)
        again = page("admin", model="dora")
        assert self.field(again, "Name").disabled
        self.field(again, "Licence").set_value("MIT")
        self.press(again, "Save")
        card = next(card for card in store.generators() if card.name == "dora")
        assert (card.licence, card.report_url) == ("MIT", "https://example.org/paper")

    def test_a_new_model_does_not_overwrite_another(self, folder: Path, store: Store) -> None:
        store.add_generators([GeneratorCard("anna", licence="MIT")])
        app = page("admin")
        self.field(app, "Name").set_value("anna")
        self.press(app, "Add")
        assert "already" in shown(app)
        assert next(card for card in store.generators() if card.name == "anna").licence == "MIT"

    def test_cards_are_checked(self) -> None:
        for card, match in (
            (GeneratorCard(""), "needs a name"),
            (GeneratorCard("a", released="soon"), "not a day"),
            (GeneratorCard("a", report_url="http://x y"), "not an address"),
            (GeneratorCard("a", report_url='https://x"onclick='), "not an address"),
        ):
            with pytest.raises(InputError, match=match):
                check_card(card)

    def test_prices(self, folder: Path, store: Store) -> None:
        app = page("admin", manage="Prices")
        self.field(app, "USD").set_value("4 cents")
        self.press(app, "Save")
        assert "not an amount" in shown(app)
        self.field(app, "USD").set_value("0.04")
        self.field(app, "For one").set_value(PriceUnit.MEGAPIXEL)
        app.date_input[0].set_value(pd.Timestamp("2026-03-01").date())
        self.press(app, "Save")
        assert store.prices() == [Price("anna", PriceUnit.MEGAPIXEL, Decimal("0.04"), "2026-03-01")] or (
            [(p.unit, p.usd, p.valid_from) for p in store.prices()]
            == [(PriceUnit.MEGAPIXEL, Decimal("0.04"), "2026-03-01")]
        )

    def test_prompts(self, folder: Path, store: Store) -> None:
        app = page("admin", manage="Prompts")
        self.field(app, "Id").set_value("new")
        self.press(app, "Save")
        assert "an id and a text are needed" in shown(app)
        self.field(app, "Prompt").set_value(HOSTILE)
        self.field(app, "Tags").set_value("a; b")
        self.press(app, "Save")
        assert next(p for p in store.prompts() if p.id == "new").tags == ("a", "b")
        self.field(app, "Id").set_value("p0")
        self.field(app, "Prompt").set_value("another text")
        self.press(app, "Save")
        assert "is stored with another text" in shown(app)

    def test_samples(self, folder: Path, store: Store) -> None:
        buffer = io.BytesIO()
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(buffer, format="PNG")
        app = page("admin", manage="Samples")
        app.file_uploader[0].set_value([("b.png", buffer.getvalue(), "image/png")]).run()
        assert not app.exception
        app.selectbox(key="rows-model").set_value("anna")
        app.number_input[0].set_value(7).run()
        self.press(app, "Check and store")
        assert app.success[0].value == "Stored."
        assert [s.seed for s in store.samples(model="anna") if s.prompt_id == "p0"] == [0, 1, 7]
        bad = page("admin", manage="Samples")
        bad.file_uploader[0].set_value([("b.svg.png", b"<svg onload='alert(1)'/>", "image/png")]).run()
        self.press(bad, "Check and store")
        assert "SVG, HTML or XML" in shown(bad)
        assert len(store.samples()) == len(MODELS) * PROMPTS * 2 + 1

    def test_database(self, folder: Path, store: Store) -> None:
        app = page("admin", manage="Database")
        self.press(app, "Check database and files")
        assert [s.value for s in app.success] == ["Database", "Kept ratings", "Samples", "Media"]
        (folder / "samples" / "0" / "0-0.png").write_bytes(b"changed")
        self.press(app, "Check database and files")
        assert app.error[0].value == "Samples"

    def test_the_copy_is_whole(self, folder: Path, store: Store) -> None:
        from paragone.arena.ui.admin import _copy
        from paragone.arena.ui.reading import OpenProject

        people(store, 10, random.Random(0))
        content = _copy(OpenProject(folder, store, "x"))
        (folder / "copy.db").write_bytes(content)
        with Store(folder / "copy.db") as copy:
            assert copy.verify() == []
            assert copy.votes().equals(store.votes())


class TestMethod:
    def test_numbers_are_the_codes(self, folder: Path) -> None:
        app = page("method")
        formulas = " ".join(latex.value for latex in app.latex)
        assert f"{method.default(fit_elo, 'k'):g}\\,(S_A - E_A)" in formulas
        assert POLICY in [code.value for code in app.code]
        table = app.dataframe[0].value
        assert table["expected score"].tolist()[0] == "50%"

    def test_the_chapters_exist(self) -> None:
        root = Path(__file__).parents[2]
        for chapter in method.PAGES.values():
            assert (root / chapter).is_file(), chapter

    def test_the_data_licence(self, folder: Path) -> None:
        assert "has not said" in shown(page("method"))
        (folder / "paragone.toml").write_text('[arena]\ndata_licence = "CC-BY-4.0"\n')
        assert "CC-BY-4.0" in shown(page("method"))
        (folder / "paragone.toml").write_text("[arena]\ndata_licence = 4\n")
        assert "is not a text" in shown(page("method"))
        (folder / "paragone.toml").write_text("[arena\n")
        assert "cannot be read" in shown(page("method"))


def test_these_pages_ask_who_it_is() -> None:
    for module in ("audit", "admin"):
        source = Path(access.__file__).with_name(f"{module}.py").read_text()
        body = source.split("def show(project: OpenProject) -> None:")[1]
        assert body.split('"""')[2].strip().startswith(("require_admin()", "actor = require_admin()"))
