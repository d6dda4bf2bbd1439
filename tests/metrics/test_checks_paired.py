"""One formula for every pairing: against textbook standard errors, exact permutation tests and simulation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from paragone.data.errors import InputError, NotComparable
from paragone.metrics.checks import Difference, Untested
from paragone.metrics.checks_paired import Column, difference_of, sign_flip_p
from paragone.metrics.run_items import MANY_PROMPTS, Items, lay_out


def named(n: int, prefix: str = "") -> Items:
    return Items(tuple(f"{prefix}{number}.png" for number in range(n)))


def prompted(prompts: int, seeds: range) -> Items:
    keys = [(f"p{prompt}", seed) for prompt in range(prompts) for seed in seeds]
    return Items(tuple(f"{p}-{s}.png" for p, s in keys), tuple(p for p, _ in keys), tuple(s for _, s in keys))


def mean_of(values: np.ndarray) -> Column:
    return Column(float(values.mean()), values, is_mean=True)


def compared(
    a: Column, b: Column, items_a: Items, items_b: Items, *, higher: bool = False, margin: float = 0.1
) -> Difference:
    counts = (len(items_a), len(items_b))
    found = difference_of(a, b, lay_out(items_a, items_b), higher_is_better=higher, margin=margin, counts=counts)
    assert isinstance(found, Difference)
    return found


def test_pairs_of_samples_have_the_paired_standard_error() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 80))
    found = compared(mean_of(a), mean_of(b), named(80), named(80))
    assert found.worsening == pytest.approx((b - a).mean())
    assert found.standard_error == pytest.approx((b - a).std(ddof=1) / np.sqrt(80))
    assert found.degrees_of_freedom == 79
    t = scipy.stats.ttest_rel(b, a, alternative="greater")
    assert found.p_worse == pytest.approx(t.pvalue, abs=0.02)  # by sign flips, not by t


def test_unpaired_samples_have_the_standard_error_of_two() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=60), rng.normal(size=60)
    found = compared(mean_of(a), mean_of(b), named(60, "a"), named(60, "b"))
    assert found.standard_error == pytest.approx(np.sqrt(a.var(ddof=1) / 60 + b.var(ddof=1) / 60))
    assert "Student" in found.method


def test_the_order_of_the_samples_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    a, b, order = rng.normal(size=50), rng.normal(size=50), rng.permutation(50)
    items = named(50)
    shuffled = Items(tuple(items.names[place] for place in order))
    straight = compared(mean_of(a), mean_of(b), items, items)
    turned = compared(mean_of(a), mean_of(b[order]), items, shuffled)
    assert turned.standard_error == pytest.approx(straight.standard_error)
    assert turned.worsening == pytest.approx(straight.worsening)


def test_higher_is_better_turns_the_sign() -> None:
    a, b = np.zeros(30), np.linspace(0.5, 1.5, 30)
    assert compared(mean_of(a), mean_of(b), named(30), named(30)).worsening == pytest.approx(1.0)
    assert compared(mean_of(a), mean_of(b), named(30), named(30), higher=True).worsening == pytest.approx(-1.0)


def test_four_copies_of_each_prompts_sample_are_no_more_evidence() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 40))
    once = compared(mean_of(a), mean_of(b), prompted(40, range(1)), prompted(40, range(1)))
    copies = [mean_of(np.repeat(values, 4)) for values in (a, b)]
    four = compared(*copies, prompted(40, range(4)), prompted(40, range(4)))
    assert four.standard_error == pytest.approx(once.standard_error)
    assert four.p_worse == pytest.approx(once.p_worse, abs=0.01)


def test_other_seeds_of_many_prompts_pair_by_prompt() -> None:
    """Prompts differ much, seeds little: the standard error is that of fresh prompts and seeds, and small."""
    rng = np.random.default_rng(4)
    errors, differences = [], []
    for _ in range(200):
        level = np.repeat(rng.normal(size=30), 3)
        a, b = level + 0.1 * rng.normal(size=90), level + 0.1 * rng.normal(size=90)
        found = compared(mean_of(a), mean_of(b), prompted(30, range(3)), prompted(30, range(3, 6)))
        errors.append(found.standard_error)
        differences.append(found.worsening)
    assert np.mean(errors) == pytest.approx(np.std(differences), rel=0.15)
    assert np.mean(errors) < 0.03


def test_few_prompts_are_strata() -> None:
    """The differences between ten classes are no noise of a run that always has all ten."""
    assert MANY_PROMPTS > 10
    rng = np.random.default_rng(5)
    level = np.repeat(rng.normal(0, 10, size=10), 20)
    a, b = level + rng.normal(size=200), level + rng.normal(size=200)
    found = compared(mean_of(a), mean_of(b), prompted(10, range(20)), prompted(10, range(20, 40)))
    within = [values.reshape(10, 20).var(axis=1, ddof=1).mean() for values in (a, b)]
    assert found.standard_error == pytest.approx(np.sqrt(sum(within) / 200))
    assert found.degrees_of_freedom == 190


def test_means_are_compared_over_the_samples_that_both_runs_have() -> None:
    a, b = np.arange(100.0), np.arange(100.0)
    b[97:] = 1e6  # three samples that the baseline lacks
    fewer = Items(named(100).names[:97])
    found = compared(mean_of(a[:97]), mean_of(b), fewer, named(100))
    assert found.worsening == 0
    assert found.candidate == pytest.approx(np.arange(97).mean())


def test_one_cluster_tells_no_noise() -> None:
    column = mean_of(np.ones(1))
    found = difference_of(
        column, column, lay_out(named(1), named(1)), higher_is_better=False, margin=1.0, counts=(1, 1)
    )
    assert isinstance(found, Untested)


# ---- Sign flips ----------------------------------------------------------------------------------------------------


def test_sign_flips_of_a_few_are_scipys_exact_test() -> None:
    rng = np.random.default_rng(6)
    differences = rng.normal(0.4, 1.0, 11)
    exact = scipy.stats.permutation_test(
        (differences, np.zeros(11)),
        lambda x, y: (x - y).sum(),
        permutation_type="samples",
        n_resamples=np.inf,
        alternative="greater",
    )
    assert sign_flip_p(differences) == pytest.approx(exact.pvalue)


def test_sign_flips_of_wins_and_losses_are_mcnemars_test() -> None:
    """The shape of lm-eval's pull request 3868: 220 items, 35 won and 15 lost. Unpaired, it is not significant."""
    differences = np.array([1.0] * 35 + [-1.0] * 15 + [0.0] * 170)
    exact = scipy.stats.binomtest(35, 50, alternative="greater").pvalue
    assert sign_flip_p(differences) == pytest.approx(exact, abs=0.002)
    a = np.array([0.0] * 35 + [1.0] * 15 + [1.0] * 85 + [0.0] * 85)
    b = a + differences
    assert scipy.stats.ttest_ind(b, a, alternative="greater").pvalue > 0.02
    assert compared(mean_of(a), mean_of(b), named(220), named(220)).p_worse < 0.005


