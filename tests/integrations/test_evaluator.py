"""An evaluation in the middle of training changes no bit of what is trained, and measures what the CLI measures."""

from __future__ import annotations

import csv
import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from paragone.__main__ import main
from paragone.data.errors import InputError, UsageError
from paragone.integrations.evaluator import Evaluator, as_pictures
from paragone.integrations.loggers import CsvLogger, mlflow_logger, tensorboard_logger, wandb_logger
from paragone.integrations.state import undisturbed
from paragone.metrics.recording import gates_of
from paragone.metrics.run_files import read_run, write_run

REFERENCE = np.random.default_rng(0).normal(128, 40, (40, 32, 32)).clip(0, 255).astype(np.uint8)


class Net(nn.Module):
    """A model whose every step depends on random numbers: dropout, noise, batch norm's running mean."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 8))
        self.frozen = nn.BatchNorm1d(8).eval()  # kept in evaluation mode on purpose

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.frozen(self.layers(x))

    def sample(self, n: int) -> torch.Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        noise = torch.randn(n, 1, 32, 32) + self.layers(torch.randn(n, 8)).mean()
        np.random.rand()
        random.random()
        return (128 + 40 * noise).clamp(0, 255).to(torch.uint8)


def trained(steps: int, evaluator: Evaluator | None = None) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Weights after `steps`, and random numbers drawn afterwards."""
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    model = Net()
    model.train()
    model.frozen.eval()
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    for step in range(1, steps + 1):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(torch.randn(16, 8)).square().mean()
            if evaluator is not None:
                evaluator.maybe_run(step, model.sample, model=model)
            assert torch.is_autocast_enabled("cpu")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        assert model.layers[2].training
        assert not model.frozen.training
    after = [float(torch.rand(())), float(np.random.rand()), random.random()]
    return model.state_dict(), after


def evaluator(**options) -> Evaluator:
    return Evaluator(REFERENCE, every=2, n=30, batch_size=12, metrics=("kid", "precision"), **options)


def test_training_goes_on_as_if_nothing_had_been_evaluated(tmp_path: Path) -> None:
    alone, after = trained(4)
    beside, after_beside = trained(4, evaluator(records=tmp_path))
    assert after == after_beside
    assert all(torch.equal(alone[name], beside[name]) for name in alone)
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["step-00000002.json", "step-00000004.json"]


def test_an_error_inside_leaves_nothing_behind() -> None:
    model = Net().train()
    state = torch.get_rng_state()

    def broken() -> None:
        with undisturbed(model):
            torch.rand(3)
            raise RuntimeError("gone")

    with pytest.raises(RuntimeError, match="gone"):
        broken()
    assert model.training
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)


def test_equal_models_give_equal_samples_at_every_step() -> None:
    found = evaluator()
    model = Net().eval()
    one, two = (found.run(step, model.sample, model=model) for step in (1, 7))
    assert one is not None
    assert two is not None
    assert one.run.generated == two.run.generated
    assert found.maybe_run(3, model.sample) is None


