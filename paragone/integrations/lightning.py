"""A Lightning callback around an `Evaluator`.

trainer = Trainer(callbacks=[evaluator_callback(evaluator, lambda module, n: module.sample(n))])
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from paragone.integrations.evaluator import Evaluator


def evaluator_callback(evaluator: Evaluator, sample_fn: Callable[[Any, int], Any]) -> Any:
    """A `lightning.pytorch.Callback` that evaluates after training batches; `sample_fn(module, n)` makes pictures."""
    callback: Any = importlib.import_module("lightning.pytorch").Callback
    done = -1

    def on_train_batch_end(self: Any, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        nonlocal done
        step = trainer.global_step
        if step == done:  # batches of one accumulated step
            return
        done = step
        evaluator.maybe_run(step, lambda n: sample_fn(module, n), model=module)

    made: Any = type("EvaluatorCallback", (callback,), {"on_train_batch_end": on_train_batch_end})
    return made()
