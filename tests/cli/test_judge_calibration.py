"""Soft verdicts of a stored judge beside people's choices: the temperature that made them is found again."""

from __future__ import annotations

import hashlib
import json
import math
import random
from pathlib import Path

import pytest

from paragone.__main__ import main
from paragone.arena.store import Store
from paragone.cli.judge_calibration import calibrations, sentence
from paragone.data import GeneratorCard, Prompt, Sample, Winner, sample_id
from paragone.data.records import Battle, Judgement, Verdict

N_PROMPTS, N_SEEDS = 40, 6
TOO_SURE = 3.0  # how many times the judge's log-odds are too large


def sample(model: str, prompt: int, seed: int) -> Sample:
    digest = hashlib.sha256(f"{model} {prompt} {seed}".encode()).hexdigest()
    path = f"{model}/{prompt}-{seed}.png"
    return Sample(sample_id(model, f"p{prompt}", seed, digest), digest, path, f"p{prompt}", model, seed, 8, 8)


def soft(log_odds: float, *, exchanged: bool) -> Verdict:
    """As a judge gives it: probabilities in the order shown, the winner in the battle's own order."""
    of_first = 1 / (1 + math.exp(log_odds if exchanged else -log_odds))
    shown = {"first": of_first, "second": 1 - of_first, "tie": 0.0, "both_bad": 0.0}
    return Verdict(Winner.MODEL_A if log_odds > 0 else Winner.MODEL_B, judge="soft", details={"probabilities": shown})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    rng = random.Random(4)
    with Store(tmp_path / "arena.db", create=True) as store:
        store.add_generators(GeneratorCard(name) for name in "ab")
        store.add_prompts(Prompt(f"p{n}", f"prompt {n}") for n in range(N_PROMPTS))
        store.add_samples(sample(m, p, s) for m in "ab" for p in range(N_PROMPTS) for s in range(N_SEEDS))
        truth = {}
        judgements = []
        for p in range(N_PROMPTS):
            for s in range(N_SEEDS):
                a, b = sample("a", p, s), sample("b", p, s)
                truth[a.id] = log_odds = rng.gauss(0.2, 1.2)
                battle = Battle(f"{p}-{s}", f"p{p}", "a", "b", a.id, b.id)
                verdicts = tuple(soft(TOO_SURE * log_odds, exchanged=exchanged) for exchanged in (False, True))
                judgements.append(Judgement(battle, verdicts, verdicts[0].winner, consistent=True))
        store.record_judgements(judgements, judge="soft")
        for n in range(300):
            issued = store.issue_battle(f"v{n}", rng)
            a_is_a = issued.battle.model_a == "a"
            log_odds = truth[issued.battle.sample_a if a_is_a else issued.battle.sample_b] * (1 if a_is_a else -1)
            wins = rng.random() < 1 / (1 + math.exp(-log_odds))
            store.record_vote(issued.token, Winner.MODEL_A if wins else Winner.MODEL_B, voter=f"v{n}")
    return tmp_path


def test_the_temperature_is_found(project: Path) -> None:
    with Store(project / "arena.db") as store:
        found = calibrations(store)["soft"]
    assert found.n == 300
    assert found.temperature == pytest.approx(TOO_SURE, rel=0.3)
    assert found.brier_calibrated < found.brier
    assert found.auroc is not None
    assert found.auroc > 0.6
    assert "surer than it may be" in sentence("soft", found)


def test_agreement_says_it(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["agreement", "--dir", str(project), "--json", "-"])
    assert not ended.value.code
    document = json.loads(capsys.readouterr().out)
    assert document["calibration"]["soft"]["n"] == 300
    with pytest.raises(SystemExit):
        main(["agreement", "--dir", str(project)])
    assert "soft: soft verdicts beside 300 choices of people" in capsys.readouterr().out


def test_hard_judges_have_none(tmp_path: Path) -> None:
    with Store(tmp_path / "arena.db", create=True) as store:
        assert calibrations(store) == {}
