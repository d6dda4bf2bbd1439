"""Cards, requests and dated prices on the pages: filtered by address, beside each other, edited, and drawn."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from paragone.arena.plots_prices import price_plot, price_steps
from paragone.arena.store import Store
from paragone.arena.ui import admin, filters
from paragone.arena.ui.filters import Choices, Filters, read_filters, write_filters
from paragone.data import (
    Attempt,
    Battle,
    GeneratorCard,
    InputError,
    Judgement,
    Price,
    PriceUnit,
    Prompt,
    Sample,
    Status,
    Verdict,
    Winner,
    sample_id,
)

PATIENCE = 60
CARDS = (
    GeneratorCard("flow", family="flow matching", space="latent", parameters=12 * 10**9, released="2026-05-01"),
    GeneratorCard(
        "old", family="GAN", space="pixel", parameters=25 * 10**6, released="2019-12-31", text_encoder="none"
    ),
    GeneratorCard("secret", report_url="javascript:alert(1)"),
)
CHOICES = Choices(("judge",), (), ("MIT",), ("GAN", "flow matching"), ("latent", "pixel"), dated=True, sized=True)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Three models, of which one declines a lot, with prices that fell."""
    monkeypatch.setenv("PARAGONE_DIR", str(tmp_path))
    monkeypatch.delenv("PARAGONE_DB", raising=False)
    names = [card.name for card in CARDS]
    samples = [
        Sample(sample_id(m, "p0", s, "0" * 64), "0" * 64, f"{m}{s}.png", "p0", m, s, 8, 8)
        for m in names
        for s in range(6)
    ]
    by = {(s.model, s.seed): s.id for s in samples}
    with Store(tmp_path / "arena.db", create=True) as opened:
        opened.add_generators(CARDS)
        opened.add_prompts(Prompt(f"p{n}", "x") for n in range(30))
        opened.add_samples(samples)
        for k, day in enumerate(("2026-01-01", "2026-04-01", "2099-01-01")):
            opened.add_prices([Price(m, PriceUnit.IMAGE, Decimal(4 - k) / 100, day) for m in names[:2]])
        opened.add_attempts(
            Attempt(m, f"p{n}", 0, Status.REFUSED if m == "old" and n < 15 else Status.OK, cost_usd=Decimal("0.01"))
            for m in names[:2]
            for n in range(30)
        )
        judgements = []
        for n in range(18):
            a, b = names[n % 3], names[(n + 1) % 3]
            winner = (Winner.MODEL_A, Winner.MODEL_B, Winner.TIE, Winner.BOTH_BAD)[n % 4]
            battle = Battle(f"b{n}", "p0", a, b, by[a, n % 6], by[b, n % 6])
            judgements.append(Judgement(battle, (Verdict(winner),) * 2, winner, True))
        opened.record_judgements(judgements, judge="ruler")
        yield opened


def page(name: str, **query: str) -> AppTest:
    """A page as its address draws it."""

    def script(module: str) -> None:
        from importlib import import_module

        from paragone.arena.ui.reading import open_project

        import_module(f"paragone.arena.ui.{module}").show(open_project())

    app = AppTest.from_function(script, kwargs={"module": name}, default_timeout=PATIENCE)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception
    return app


def test_filters_of_cards_live_in_the_address() -> None:
    query = {"family": "GAN", "space": "pixel", "since": "2019-01-01", "size": "30"}
    chosen, notes = read_filters(query, CHOICES)
    assert chosen == Filters("judge", family="GAN", space="pixel", since="2019-01-01", size=30)
    assert not notes
    assert write_filters(chosen, CHOICES) == query
    for bad in ({"since": "yesterday"}, {"since": "20190101"}, {"size": "-1"}, {"space": "mental"}, {"family": ""}):
        found, notes = read_filters(bad, CHOICES)
        assert found == Filters("judge")
        assert len(notes) == 1


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ({"space": "latent"}, ["flow"]),
        ({"family": "GAN"}, ["old"]),
        ({"since": "2020-01-01"}, ["flow"]),  # a day that is not known is not late
        ({"size": "1000"}, ["old"]),  # nor is a size that is not known small
    ],
)
def test_rows_of_the_board(store: Store, query: dict[str, str], left: list[str]) -> None:
    assert page("board", **query).dataframe[0].value["model"].tolist() == left


