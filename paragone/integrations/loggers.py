"""Where an evaluator's numbers go: any tracker, through three methods.

A number without its interval and n is half a number, so a logger is told all three. Those here take the
tracker's own object (a W&B run, a TensorBoard writer, the mlflow module), so that paragone imports none of them.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

COLUMNS = ("step", "metric", "value", "low", "high", "n")


class MetricLogger(Protocol):
    """What an `Evaluator` calls for each metric of each evaluation: these three, in this order."""

    def value(self, metric: str, value: float, step: int, /) -> None:
        """The metric's value."""
        ...

    def interval(self, metric: str, low: float, high: float, step: int, /) -> None:
        """Its 95 % interval; not called where there is none."""
        ...

    def n(self, metric: str, count: int, step: int, /) -> None:
        """The number of samples it is of; the last call for a metric."""
        ...


class ScalarLogger:
    """Value, interval and n as scalars called fd, fd/low, fd/high and fd/n, through `log(name, value, step)`."""

    def __init__(self, log: Callable[[str, float, int], Any], *, separator: str = "/") -> None:
        self._log, self._separator = log, separator

    def value(self, metric: str, value: float, step: int, /) -> None:
        """One scalar."""
        self._log(metric, value, step)

    def interval(self, metric: str, low: float, high: float, step: int, /) -> None:
        """Two scalars."""
        self._log(f"{metric}{self._separator}low", low, step)
        self._log(f"{metric}{self._separator}high", high, step)

    def n(self, metric: str, count: int, step: int, /) -> None:
        """One scalar."""
        self._log(f"{metric}{self._separator}n", count, step)


def wandb_logger(run: Any) -> ScalarLogger:
    """Weights & Biases: `wandb_logger(wandb.init(…))`. Steps are the run's own."""
    return ScalarLogger(lambda name, value, step: run.log({name: value}, step=step))


def tensorboard_logger(writer: Any) -> ScalarLogger:
    """TensorBoard: `tensorboard_logger(SummaryWriter(…))`."""
    return ScalarLogger(writer.add_scalar)


def mlflow_logger(mlflow: Any) -> ScalarLogger:
    """MLflow: `mlflow_logger(mlflow)`, the module, inside an active run; names are fd.low …, for stores of files."""
    return ScalarLogger(lambda name, value, step: mlflow.log_metric(name, value, step=step), separator=".")


class CsvLogger:
    """A .csv file with one row a metric and step, complete after every evaluation."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._row: dict[str, Any] = {}

    def value(self, metric: str, value: float, step: int, /) -> None:
        """Begin a row."""
        self._row = {"step": step, "metric": metric, "value": value}

    def interval(self, metric: str, low: float, high: float, step: int, /) -> None:
        """Its interval."""
        self._row |= {"low": low, "high": high}

    def n(self, metric: str, count: int, step: int, /) -> None:
        """End the row and write it."""
        self._row["n"] = count
        is_new = not self._path.is_file()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(self._row)
