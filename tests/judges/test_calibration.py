"""Soft verdicts beside people's choices: a known temperature is found, scikit-learn agrees, intervals hold; and a board
judged by a judge who prefers a place has the right order when the place is accounted for.
"""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.metrics import log_loss as their_log_loss

from paragone.arena import fit_bradley_terry, fit_contextual
from paragone.data import Battle, InputError, TooFewSamples, UsageError, Verdict, Winner
from paragone.judges import combine
from paragone.judges.calibration import (
    auroc,
    calibrate,
    clustered_error,
    confusion_by_category,
    expected_calibration_error,
    fit_temperature,
    sigmoid,
)


def soft(n: int, temperature: float, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds that are `temperature` times too sure, and choices at the true odds."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 1.5, n)
    return temperature * true, (rng.random(n) < 1 / (1 + np.exp(-true))).astype(float)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    odds, chosen = soft(8000, temperature)
    found = calibrate(odds, chosen)
    assert found.temperature == pytest.approx(temperature, rel=0.08)
    assert not found.at_edge
    assert found.ece_calibrated < 0.03
    if temperature != 1:
        assert found.ece > 2 * found.ece_calibrated
        assert found.brier > found.brier_calibrated
        assert found.log_loss > found.log_loss_calibrated


def test_figures_are_scikit_learns() -> None:
    odds, chosen = soft(600, 2.0, seed=3)
    odds = np.round(odds, 1)  # ties
    found = calibrate(odds, chosen)
    assert found.auroc == pytest.approx(roc_auc_score(chosen, odds))
    assert found.brier == pytest.approx(brier_score_loss(chosen, sigmoid(odds)))
    assert found.log_loss == pytest.approx(their_log_loss(chosen, sigmoid(odds)))
    theirs = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(odds[:, None], chosen)
    assert fit_temperature(odds, chosen) == pytest.approx(1 / theirs.coef_[0, 0], rel=1e-4)


def test_exchanging_all_sides_changes_nothing() -> None:
    odds, chosen = soft(400, 2.0, seed=4)
    one, other = calibrate(odds, chosen), calibrate(-odds, 1 - chosen)
    for name in ("temperature", "auroc", "brier", "brier_calibrated", "ece", "log_loss_calibrated"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-6), name


def test_what_is_reported_was_not_fitted_on_the_same_prompts() -> None:
    """Copies of a vote in several folds would let noise calibrate itself; by clusters they stay together."""
    rng = np.random.default_rng(0)
    odds = np.repeat(rng.normal(0, 1, 12), 50)
    chosen = np.repeat((rng.random(12) < 0.5).astype(float), 50)
    prompts = np.repeat([f"p{i}" for i in range(12)], 50)
    by_vote, by_prompt = calibrate(odds, chosen), calibrate(odds, chosen, clusters=prompts)
    assert by_prompt.n_clusters == 12
    assert by_prompt.log_loss_calibrated > by_vote.log_loss_calibrated


def test_a_judge_who_is_always_wrong_is_at_the_edge() -> None:
    odds, chosen = soft(300, 1.0, seed=5)
    found = calibrate(-odds, chosen)
    assert found.at_edge
    assert found.auroc is not None
    assert found.auroc < 0.3


def test_calibration_error_by_hand() -> None:
    probability = np.array([0.9, 0.9, 0.1, 0.6])
    chosen = np.array([1.0, 0.0, 0.0, 1.0])
    # one bin: confidence (0.9 + 0.9 + 0.9 + 0.6) / 4, agreed 3 of 4
    assert expected_calibration_error(probability, chosen, bins=1) == pytest.approx(abs(3.3 - 3) / 4)
    # two bins: {0.6, 0.9} agreed 2; {0.9, 0.9} agreed 1
    assert expected_calibration_error(probability, chosen, bins=2) == pytest.approx((0.5 + 0.8) / 4)
    assert auroc(np.array([1.0, 2.0]), np.array([1.0, 1.0])) is None


def test_values_that_cannot_be_used_are_named() -> None:
    with pytest.raises(InputError, match="leave ties out"):
        calibrate([0.1, 0.2], [1, 0.5])
    with pytest.raises(InputError, match="not finite"):
        calibrate([0.1, np.nan], [1, 0])
    with pytest.raises(InputError, match="same length"):
        calibrate([0.1], [1, 0])
    with pytest.raises(InputError, match="1 clusters for 2 votes"):
        calibrate([0.1, 0.3], [1, 0], clusters=["p"])
    with pytest.raises(TooFewSamples, match="one cluster"):
        calibrate([0.1, 0.3], [1, 0], clusters=["p", "p"])
    with pytest.raises(UsageError, match="1 folds"):
        calibrate([0.1, 0.3], [1, 0], folds=1)
    with pytest.raises(InputError, match="equally many"):
        confusion_by_category(["tie"], ["tie", "tie"], ["x"])


def test_confusion_by_category_by_hand() -> None:
    human = ["model_a", "model_a", "tie", "model_b", "model_a"]
    judge = ["model_a", "model_b", "tie", "model_b", "tie"]
    one, other = confusion_by_category(human, judge, ["x", "x", "x", "y", "x"], clusters=["p", "p", "q", "r", "q"])
    assert (one.category, one.rate, one.n, one.n_clusters) == ("x", 0.5, 4, 2)
    assert one.confusion == {"model_a": {"model_a": 1, "model_b": 1, "tie": 1}, "tie": {"tie": 1}}
    assert one.lower is None  # both prompts at one half: no spread, which is not certainty
    assert (other.rate, other.lower, other.n_clusters) == (1.0, None, 1)


def test_clustered_intervals_hold_where_plain_ones_do_not() -> None:
    rng = np.random.default_rng(2)
    label = np.repeat(np.arange(30), 20)
    held, narrow, repeats = 0, 0, 400
    for _ in range(repeats):
        rate = rng.beta(1.4, 0.6, 30)  # prompts differ; the mean is 0.7
        values = (rng.random(600) < rate[label]).astype(float)
        error = clustered_error(values, label)
        assert error is not None
        held += abs(values.mean() - 0.7) <= error
        narrow += abs(values.mean() - 0.7) <= 1.96 * values.std() / np.sqrt(600)
    assert held / repeats > 0.91
    assert narrow / repeats < 0.7


MODELS = tuple("abcdef")
STRENGTH = dict(zip(MODELS, np.linspace(1.0, -1.0, 6), strict=True))


def first_wins(first: str, second: str, bias: float, rng: np.random.Generator) -> bool:
    return bool(rng.random() < 1 / (1 + np.exp(-(bias + STRENGTH[first] - STRENGTH[second]))))


def biased_votes(order: str, *, bias: float, seed: int) -> pd.DataFrame:
    """Each pair 60 times; `model_a` is shown first: in turn, in both orders, or mostly the worse model."""
    rng = np.random.default_rng(seed)
    rows = []
    for i, x in enumerate(MODELS):
        for y in MODELS[i + 1 :]:
            for number in range(60):
                if order == "both":
                    battle = Battle(f"{x}{y}{number}", "p", x, y, f"s{x}", f"s{y}")
                    shown = Verdict(Winner.MODEL_A if first_wins(x, y, bias, rng) else Winner.MODEL_B)
                    exchanged = Verdict(Winner.MODEL_A if first_wins(y, x, bias, rng) else Winner.MODEL_B)
                    rows.append((x, y, str(combine(battle, shown, exchanged.swapped()).winner)))
                    continue
                swap = number % 2 == 1 if order == "balanced" else number % 10 != 0  # else the worse one is first
                a, b = (y, x) if swap else (x, y)
                rows.append((a, b, "model_a" if first_wins(a, b, bias, rng) else "model_b"))
    return pd.DataFrame(rows, columns=["model_a", "model_b", "winner"])


def order_of(ratings: object) -> tuple[str, ...]:
    frame = ratings.to_frame()  # type: ignore[attr-defined]
    return tuple(frame.sort_values("rating", ascending=False)["model"])


def test_a_board_is_right_in_spite_of_a_position_bias() -> None:
    """Bias 2 nats is an advantage of 7 to 1 for the first picture."""
    both = order_of(fit_bradley_terry(biased_votes("both", bias=2.0, seed=1), ci="none"))
    balanced = fit_contextual(biased_votes("balanced", bias=2.0, seed=1), side=True)
    skewed_votes = biased_votes("the worse first", bias=2.0, seed=1)
    assert both == MODELS
    assert order_of(balanced) == MODELS
    assert order_of(fit_bradley_terry(skewed_votes, ci="none")) != MODELS
    assert order_of(fit_contextual(skewed_votes, side=True, ci="none")) == MODELS
    (side,) = balanced.parameters["covariates"]
    assert side["lower"] <= 2.0 * 400 / np.log(10) <= side["upper"]
