"""The full demo's models of pictures: their runs leave what they promise, and their cards say what is true."""

from pathlib import Path

import pytest
import torch

from paragone.data.digits import PROMPTS
from paragone.data.generators.runner import requests_for
from paragone.demo.contestants import Contestant
from paragone.demo.full_contestants import CONTESTANTS, RUNS
from paragone.demo.full_settings import FullSettings
from paragone.demo.training import RUNS as DEFAULT_RUNS
from paragone.demo.training import next_runs, train

TINY = FullSettings(training_steps=10)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    runs = {**{name: DEFAULT_RUNS[name] for name in ("flow-matching", "ddpm")}, **RUNS}
    while names := next_runs(runs, folder, TINY):
        for name in names:
            train(runs[name], folder, TINY)
    return folder


@pytest.mark.parametrize("contestant", CONTESTANTS, ids=lambda contestant: contestant.card.name)
def test_a_contestant_answers_and_its_card_is_true(contestant: Contestant, models: Path) -> None:
    card = contestant.card
    model = contestant.build(card.name, models, TINY)
    assert model.name == card.name
    assert model.task is contestant.task
    networks = [part for part in vars(model).values() if isinstance(part, torch.nn.Module)]
    assert sum(value.numel() for part in networks for value in part.parameters()) == card.parameters
    calls = []
    main = networks[-1]  # of a latent model the autoencoder comes first
    main.register_forward_hook(lambda *_: calls.append(1))
    answers = list(model.generate(requests_for(PROMPTS[:2], seeds=[0])))
    assert [answer.image.shape for answer in answers if answer.image is not None] == [(8, 8), (8, 8)]
    assert len(calls) == contestant.calls
    assert card.space == ("latent" if len(networks) == 2 else "pixel")


def test_names_are_their_own() -> None:
    names = [contestant.card.name for contestant in CONTESTANTS]
    assert len(set(names)) == len(names)
    assert not set(RUNS) & set(DEFAULT_RUNS)
