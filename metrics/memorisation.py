"""Authenticity: which generated samples are copies of training data (Alaa et al. 2022, arXiv:2102.08921).

A generated sample is authentic when it lies farther from its nearest training sample than that one lies from its own
nearest fellow. Samples far from all data are authentic too: read the number beside precision or a distance, never
alone. (Stein et al. 2023, arXiv:2306.04675, call it AuthPct.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paragone.data.errors import NotComparable, TooFewSamples
from paragone.metrics.feature_statistics import as_features
from paragone.metrics.neighbours import nearest, neighbour_distances


@dataclass(frozen=True, slots=True, eq=False)
class TrainingNeighbours:
    """For each of M generated samples, the training sample next to it: rows of a memorisation gallery."""

    nearest: NDArray[np.intp]  # [M], row of the training set; the first of several at the same distance
    distance: NDArray[np.float64]  # [M], to it
    spacing: NDArray[np.float64]  # [M], from it to its nearest other training sample; the largest where several tie
    authentic: NDArray[np.bool_]  # [M], distance > spacing

    @property
    def authenticity(self) -> float:
        """Share of authentic samples, in [0, 1]; 0 for a model that replays its training set."""
        return float(self.authentic.mean())

    @property
    def copied(self) -> float:
        """Share of samples whose features equal those of a training sample, in [0, 1]."""
        return float((self.distance == 0).mean())


def authenticity(training: ArrayLike, generated: ArrayLike) -> float:
    """Share of `generated` [M, D] that is authentic, given `training` [N, D]; errors as for `training_neighbours`."""
    return training_neighbours(training, generated).authenticity


def training_neighbours(training: ArrayLike, generated: ArrayLike) -> TrainingNeighbours:
    """Nearest training sample of each generated one, in float64; raises `TooFewSamples` for N < 2 or M < 1."""
    known, made = as_features(training, name="training"), as_features(generated, name="generated")
    if known.shape[1] != made.shape[1]:
        raise NotComparable(f"training has {known.shape[1]} dimensions, generated {made.shape[1]}; use one extractor")
    if len(known) < 2 or len(made) < 1:
        raise TooFewSamples(
            f"authenticity needs at least 2 training samples and 1 generated; there are {len(known)} and {len(made)}"
        )
    pairs = nearest(made, known)
    hit, where = np.unique(pairs.y, return_inverse=True)
    spacings = neighbour_distances(known, 1, hit)[where]
    starts = np.searchsorted(pairs.x, np.arange(len(made)))
    squared, spacing = pairs.squared[starts], np.maximum.reduceat(spacings, starts)
    return TrainingNeighbours(pairs.y[starts], np.sqrt(squared), np.sqrt(spacing), squared > spacing)
