"""Rows of the table of metrics that look at single samples and their nearest neighbours."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np

from paragone.data.errors import InputError
from paragone.metrics.estimates import Estimate, Metric, Side, features_of, normal_estimate, share_estimate
from paragone.metrics.memorisation import (
    CELLS,
    DUPLICATE_THRESHOLD,
    LEAST_IN_A_CELL,
    c_t,
    near_duplicates,
    training_neighbours,
)
from paragone.metrics.per_sample import rarity
from paragone.metrics.precision_recall import PrecisionRecall, precision_recall

NEIGHBOURS = 3


def _precision(*, reference: Side, generated: Side, training: Side | None = None, seed: int = 0) -> Estimate:
    found = _balls(reference, generated)
    return share_estimate(found.precision, found.n_generated, "reference balls", {"k": found.k})


def _recall(*, reference: Side, generated: Side, training: Side | None = None, seed: int = 0) -> Estimate:
    found = _balls(reference, generated)
    return share_estimate(found.recall, found.n_reference, "generated balls", {"k": found.k})


def _density(*, reference: Side, generated: Side, training: Side | None = None, seed: int = 0) -> Estimate:
    found = _balls(reference, generated)
    standard_error = found.density_deviation / np.sqrt(found.n_generated)
    return normal_estimate(
        found.density, standard_error, {"k": found.k, "interval_given": "reference balls"}, lowest=0.0
    )


def _coverage(*, reference: Side, generated: Side, training: Side | None = None, seed: int = 0) -> Estimate:
    found = _balls(reference, generated)
    return share_estimate(found.coverage, found.n_reference, "generated samples", {"k": found.k})


def _authenticity(
    *, reference: Side | None = None, generated: Side, training: Side | None = None, seed: int = 0
) -> Estimate:
    if training is None:
        raise InputError("authenticity needs the training set of the generator; name it with --training")
    found = training_neighbours(features_of(training, "training"), features_of(generated, "generated"))
    return share_estimate(found.authenticity, len(found.authentic), "training set", {"copied": found.copied})


def _near_duplicates(
    *, reference: Side | None = None, generated: Side, training: Side | None = None, seed: int = 0
) -> Estimate:
    if training is None:
        raise InputError("near_duplicates needs the training set of the generator; name it with --training")
    found = near_duplicates(features_of(training, "training"), features_of(generated, "generated"))
    details = {"threshold": DUPLICATE_THRESHOLD, "count": int(found.sum())}
    return share_estimate(float(found.mean()), len(found), "training set", details)


def _c_t(*, reference: Side | None = None, generated: Side, training: Side | None = None, seed: int = 0) -> Estimate:
    """Data copying, with the reference as held-out data. The interval is that of a generator that copies nothing."""
    if training is None:
        raise InputError("c_t needs the training set of the generator; name it with --training")
    if reference is None:
        raise InputError("c_t needs a reference that the generator was not trained on")
    sides = {"training": training, "reference": reference, "generated": generated}
    found = c_t(*(features_of(side, name) for name, side in sides.items()), seed=seed)
    cells = [{"n_reference": cell.n_held_out, "n_generated": cell.n_generated, "z": cell.z} for cell in found.cells]
    return normal_estimate(found.value, found.standard_error, {"cells": cells, "reference_is": "held-out data"})


def _rarity(*, reference: Side, generated: Side, training: Side | None = None, seed: int = 0) -> Estimate:
    """Mean rarity of the generated samples that lie in a reference ball."""
    found = rarity(features_of(reference, "reference"), features_of(generated, "generated"), k=NEIGHBOURS)
    inside = found[np.isfinite(found)]
    if len(inside) < 2:
        raise InputError(f"rarity: {len(inside)} of {len(found)} generated samples lie in a reference ball; need 2")
    details = {"k": NEIGHBOURS, "inside": len(inside) / len(found), "interval_given": "reference balls"}
    return normal_estimate(float(inside.mean()), inside.std(ddof=1) / np.sqrt(len(inside)), details, lowest=0.0)


# ---- Shared --------------------------------------------------------------------------------------------------------

_BALLS: WeakKeyDictionary[Side, WeakKeyDictionary[Side, PrecisionRecall]] = WeakKeyDictionary()


def _balls(reference: Side, generated: Side) -> PrecisionRecall:
    """The four numbers of `precision_recall`, computed once for two sides for as long as both live."""
    of_reference = _BALLS.setdefault(reference, WeakKeyDictionary())
    if generated not in of_reference:
        of_reference[generated] = precision_recall(
            features_of(reference, "reference"), features_of(generated, "generated"), k=NEIGHBOURS
        )
    return of_reference[generated]


ROWS = (
    Metric("precision", "Precision", True, frozenset({"features"}), NEIGHBOURS + 1, _precision),
    Metric("recall", "Recall", True, frozenset({"features"}), NEIGHBOURS + 1, _recall),
    Metric("density", "Density", True, frozenset({"features"}), NEIGHBOURS + 1, _density),
    Metric("coverage", "Coverage", True, frozenset({"features"}), NEIGHBOURS + 1, _coverage),
    Metric("rarity", "Rarity", True, frozenset({"features"}), NEIGHBOURS + 1, _rarity),
    Metric("authenticity", "Authenticity", True, frozenset({"features", "training"}), 2, _authenticity),
    Metric("near_duplicates", "Near duplicates", False, frozenset({"features", "training"}), 2, _near_duplicates),
    Metric("c_t", "C_T", True, frozenset({"features", "training", "reference"}), CELLS * LEAST_IN_A_CELL, _c_t),
)
