"""The pages of results without a browser: filters and their address, tied groups, pairs, cycles, prices, histories."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as hs
from PIL import Image
from streamlit.testing.v1 import AppTest

from paragone.__main__ import cli
from paragone.arena import fit_bradley_terry
from paragone.arena.chain import EventKind
from paragone.arena.cycles import three_cycles
from paragone.arena.elo import elo_history
from paragone.arena.pairs import win_matrix
from paragone.arena.plots_pareto import HEIGHT, frontier, pareto_plot, place_labels
from paragone.arena.snapshots import take_snapshot
from paragone.arena.store import Store, VoteEvent
from paragone.arena.store_pairs import pair_votes
from paragone.arena.ui import board, compare_models, filters, history, matrix
from paragone.arena.ui.filters import Choices, Filters, read_filters, write_filters
from paragone.arena.votes import code_votes
from paragone.data import (
    GeneratorCard,
    Judgement,
    Price,
    PriceUnit,
    Prompt,
    Sample,
    Verdict,
    VoterKind,
    Winner,
    sample_id,
)
from paragone.data.battles import round_robin
from paragone.data.files import file_digest

PATIENCE = 60
LONG = "a very long name " * 18  # 306 characters
NAMES = ("best", "<b>second</b> **x** [y](http://evil.example)", "נמוך \u202egnp.exe", "🙂 worst", LONG.strip())
PAGES = ("board", "compare_models", "matrix", "pareto", "history")
CHOICES = Choices(("judge", "human", "joint", "all"), ("tag:text", "task:video"), ("MIT", "Apache-2.0"))


def make_samples(folder: Path, models: tuple[str, ...]) -> list[Sample]:
    rng, samples = np.random.default_rng(0), []
    for number, model in enumerate(models):
        for prompt in ("p0", "p1"):
            for seed in range(5):
                path = folder / f"{number}-{prompt}-{seed}.png"
                Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(path)
                digest = file_digest(path)
                name = sample_id(model, prompt, seed, digest)
                samples.append(Sample(name, digest, path.name, prompt, model, seed, 8, 8, 0.5 + number))
    return samples


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Store]]:
    """Makes the project that the pages show."""
    opened: list[Store] = []

    def project(models: tuple[str, ...] = NAMES, *, judged: int = 0, voted: int = 0) -> Store:
        store = Store(tmp_path / "arena.db", create=True)
        opened.append(store)
        cards = [
            GeneratorCard(name, licence="MIT" if n else None, open_weights=n != 1, provider="somebody" if n else None)
            for n, name in enumerate(models)
        ]
        store.add_generators(cards)
        store.add_prompts([Prompt("p0", "one :red[prompt]", tags=("text",)), Prompt("p1", "another", tags=())])
        samples = make_samples(tmp_path, models)
        store.add_samples(samples)
        store.add_prices(
            [
                Price(name, PriceUnit.IMAGE, Decimal("0.01") * (n + 1), "2026-01-01")
                for n, name in enumerate(models[:-1])
            ]
        )
        if judged:
            store.record_judgements(judgements(samples, models, judged), judge="ruler")
        rng = random.Random(1)
        for k in range(voted):
            issued = store.issue_battle(f"v{k % 4}", rng)
            first = models.index(issued.battle.model_a) < models.index(issued.battle.model_b)
            right = first == (rng.random() < 0.8)
            store.mark_shown(issued.token)
            store.record_vote(
                issued.token, Winner.MODEL_A if right else Winner.MODEL_B, voter=f"v{k % 4}", dwell_ms=900
            )
        return store

    monkeypatch.setenv("PARAGONE_DIR", str(tmp_path))
    monkeypatch.delenv("PARAGONE_DB", raising=False)
    yield project
    for store in opened:
        store.close()


def judgements(samples: list[Sample], models: tuple[str, ...], n: int) -> Iterator[Judgement]:
    rng = np.random.default_rng(3)
    for battle in round_robin(samples, n_battles=n):
        first = models.index(battle.model_a) < models.index(battle.model_b)
        winner = Winner.MODEL_A if first == (rng.random() < 0.75) else Winner.MODEL_B
        yield Judgement(battle, (Verdict(winner, judge="ruler"),) * 2, winner, consistent=True)


def page(module: str, **query: str) -> AppTest:
    script = (
        f"from paragone.arena.ui import {module}\n"
        "from paragone.arena.ui.reading import open_project\n"
        f"{module}.show(open_project())\n"
    )
    app = AppTest.from_string(script, default_timeout=PATIENCE)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception
    return app


def texts(app: AppTest) -> str:
    return "\n".join(element.value for kind in (app.text, app.caption, app.info) for element in kind)


class TestAddress:
    words = hs.text(max_size=80)
    valid = hs.builds(
        Filters,
        voters=hs.sampled_from(CHOICES.voters),
        method=hs.just("bradley-terry"),
        category=hs.sampled_from(("", *CHOICES.categories)),
        open=hs.booleans(),
        licence=hs.sampled_from(("", *CHOICES.licences)),
        votes=hs.integers(0, 10**8),
        q=words,
    )

    @given(valid)
    def test_an_address_brings_back_what_it_was_made_of(self, chosen: Filters) -> None:
        assert read_filters(write_filters(chosen, CHOICES), CHOICES) == (chosen, [])

    @settings(max_examples=200)
    @given(
        hs.dictionaries(hs.sampled_from(["voters", "method", "category", "open", "licence", "votes", "q", "x"]), words)
    )
    def test_no_address_is_an_error(self, query: dict[str, str]) -> None:
        found, notes = read_filters(query, CHOICES)
        again, silent = read_filters(write_filters(found, CHOICES), CHOICES)
        assert (again, silent) == (found, [])
        named = {
            name: query[name] for name in ("voters", "method", "category", "open", "licence", "votes") if name in query
        }
        kept = {name for name, value in named.items() if write_filters(found, CHOICES).get(name) == value}
        defaults = {
            name for name, value in named.items() if (name, value) in {("voters", "judge"), ("method", "bradley-terry")}
        }
        zero = {
            name
            for name, value in named.items()
            if name == "votes" and value.isascii() and value.isdigit() and len(value) < 10
        }
        assert len(notes) == len(set(named) - kept - defaults - zero)

    def test_what_is_usual_is_not_in_the_address(self) -> None:
        assert write_filters(Filters(voters="judge"), CHOICES) == {}

    def test_a_joint_board_is_bradley_terrys(self) -> None:
        found, notes = read_filters({"voters": "joint", "method": "elo"}, CHOICES)
        assert found.method == "bradley-terry"
        assert len(notes) == 1


class TestLeaderboard:
    def test_filters_come_from_the_address_and_go_there(self, make: Callable[..., Store]) -> None:
        make(judged=80, voted=40)
        app = page("board", voters="human", method="davidson", category="tag:text")
        assert "votes of people, on prompts of the tag 'text'. Davidson ratings" in texts(app)
        everything = page("board", voters="all")
        assert "120 votes of people and judges together" in texts(everything)
        app.segmented_control[0].set_value("judge").run()
        app.selectbox(key="board-category").set_value(filters.EVERYTHING).run()
        app.selectbox(key="board-method").set_value("elo").run()
        assert not app.exception
        assert dict(app.query_params) == {"method": "elo"}
        assert "80 votes of judges. Elo ratings" in texts(app)

    def test_a_joint_board_or_why_there_is_none(self, make: Callable[..., Store]) -> None:
        store = make(judged=100, voted=20)
        assert "These votes give no ratings." in page("board", voters="joint").warning[0].value
        votes = store.votes(VoterKind.HUMAN)
        assert filters.voters_of(Filters(voters="joint")) == "human"
        assert len(votes) == 20

    def test_bad_values_are_left_out_with_a_note(self, make: Callable[..., Store]) -> None:
        make(judged=40)
        app = page(
            "board",
            voters="martians",
            method="<script>",
            category="tag:none",
            votes="-1",
            licence="x" * 900,
            open="yes",
        )
        assert texts(app).count("The address asks for") == 6
        assert "<script>" in texts(app)
        assert len(app.dataframe[0].value) == len(NAMES)

    def test_row_filters_keep_ranks(self, make: Callable[..., Store]) -> None:
        make(judged=80)
        whole = page("board").dataframe[0].value.set_index("model")
        some = page("board", open="1", licence="MIT", q="WORST").dataframe[0].value
        assert some["model"].tolist() == [NAMES[3]]
        assert some["rank"].tolist() == [whole.loc[NAMES[3], "rank"]]
        none = page("board", votes="5000")
        assert "None of the 5 models is left" in texts(none)
        assert not none.dataframe
        assert "ranks are those among all" in texts(page("board", open="1"))

    def test_tied_groups_and_preliminary_marks(self, make: Callable[..., Store]) -> None:
        make(judged=60)
        table = page("board").dataframe[0].value
        assert table["tied"].tolist()[0] == "A"
        assert sorted(table["tied"]) == table["tied"].tolist()
        assert set(table["standing"]) == {"preliminary"}

    def test_groups_are_told_apart_from_the_best_of_them(self) -> None:
        frame = pd.DataFrame({"rating_lower": [90.0, 80, 60, 40, np.nan], "rating_upper": [110.0, 100, 89, 61, np.nan]})
        assert board.tied_groups(frame) == ["A", "A", "B", "B", ""]
        assert [board._letter(n) for n in (1, 26, 27, 52, 703)] == ["A", "Z", "AA", "AZ", "AAA"]

    def test_downloads_are_the_command_lines(self, make: Callable[..., Store], tmp_path: Path) -> None:
        make(judged=60)
        asked: dict[str, Callable[[], str]] = {}

        def button(name: str, make_data: Callable[[], str], *rest: object, **options: object) -> None:
            asked[name] = make_data

        from paragone.arena.ui.reading import open_project

        project = open_project()
        assert project is not None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(board.st, "download_button", button)
            board._draw_downloads(project, Filters(voters="judge", method="davidson", open=True))
        said = ["leaderboard", "--dir", str(tmp_path), "--voters", "judge", "--method", "davidson"]
        done = CliRunner().invoke(cli, [*said, "--csv", str(tmp_path / "b.csv"), "--json", str(tmp_path / "b.json")])
        assert done.exit_code == 0, done.output
        assert asked["CSV"]() == (tmp_path / "b.csv").read_text()
        assert asked["JSON"]() == (tmp_path / "b.json").read_text()
        assert json.loads(asked["JSON"]())["n_votes"] == 60


class TestEmptyStates:
    @pytest.mark.parametrize("models", [("alone",), NAMES[:2]])
    def test_without_votes_and_with_one(self, make: Callable[..., Store], models: tuple[str, ...]) -> None:
        store = make(models)
        for module in PAGES:
            assert texts(page(module))
        if len(models) > 1:
            issued = store.issue_battle("v", random.Random(1))
            store.record_vote(issued.token, Winner.TIE, voter="v")
            for module in PAGES:
                page(module)

    def test_without_anything(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Store(tmp_path / "arena.db", create=True).close()
        monkeypatch.setenv("PARAGONE_DIR", str(tmp_path))
        for module in PAGES:
            page(module)

    def test_hostile_names_are_text(self, make: Callable[..., Store]) -> None:
        make(judged=60)
        for module in PAGES:
            app = page(module)
            for kind in (app.markdown, app.caption, app.title, app.info, app.warning, app.error):
                for element in kind:
                    assert "evil.example" not in element.value


class TestCompare:
    def test_two_models_of_the_address(self, make: Callable[..., Store]) -> None:
        store = make(judged=100)
        app = page("compare_models", a=NAMES[3], b=NAMES[0])
        figures = {metric.label: metric.value for metric in app.metric}
        ratings = fit_bradley_terry(store.votes(VoterKind.JUDGE))
        difference, _ = ratings.difference(NAMES[3], NAMES[0])
        assert figures["Rating difference"] == f"{difference:+.0f}".replace("-", "−")
        assert float(figures["P(first is better)"].strip("<> %")) < 5
        pair = pair_votes(store, NAMES[3], NAMES[0], VoterKind.JUDGE)
        assert f"{len(pair)} votes" in texts(app)
        tags, prompts, cards = (frame.value for frame in app.dataframe)
        assert cards.set_index("").loc["USD per image"].tolist() == ["0.04", "0.01"]
        assert tags["tag"].tolist() == ["text"]
        assert prompts["votes"].sum() == len(pair)
        app.selectbox(key="compare-a").set_value(NAMES[1]).run()
        assert not app.exception
        assert app.query_params["a"] == NAMES[1]

    def test_models_that_are_not_here(self, make: Callable[..., Store]) -> None:
        make(judged=40)
        app = page("compare_models", a="nobody", b=NAMES[1])
        assert "asks for a='nobody'" in texts(app)
        assert "These are one model" in texts(page("compare_models", a=NAMES[0], b=NAMES[0]))

    def test_a_pairs_votes_are_those_that_count(self, make: Callable[..., Store]) -> None:
        store = make(voted=60)
        votes = store.votes()
        met = votes[votes["model_a"].isin(NAMES[:2]) & votes["model_b"].isin(NAMES[:2])]
        store.add_events([VoteEvent(int(met["id"].iloc[0]), EventKind.EXCLUDE, "by hand", "test", "tester")])
        pair = pair_votes(store, NAMES[1], NAMES[0])
        assert pair.to_dict("list") == met.iloc[1:][["model_a", "model_b", "winner", "prompt"]].to_dict("list")
        assert pair_votes(store, NAMES[1], NAMES[0], VoterKind.JUDGE).empty

    def test_scores_of_groups(self) -> None:
        record = compare_models.Record(pd.DataFrame({"prompt": ["x", "x", "x", "y"], "score": [1.0, 0.5, 0.0, 1.0]}))
        table = record.by(record.votes["prompt"], name="prompt").set_index("prompt")
        assert table.loc["x", ["wins", "ties", "losses", "votes", "score"]].tolist() == [1, 1, 1, 3, 0.5]
        assert table.loc["y", "score_upper"] == 1
        assert record.tie_share == 0.25

    def test_evidence_says_who_and_when(self) -> None:
        from paragone.arena.stopping import e_process

        tests = {"first": e_process(np.ones(30), alpha=0.025), "second": e_process(np.zeros(30), alpha=0.025)}
        said = compare_models.verdict(tests, {"first": "x", "second": "y"})
        assert said.startswith(f"x is the better one: shown after {tests['first'].decided_at} of 30")
        rows = compare_models.evidence_chart(tests).to_dict()["datasets"]
        assert max(len(table) for table in rows.values()) == 60


class TestMatrix:
    def test_a_ring_is_named(self) -> None:
        votes = pd.DataFrame(
            [(a, b, "model_a") for a, b in (("a", "b"), ("b", "c"), ("c", "a"), ("a", "d"), ("b", "d"), ("c", "d"))]
            * 12,
            columns=["model_a", "model_b", "winner"],
        )
        assert three_cycles(win_matrix(votes)) == [("a", "b", "c")]

    def test_rings_of_the_other_direction_and_none(self) -> None:
        ring = pd.DataFrame(
            [("b", "a", "model_a"), ("c", "b", "model_a"), ("a", "c", "model_a")] * 12,
            columns=["model_a", "model_b", "winner"],
        )
        assert three_cycles(win_matrix(ring)) == [("a", "c", "b")]
        assert three_cycles(win_matrix(ring.iloc[:3])) == []  # three votes show nothing

    @settings(max_examples=30, deadline=None)
    @given(hs.integers(0, 10**6))
    def test_rings_against_all_triples(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        names = [f"m{k}" for k in range(6)]
        rows = [
            (names[i], names[j], "model_a" if rng.random() < 0.5 else "model_b") for i in range(6) for j in range(i)
        ]
        table = win_matrix(
            pd.DataFrame([row for row in rows for _ in range(20)], columns=["model_a", "model_b", "winner"])
        )
        won = set(
            zip(table["model_a"][table["win_rate"] > 0.5], table["model_b"][table["win_rate"] > 0.5], strict=True)
        )
        expected = {
            (a, b, c) for a in names for b in names for c in names if a < min(b, c) and {(a, b), (b, c), (c, a)} <= won
        }
        assert set(three_cycles(table, most=1000)) == expected

    def test_a_surprise_is_beyond_what_chance_gives_all_pairs(self) -> None:
        pairs = pd.DataFrame({"model_a": list("abcd"), "model_b": list("badc"), "residual": [2.2, -2.2, 3.0, -3.0]})
        far, limit = matrix.surprises(pairs)
        assert limit == pytest.approx(2.2414, abs=1e-4)  # normal quantile of 1 − 0.05/4
        assert far["model_a"].tolist() == ["c"]

    @pytest.mark.parametrize("value", list(matrix.VALUES))
    def test_every_value_is_drawn(self, make: Callable[..., Store], value: str) -> None:
        make(judged=100)
        app = page("matrix")
        app.segmented_control(key="matrix-value").set_value(value).run()
        assert not app.exception
        assert len(app.get("arrow_vega_lite_chart") or app.get("vega_lite_chart")) == 1


class TestPareto:
    @given(hs.lists(hs.tuples(hs.integers(1, 6), hs.integers(1, 6)), min_size=1, max_size=12))
    def test_frontier_against_its_definition(self, points: list[tuple[int, int]]) -> None:
        cost, rating = (np.array(column, float) for column in zip(*points, strict=True))
        better = (
            (cost[:, None] <= cost)
            & (rating[:, None] >= rating)
            & ((cost[:, None] < cost) | (rating[:, None] > rating))
        )
        assert frontier(cost, rating).tolist() == (~better.any(axis=0)).tolist()

    @settings(max_examples=30, deadline=None)
    @given(hs.integers(0, 10**6), hs.integers(1, 60))
    def test_labels_never_overlap(self, seed: int, n: int) -> None:
        rng = np.random.default_rng(seed)
        rating = rng.uniform(800, 1200, n)
        points = pd.DataFrame(
            {
                "model": [f"model number {k}" for k in range(n)],
                "rating": rating,
                "cost": 10 ** rng.uniform(-4, 0, n),
                "rating_lower": rating - 20,
                "rating_upper": rating + 20,
            }
        )
        points["on_frontier"] = frontier(points["cost"].to_numpy(), rating)
        domain_x, domain_y = [5e-5, 2.0], [750.0, 1250.0]
        placed = place_labels(points, domain_x, domain_y, widths=(620, 1240), longest=30)
        for width in (620, 900, 1240):
            boxes = []
            for row in placed.itertuples():
                x = width * np.log(row.cost / domain_x[0]) / np.log(domain_x[1] / domain_x[0])
                y = HEIGHT * (domain_y[1] - row.rating) / 500
                right = row.side in (0, 2)
                x0 = x + 8 if right else x - 8 - 6.0 * len(row.label)
                y0 = y + (-9 if row.side < 2 else 10)
                boxes.append((x0, x0 + 6.0 * len(row.label), y0 - 6, y0 + 6))
            for i, one in enumerate(boxes):
                for two in boxes[:i]:
                    assert one[1] <= two[0] or two[1] <= one[0] or one[3] <= two[2] or two[3] <= one[2]

    def test_missing_prices_are_listed(self, make: Callable[..., Store]) -> None:
        make(judged=80)
        app = page("pareto")
        assert NAMES[-1] in [text.value for text in app.text]
        table = app.dataframe[0].value
        assert set(table["model"]) == set(NAMES[:-1])
        assert table["on_the_line"].iloc[0]
        app.segmented_control(key="pareto-cost").set_value("latency_s").run()
        assert not app.exception
        assert set(app.dataframe[0].value["model"]) == set(NAMES)

    def test_one_point(self) -> None:
        point = pd.DataFrame(
            {"model": ["m"], "rating": [1000.0], "rating_lower": [np.nan], "rating_upper": [np.nan], "cost": [0.1]}
        )
        domain = pareto_plot(point, x_title="x").to_dict()["layer"][0]["encoding"]["x"]["scale"]["domain"]
        assert domain[0] < 0.1 < domain[1]


class TestHistory:
    def test_every_view(self, make: Callable[..., Store]) -> None:
        store = make(judged=100, voted=30)
        votes = store.votes(VoterKind.JUDGE)
        store.add_events([VoteEvent(int(k), EventKind.EXCLUDE, "by hand", "test", "tester") for k in votes["id"][:3]])
        app = page("history")
        assert "3 votes taken out" in texts(app)
        for view in ("bradley-terry", "kept"):
            app.segmented_control(key="history-view").set_value(view).run()
            assert not app.exception
        assert "No boards of these votes have been kept" in texts(app)
        take_snapshot(store, voters="judge")
        app.run()
        assert "No boards" not in texts(app)
        app.toggle(key="history-time").set_value(True).run()
        assert not app.exception
        assert "go back" not in texts(app)

    def test_lines_are_elo_and_bradley_terry(self, make: Callable[..., Store]) -> None:
        store = make(judged=100)
        votes = store.votes()
        lines, _ = history._history.__wrapped__(store, "k", 1, "judge", "elo", False)
        assert lines.to_dict("list") == elo_history(votes).to_dict("list")
        refitted = history.refit(code_votes(votes), steps=4)
        assert refitted["vote"].unique().tolist() == [25, 50, 75, 100]
        last = refitted[refitted["vote"] == 100].set_index("model")["rating"]
        ratings = fit_bradley_terry(votes)
        assert last.to_dict() == pytest.approx(dict(zip(ratings.models, ratings.rating, strict=True)))
        first = refitted[refitted["vote"] == 50]
        early = fit_bradley_terry(votes.iloc[:50])
        assert first.set_index("model")["rating"].to_dict() == pytest.approx(
            dict(zip(early.models, early.rating, strict=True))
        )

    def test_kept_boards_stand_at_their_last_vote(self, make: Callable[..., Store]) -> None:
        store = make(judged=60)
        take_snapshot(store, voters="judge")
        ids = store.votes()["id"].to_numpy()
        lines = history.kept_boards(store.snapshots(), ids, "judge")
        assert lines["vote"].unique().tolist() == [60]
        assert set(lines["model"]) == set(NAMES)
        assert history.kept_boards(store.snapshots(), ids, "human").empty

    def test_late_models_are_events(self, make: Callable[..., Store]) -> None:
        store = make(NAMES[:2])
        rows = [("a", "b", "model_a"), ("b", "a", "tie")] * 40 + [("c", "a", "model_b")]
        coded = code_votes(pd.DataFrame(rows, columns=["model_a", "model_b", "winner"]))
        events = history.happenings(coded, np.arange(1, 82), store)
        assert events.to_dict("records") == [{"vote": 81, "event": "c added"}]
