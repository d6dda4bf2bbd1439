"""An Ignite handler around an `Evaluator`: `attach(evaluator, trainer, sample, model=model)`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from paragone.integrations.evaluator import Evaluator, Sampler

if TYPE_CHECKING:
    from torch import nn


def attach(evaluator: Evaluator, engine: Any, sample_fn: Sampler, *, model: nn.Module | None = None) -> Any:
    """Evaluate after iterations of an `ignite.engine.Engine`; returns the event handle, whose `remove` ends it."""
    events: Any = importlib.import_module("ignite.engine").Events

    def evaluate(trainer: Any) -> None:
        evaluator.maybe_run(trainer.state.iteration, sample_fn, model=model)

    return engine.add_event_handler(events.ITERATION_COMPLETED(every=evaluator.every), evaluate)