def test_a_baseline_is_checked_and_records_are_what_the_command_line_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Net().eval()
    first = evaluator(records=tmp_path / "runs").run(1, model.sample, model=model)
    assert first is not None
    assert first.check is None
    blessed = tmp_path / "baseline.json"
    write_run(replace(first.run, gates=gates_of(first.run, {"kid": "20%"})), blessed)
    again = Evaluator(None, every=1, n=30, batch_size=12, baseline=blessed)
    found = again.run(2, model.sample, model=model)
    assert found is not None
    assert found.check is not None
    assert found.check.verdict == "pass"
    worse = again.run(
        3, lambda n: torch.full((n, 1, 32, 32), 90, dtype=torch.uint8) + torch.arange(n).view(n, 1, 1, 1).byte()
    )
    assert worse is not None
    assert worse.check is not None
    assert worse.check.verdict == "regressed"
    with pytest.raises(SystemExit) as caught:
        main(["check", str(tmp_path / "runs" / "step-00000001.json"), "--baseline", str(blessed), "--json", "-"])
    assert caught.value.code == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "pass"
    assert read_run(blessed).items.keys == first.run.items.keys


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (np.zeros((4, 8, 8)), "uint8"),
        (torch.rand(4, 3, 8, 8), "clamp"),
        (np.zeros((3, 8, 8), np.uint8), "asked for 4"),
        (np.zeros((4, 8), np.uint8), "asked for 4"),
    ],
)
def test_pictures_that_are_none_are_refused(made: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        as_pictures(made, 4)


def test_pictures_of_every_shape_are_taken() -> None:
    assert as_pictures(torch.zeros(4, 3, 8, 9, dtype=torch.uint8), 4).shape == (4, 8, 9, 3)
    assert as_pictures(torch.zeros(4, 1, 8, 9, dtype=torch.uint8), 4).shape == (4, 8, 9)
    assert as_pictures(np.zeros((4, 8, 9, 3), np.uint8), 4).shape == (4, 8, 9, 3)
    with pytest.raises(UsageError, match="every=0"):
        Evaluator(REFERENCE, every=0, n=10)


# ---- Loggers -------------------------------------------------------------------------------------------------------


class Recorder:
    """Stands for a W&B run, a TensorBoard writer and the mlflow module."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, int], float] = {}

    def log(self, values: dict[str, float], step: int) -> None:
        self.seen |= {(name, step): value for name, value in values.items()}

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.seen[name, step] = value

    def log_metric(self, name: str, value: float, step: int) -> None:
        self.seen[name, step] = value


def test_every_tracker_is_told_value_interval_and_n(tmp_path: Path) -> None:
    recorders = [Recorder() for _ in range(3)]
    loggers = [
        make(one) for make, one in zip((wandb_logger, tensorboard_logger, mlflow_logger), recorders, strict=True)
    ]
    found = evaluator(loggers=[*loggers, CsvLogger(tmp_path / "log" / "fd.csv")])
    model = Net().eval()
    for step in (2, 4):
        found.maybe_run(step, model.sample, model=model)
    names = {name for name, _ in recorders[0].seen}
    assert names == {f"{metric}{part}" for metric in ("kid", "precision") for part in ("", "/low", "/high", "/n")}
    assert recorders[0].seen == recorders[1].seen
    assert {(name.replace(".", "/"), step): value for (name, step), value in recorders[2].seen.items()} == recorders[
        0
    ].seen
    with (tmp_path / "log" / "fd.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["metric"], row["n"]) for row in rows] == [
        (step, metric, "30") for step in ("2", "4") for metric in ("kid", "precision")
    ]
    assert float(rows[0]["low"]) < float(rows[0]["value"]) < float(rows[0]["high"])


def test_tensorboard_itself(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        model = Net().eval()
        evaluator(loggers=[tensorboard_logger(writer)]).run(5, model.sample, model=model)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert {"kid", "kid/low", "kid/high", "kid/n"} <= set(events.Tags()["scalars"])
    assert events.Scalars("kid/n")[0].value == 30


# ---- Training libraries --------------------------------------------------------------------------------------------


def test_ignite(tmp_path: Path) -> None:
    engine = pytest.importorskip("ignite.engine")
    from paragone.integrations.ignite import attach

    model = Net()

    def step(trainer: object, batch: torch.Tensor) -> None:
        model.train()
        model(batch)

    trainer = engine.Engine(step)
    attach(evaluator(records=tmp_path), trainer, model.sample, model=model)
    trainer.run([torch.randn(16, 8)] * 5, max_epochs=1)
    assert len(list(tmp_path.glob("*.json"))) == 2
    assert model.layers[2].training


@pytest.mark.filterwarnings("ignore")
def test_lightning(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    from paragone.integrations.lightning import evaluator_callback

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    def weights(*callbacks: object) -> dict[str, torch.Tensor]:
        lightning.seed_everything(1)
        module = Module()
        data = torch.utils.data.TensorDataset(torch.randn(64, 8))
        trainer = lightning.Trainer(
            max_steps=4,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=list(callbacks),
        )
        trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=16, shuffle=True))
        return module.state_dict()

    alone = weights()
    beside = weights(evaluator_callback(evaluator(records=tmp_path), lambda module, n: module.net.sample(n)))
    assert len(list(tmp_path.glob("*.json"))) == 2
    assert all(torch.equal(alone[name], beside[name]) for name in alone)


def test_accelerate(tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    model, optimiser = accelerator.prepare(Net(), torch.optim.SGD(Net().parameters(), 0.1))
    model.train()
    found = evaluator(records=tmp_path)
    for step in range(1, 3):
        with accelerator.autocast():
            loss = model(torch.randn(16, 8)).square().mean()
        accelerator.backward(loss)
        optimiser.step()
        plain = accelerator.unwrap_model(model)
        found.maybe_run(step, plain.sample, model=plain)
    assert len(list(tmp_path.glob("*.json"))) == 1
    assert plain.layers[2].training
