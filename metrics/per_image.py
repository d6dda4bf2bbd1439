"""Which generated pictures raise the Fréchet distance, and by how much: its influence function, picture by picture.

To first order, FD would be lower by a picture's contribution if the picture counted as an average one does
(Hampel 1974, JASA 69(346), for the influence function; that of FD is in `paragone.metrics.frechet`). Contributions
sum to zero: positive ones pull the generated set away from the reference, negative ones towards it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from paragone.data.errors import TooFewSamples
from paragone.metrics.frechet import frechet_influence

if TYPE_CHECKING:
    from paragone.metrics.measured import Measured


class Contribution(NamedTuple):
    """One generated picture, and what it adds to FD (units of FD; the set's contributions sum to zero)."""

    name: str
    contribution: float


def contributions_of(reference: Measured, generated: Measured) -> tuple[Contribution, ...]:
    """The contribution of every generated picture, greatest first; raises `TooFewSamples` where n > D fails."""
    assert generated.given.pictures is not None
    assert generated.side.features is not None
    influence = frechet_influence(
        reference.side.statistics,
        generated.side.statistics,
        reference_features=reference.side.features,
        generated_features=generated.side.features,
    ).generated
    if influence is None:
        raise TooFewSamples(
            f"{generated.given.origin}: contributions to fd need more pictures than dimensions on both sides, and "
            "features that all vary"
        )
    names = generated.given.pictures.kept_names
    order = np.argsort(-influence, kind="stable")
    return tuple(Contribution(names[index], float(influence[index]) / len(names)) for index in order)