def test_overwhelming_evidence_is_not_held_back_by_the_number_of_draws() -> None:
    """McNemar's test is the exact one here; the bound never claims more than it."""
    for won, lost in ((40, 0), (90, 10), (200, 60)):
        exact = scipy.stats.binomtest(won, won + lost, alternative="greater").pvalue
        assert exact <= sign_flip_p(np.array([1.0] * won + [-1.0] * lost)) < 1e-6
    uneven = np.random.default_rng(9).exponential(size=60)
    assert 2.0**-60 <= sign_flip_p(uneven) < 1e-5


def test_no_difference_at_all_is_no_evidence() -> None:
    same = mean_of(np.random.default_rng(7).normal(size=40))
    found = compared(same, same, named(40), named(40))
    assert found.p_worse == 1
    assert found.standard_error == 0
    assert found.p_margin < 0.001


def test_flips_keep_their_error_rate_with_heavy_tails() -> None:
    rng = np.random.default_rng(8)
    rejected = [sign_flip_p(rng.standard_t(1.5, size=12)) <= 0.05 for _ in range(1000)]
    assert 0.03 <= np.mean(rejected) <= 0.07


# ---- Items ---------------------------------------------------------------------------------------------------------


def test_runs_with_other_prompts_are_not_comparable() -> None:
    with pytest.raises(NotComparable, match="1 of the baseline's 3 are missing"):
        lay_out(prompted(3, range(2)), prompted(2, range(2)))
    with pytest.raises(NotComparable, match="manifest"):
        lay_out(prompted(3, range(2)), named(6))


def test_samples_pair_by_position_stem_or_request() -> None:
    assert (
        "paired by file name: 3" in lay_out(Items(("a.png", "b.png", "c.png")), Items(("c.jpg", "b.jpg", "a.jpg"))).told
    )
    assert "paired" in lay_out(Items(("x.npy[0]", "x.npy[1]")), Items(("y.npy[0]", "y.npy[1]"))).told
    assert "unpaired" in lay_out(named(5, "a"), named(5, "b")).told


def test_a_sample_that_occurs_twice_is_refused() -> None:
    with pytest.raises(InputError, match="p0#1"):
        Items(("a", "b"), ("p0", "p0"), (1, 1)).keys  # noqa: B018


def test_halves_and_groups_keep_clusters_and_depend_on_keys_only() -> None:
    items = prompted(40, range(3))
    one, two = items.halves()
    assert len(one) == len(two) == 60
    assert not {items.prompts[row] for row in one} & {items.prompts[row] for row in two}
    order = np.random.default_rng(9).permutation(120)
    shuffled = Items(*(tuple(part[place] for place in order) for part in (items.names, items.prompts, items.seeds)))
    assert {items.keys[row] for row in one} == {shuffled.keys[row] for row in shuffled.halves()[0]}
    few = prompted(10, range(20))
    assert all(np.bincount([int(few.prompts[row][1:]) for row in half]).tolist() == [10] * 10 for half in few.halves())
    assert np.bincount(few.groups()).tolist() == [10] * 20
