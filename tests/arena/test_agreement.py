"""Agreement: the coefficients against papers, other tools and slow definitions; the tables against what they say."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paragone.arena.agreement import cohen_kappa, gwet_ac1, krippendorff_alpha
from paragone.arena.voter_agreement import Agreement, agreement_by_kind, agreement_by_voter, position_consistency
from paragone.data.errors import InputError, NotIdentifiable, UnknownOutcome, UsageError

# Krippendorff (2011), "Computing Krippendorff's alpha-reliability", four observers, twelve units; Gwet uses it too.
NONE = None
FOUR = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
    [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
]
WINNERS = ["model_a", "model_b", "tie", "both_bad"]


def test_published_values() -> None:
    assert krippendorff_alpha(FOUR) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(FOUR, level="ordinal") == pytest.approx(0.815, abs=5e-4)
    assert gwet_ac1(FOUR) == pytest.approx(0.77544, abs=1e-5)
    # Cohen (1960) in the form of a table of 25 yes/yes … : p_o = 0.7, p_e = 0.5.
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)
    # The paradox of κ (Feinstein and Cicchetti, 1990): 90 % agree, κ below 0, AC1 near 0.9.
    frequent = ["a"] * 90 + ["a"] * 5 + ["b"] * 5, ["a"] * 90 + ["b"] * 5 + ["a"] * 5
    assert cohen_kappa(*frequent) == pytest.approx(-1 / 19)
    assert gwet_ac1(frequent) == pytest.approx((0.9 - 0.095) / (1 - 0.095))


def slow_alpha(ratings: list[list[int | None]], distance: Any) -> float:
    """1 − D_o/D_e from all pairs of values, one by one."""
    units = [[row[u] for row in ratings if row[u] is not None] for u in range(len(ratings[0]))]
    units = [unit for unit in units if len(unit) > 1]
    values = [value for unit in units for value in unit]
    n = len(values)
    observed = sum(distance(a, b) / (len(u) - 1) for u in units for a, b in itertools.permutations(u, 2)) / n
    expected = sum(distance(a, b) for a, b in itertools.permutations(values, 2)) / (n * (n - 1))
    return 1 - observed / expected


tables = st.integers(2, 4).flatmap(
    lambda raters: st.lists(
        st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=6, max_size=6), min_size=raters, max_size=raters
    )
)


@given(tables)
def test_alpha_is_the_slow_definition(ratings: list[list[int | None]]) -> None:
    paired = [c for c in zip(*ratings, strict=True) if sum(v is not None for v in c) > 1]
    used = {value for column in paired for value in column if value is not None}
    if len(used) < 2:
        with pytest.raises(NotIdentifiable, match="undefined"):
            krippendorff_alpha(ratings)
        return
    assert krippendorff_alpha(ratings) == pytest.approx(slow_alpha(ratings, lambda a, b: a != b))
    count = [sum(column.count(c) for column in paired) for c in range(4)]

    def ordinal(a: int, b: int) -> float:
        low, high = min(a, b), max(a, b)
        return (sum(count[low : high + 1]) - (count[low] + count[high]) / 2) ** 2 if a != b else 0.0

    assert krippendorff_alpha(ratings, level="ordinal", categories=range(4)) == pytest.approx(
        slow_alpha(ratings, ordinal)
    )


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=30))
def test_kappa_and_ac1_are_their_formulas(pairs: list[tuple[int, int]]) -> None:
    first, second = (list(side) for side in zip(*pairs, strict=True))
    used = sorted(set(first) | set(second))
    n = len(pairs)
    agree = sum(a == b for a, b in pairs) / n
    chance = sum(first.count(c) * second.count(c) for c in used) / n**2
    share = [(first.count(c) + second.count(c)) / (2 * n) for c in used]
    if len(used) == 1:
        for coefficient in (lambda: cohen_kappa(first, second), lambda: gwet_ac1([first, second])):
            with pytest.raises(NotIdentifiable, match="every rating is"):
                coefficient()
        return
    assert cohen_kappa(first, second) == pytest.approx((agree - chance) / (1 - chance))
    expected = sum(p * (1 - p) for p in share) / (len(used) - 1)
    assert gwet_ac1([first, second]) == pytest.approx((agree - expected) / (1 - expected))


@pytest.mark.peers
def test_peers_agree() -> None:
    krippendorff = pytest.importorskip("krippendorff", reason="a peer: pip install --group peers")
    rng = np.random.default_rng(0)
    table = rng.integers(0, 4, (5, 40)).astype(float)
    table[rng.random(table.shape) < 0.3] = np.nan
    for level in ("nominal", "ordinal"):
        theirs = krippendorff.alpha(table, level_of_measurement=level)
        assert krippendorff_alpha(table, level=level) == pytest.approx(theirs, abs=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("weights", [None, "linear", "quadratic"])
def test_scikit_learn_agrees(weights: str | None) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    first, second = np.random.default_rng(1).integers(0, 3, (2, 60))
    ours = cohen_kappa(first, second, weights=weights or "none", categories=[0, 1, 2])  # type: ignore[arg-type]
    assert ours == pytest.approx(metrics.cohen_kappa_score(first, second, weights=weights, labels=[0, 1, 2]))


def test_bad_ratings_are_named() -> None:
    with pytest.raises(InputError, match="rating 2 is missing"):
        cohen_kappa(["a", None], ["a", "b"])
    with pytest.raises(InputError, match="3 ratings and the second 2"):
        cohen_kappa([1, 2, 3], [1, 2])
    with pytest.raises(InputError, match="'c' is none of the categories a, b"):
        gwet_ac1([["a", "c"], ["a", "b"]], categories=["a", "b"])
    with pytest.raises(NotIdentifiable, match="no item was rated by two"):
        krippendorff_alpha([[1, None], [None, 2]])
    with pytest.raises(UsageError, match="level"):
        krippendorff_alpha(FOUR, level="interval")  # type: ignore[arg-type]


def votes_of(rows: list[tuple[str, str, str, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["battle", "model_a", "model_b", "winner", "voter"])


def crowd(rng: np.random.Generator, *, items: int, prompts: int, shared: bool = False) -> pd.DataFrame:
    """Two people and a judge; with `shared`, prompts are easy or hopeless."""
    rows = []
    hard = rng.random(prompts) < 0.5
    for n in range(items):
        prompt = n % prompts
        truth = rng.normal()
        for voter, kind, noise in (("ann", "human", 0.5), ("bob", "human", 0.5), ("judge", "judge", 1.0)):
            blur = noise * (0.1 + 30 * hard[prompt] if shared else 1.0)
            sight = truth + rng.normal(0, blur)
            winner = "tie" if abs(sight) < 0.2 else "model_a" if sight > 0 else "model_b"
            rows.append((f"b{n}", "x", "y", winner, voter, kind, f"p{prompt}"))
    return pd.DataFrame(rows, columns=["battle", "model_a", "model_b", "winner", "voter", "kind", "prompt"])


def one(found: tuple[Agreement, ...], first: str, second: str) -> Agreement:
    return next(
        a for a in found if {a.first, a.second} == {first, second} and (a.first == a.second) == (first == second)
    )


def table_of(agreement: Agreement) -> Any:
    found = [(c.value, c.lower, c.upper) for c in agreement.coefficients.values()]
    return np.array([(agreement.n_items, agreement.n_votes, agreement.n_clusters), *found], float)


def numbers(agreement: Agreement) -> Any:
    """All of them, to be compared but for rounding."""
    return pytest.approx(table_of(agreement))


def test_tables_hold_the_coefficients_of_their_columns() -> None:
    votes = crowd(np.random.default_rng(0), items=80, prompts=20)
    wide = votes.pivot_table(index="battle", columns="voter", values="winner", aggfunc="first")
    order = ["model_a", "tie", "model_b"]
    row = one(agreement_by_voter(votes), "ann", "judge")
    assert (row.n_items, row.n_votes, row.n_clusters) == (80, 160, 80)
    values = {name: coefficient.value for name, coefficient in row.coefficients.items()}
    pair = [wide["ann"].tolist(), wide["judge"].tolist()]
    assert values["raw"] == pytest.approx((wide["ann"] == wide["judge"]).mean())
    assert values["kappa"] == pytest.approx(cohen_kappa(*pair))
    assert values["weighted_kappa"] == pytest.approx(cohen_kappa(*pair, weights="linear", categories=order))
    assert values["alpha"] == pytest.approx(krippendorff_alpha(pair))
    assert values["ordinal_alpha"] == pytest.approx(krippendorff_alpha(pair, level="ordinal", categories=order))
    assert values["ac1"] == pytest.approx(gwet_ac1(pair))
    kinds = agreement_by_kind(votes)
    people = one(kinds, "human", "human").coefficients
    assert people["alpha"].value == pytest.approx(krippendorff_alpha([wide["ann"].tolist(), wide["bob"].tolist()]))
    assert one(kinds, "human", "judge").coefficients["raw"].value < people["raw"].value  # type: ignore[operator]
    assert ("judge", "judge") not in {(a.first, a.second) for a in kinds}


def test_sides_names_and_row_order_change_nothing() -> None:
    rng = np.random.default_rng(1)
    votes = crowd(rng, items=60, prompts=60)
    turned = votes.copy()
    flip = (rng.random(60) < 0.5)[votes["battle"].str[1:].astype(int)]
    swap = {"model_a": "model_b", "model_b": "model_a", "tie": "tie"}
    turned.loc[flip, ["model_a", "model_b"]] = votes.loc[flip, ["model_b", "model_a"]].to_numpy()
    turned.loc[flip, "winner"] = votes.loc[flip, "winner"].map(swap)
    base = one(agreement_by_voter(votes), "ann", "judge")
    shuffled = votes.sample(frac=1, random_state=0)
    assert table_of(one(agreement_by_voter(shuffled), "ann", "judge")) == numbers(base)
    raws = one(agreement_by_voter(turned), "ann", "judge").coefficients["raw"]
    assert raws == base.coefficients["raw"]
    only_judge = flip & (votes["voter"] == "judge").to_numpy()
    mixed = votes.copy()
    mixed.loc[only_judge] = turned.loc[only_judge]
    assert table_of(one(agreement_by_voter(mixed), "ann", "judge")) == numbers(
        base
    )  # the judge saw some battles turned round


@pytest.mark.slow
def test_intervals_by_cluster_cover_where_intervals_by_item_do_not() -> None:
    names = ("raw", "kappa", "alpha", "ac1")
    found, plain = [], []
    for seed in range(120):
        votes = crowd(np.random.default_rng(seed), items=300, prompts=20, shared=True)
        votes = votes[votes["kind"] == "human"]
        found.append(agreement_by_voter(votes, cluster="prompt")[0].coefficients)
        plain.append(agreement_by_voter(votes)[0].coefficients)
    for name in names:
        centre = np.mean([c[name].value for c in found])
        covered, narrow = (np.mean([c[name].lower <= centre <= c[name].upper for c in rows]) for rows in (found, plain))
        assert 0.89 <= covered <= 0.99, name  # 120 tables: the Monte Carlo error is 2 points
        assert narrow < 0.87, name
        errors, spread = [c[name].standard_error for c in found], np.std([c[name].value for c in found])
        assert np.mean(errors) == pytest.approx(spread, rel=0.25), name


def test_both_bad_is_its_own_category_unless_a_rule_says_otherwise() -> None:
    rows = [
        (f"b{n}", "x", "y", winner, voter)
        for n, pair in enumerate(
            [("both_bad", "tie")] * 5 + [("model_a", "model_a")] * 5 + [("model_b", "both_bad")] * 2
        )
        for voter, winner in zip(("ann", "bob"), pair, strict=True)
    ]
    own, tie, drop = (agreement_by_voter(votes_of(rows), both_bad=rule)[0] for rule in ("own", "tie", "drop"))  # type: ignore[arg-type]
    assert own.coefficients["raw"].value == pytest.approx(5 / 12)
    assert own.coefficients["ordinal_alpha"].value is None
    assert "no place" in own.coefficients["weighted_kappa"].note
    assert tie.coefficients["raw"].value == pytest.approx(10 / 12)
    assert tie.coefficients["ordinal_alpha"].value is not None
    assert (drop.n_items, drop.coefficients["raw"].value) == (5, 1.0)
    assert drop.coefficients["kappa"].value is None  # one category is left
    assert "one category" in drop.coefficients["kappa"].note


def test_perfect_agreement_has_no_interval_of_width_zero() -> None:
    rows = [(f"b{n}", "x", "y", WINNERS[n % 3], voter) for n in range(12) for voter in ("ann", "bob")]
    found = agreement_by_voter(votes_of(rows))[0].coefficients["kappa"]
    assert (found.value, found.lower) == (1.0, None)
    assert "do not differ" in found.note


def test_what_cannot_be_compared_is_named() -> None:
    alone = votes_of([("b1", "x", "y", "tie", "ann"), ("b2", "x", "y", "tie", "ann")])
    with pytest.raises(InputError, match="only 'ann' voted"):
        agreement_by_voter(alone)
    apart = votes_of([("b1", "x", "y", "tie", "ann"), ("b2", "x", "y", "tie", "bob")])
    with pytest.raises(InputError, match="no two of the 2 voters voted on the same item"):
        agreement_by_voter(apart)
    twice = votes_of([("b1", "x", "y", "tie", "ann"), ("b1", "x", "y", "tie", "bob"), ("b1", "y", "x", "tie", "ann")])
    with pytest.raises(InputError, match="row 3: 'ann' voted on the same item in row 1"):
        agreement_by_voter(twice)
    other = votes_of([("b1", "x", "y", "tie", "ann"), ("b1", "x", "z", "tie", "bob")])
    with pytest.raises(InputError, match="row 2: battle 'b1' is of 'x' and 'z' here"):
        agreement_by_voter(other)
    bad = votes_of([("b1", "x", "y", "unparsed", "ann")])
    with pytest.raises(UnknownOutcome, match="row 1"):
        agreement_by_voter(bad)
    with pytest.raises(UsageError, match="called battle or prompt"):
        agreement_by_voter(alone.drop(columns="battle"))
    with pytest.raises(UsageError, match="no column 'kind'"):
        agreement_by_kind(twice)
    mixed = crowd(np.random.default_rng(0), items=4, prompts=2).assign(shift=range(12))
    with pytest.raises(InputError, match="row 2: shift differs from that of row 1"):
        agreement_by_voter(mixed, cluster="shift")
    for option in ({"both_bad": "x"}, {"repeats": "x"}):
        with pytest.raises(UsageError, match="use one of"):
            agreement_by_voter(mixed, **option)  # type: ignore[arg-type]


def test_repeats_follow_the_rule_that_is_named() -> None:
    rows = [("b1", "x", "y", "model_a", "ann"), ("b1", "y", "x", "model_a", "ann"), ("b1", "x", "y", "tie", "bob")]
    rows += [("b2", "x", "y", "model_b", "ann"), ("b2", "y", "x", "model_a", "ann"), ("b2", "x", "y", "model_b", "bob")]
    first = agreement_by_voter(votes_of(rows), repeats="first")[0]
    combined = agreement_by_voter(votes_of(rows), repeats="combine")[0]
    assert first.coefficients["raw"].value == 0.5
    assert combined.coefficients["raw"].value == 1.0  # two orders that differ are a tie


def test_prompt_and_models_are_an_item_where_there_is_no_battle() -> None:
    votes = crowd(np.random.default_rng(3), items=30, prompts=30)
    by_battle = agreement_by_voter(votes)
    assert agreement_by_voter(votes.drop(columns="battle")) == by_battle
    assert agreement_by_voter(votes.rename(columns={"battle": "round"}), item="round") == by_battle


def test_position_consistency_counts_what_moves_with_the_sides() -> None:
    rows = []
    for n, (shown, exchanged) in enumerate(
        [("model_a", "model_b")] * 6
        + [("model_a", "model_a")] * 3
        + [("model_b", "model_b")]
        + [("tie", "model_a")] * 2
    ):
        rows += [(f"b{n}", "x", "y", shown, "judge"), (f"b{n}", "y", "x", exchanged, "judge")]
    (found,) = position_consistency(votes_of(rows))
    assert (found.voter, found.n_items, found.consistent, found.first_place) == ("judge", 12, 0.5, 0.75)
    assert found.lower < 0.5 < found.upper
    steady = position_consistency(votes_of(rows[:12]))[0]
    assert (steady.consistent, steady.first_place) == (1.0, None)
    assert steady.lower == pytest.approx(6 / (6 + 1.959963984540054**2))
    assert math.isclose(steady.upper, 1.0)
    with pytest.raises(InputError, match="in both orders"):
        position_consistency(votes_of(rows[::2]))