def test_the_board_shows_requests_and_warns(store: Store) -> None:
    app = page("board")
    table = app.dataframe[0].value.set_index("model")
    assert table.loc["old", ["n_requests", "delivered", "n_refused"]].tolist() == [30, 50.0, 15]
    assert table.loc["old", "delivered_range"] == "33 – 67"
    assert pd.isna(table.loc["secret", "n_requests"])
    assert table.loc["old", "usd_per_delivered"] == 0.02
    votes = store.votes()
    bad = (votes[(votes[["model_a", "model_b"]] == "old").any(axis=1)]["winner"] == "both_bad").mean()
    assert bad > 0
    assert table.loc["old", "usd_per_accepted"] == pytest.approx(0.02 / (1 - bad))
    assert "report_url" not in table  # an address that is none of the web is no link
    assert "decline" in app.warning[0].value
    assert any("old declined more than flow on 15 of 30 prompts" in text.value for text in app.text)
    app.selectbox(key="board-space").set_value("pixel").run()
    assert dict(app.query_params) == {"space": "pixel"}
    app.selectbox(key="board-space").set_value(filters.EVERYTHING).run()
    assert dict(app.query_params) == {}


def test_compare_lays_cards_side_by_side(store: Store) -> None:
    app = page("compare_models", a="flow", b="secret")
    cards = app.dataframe[-1].value.set_index("")
    assert cards["first"][["space", "parameters", "requests"]].tolist() == ["latent", "12,000,000,000", "30"]
    assert cards["second"][["space", "parameters", "requests"]].isna().all()


@pytest.mark.parametrize(("on", "usd"), [("2026-02-01", 0.04), ("2026-04-01", 0.03), ("2099-06-01", 0.02), ("x", 0.03)])
def test_pareto_has_the_prices_of_the_day(store: Store, on: str, usd: float) -> None:
    """A price that begins in the future is not today's."""
    app = page("pareto", on=on)
    assert set(app.dataframe[0].value["cost"]) == {usd}
    assert any(heading.value == "Prices over time" for heading in app.subheader)


def test_a_day_before_every_price_has_none(store: Store) -> None:
    app = page("pareto", on="2000-01-01")
    assert app.segmented_control(key="pareto-cost").value == "usd_per_delivered"  # what was paid is not of a day


def test_steps_of_prices() -> None:
    prices = [
        Price("a", PriceUnit.IMAGE, Decimal(usd), day) for usd, day in (("0.04", "2026-01-01"), ("0.02", "2026-03-01"))
    ]
    steps = price_steps([*prices, Price("b", PriceUnit.IMAGE, Decimal("0.01"), "2026-02-01")], until="2026-04-01")
    assert steps[steps["model"] == "a"]["usd"].tolist() == [0.04, 0.02, 0.02]
    assert steps["day"].max() == pd.Timestamp("2026-04-01")
    marks = [layer["mark"]["type"] for layer in price_plot(steps, y_title="USD", day="2026-02-01").to_dict()["layer"]]
    assert marks == ["line", "point", "rule"]


@pytest.mark.parametrize(
    ("text", "number"), [("", None), ("12e9", 12 * 10**9), ("12 000 000", 12_000_000), ("1.5e3", 1500), ("7", 7)]
)
def test_numbers_of_parameters(text: str, number: int | None) -> None:
    assert admin.whole_number(text, "parameters") == number


@pytest.mark.parametrize("text", ["many", "1.5", "-3", "0", "NaN", "1e40", "12b"])
def test_what_is_no_number_of_parameters(text: str) -> None:
    with pytest.raises(InputError, match=r"parameters .* is not a whole number above 0"):
        admin.whole_number(text, "parameters")


def test_the_admin_edits_a_card(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "require_admin", lambda: "tester")
    app = page("admin", model="secret")
    fields = {field.label: field for field in app.text_input}
    fields["Text encoder"].set_value("T5-XXL")
    fields["Parameters"].set_value("a few")
    app.button[0].click().run()
    assert "Nothing was stored." in app.error[0].value
    fields = {field.label: field for field in app.text_input}
    fields["Report"].set_value("")
    fields["Parameters"].set_value("12e9")
    next(box for box in app.selectbox if box.label == "Space").set_value("latent")
    app.button[0].click().run()
    assert not app.exception
    card = next(card for card in store.generators() if card.name == "secret")
    assert (card.text_encoder, card.parameters, card.space, card.report_url) == ("T5-XXL", 12 * 10**9, "latent", None)
