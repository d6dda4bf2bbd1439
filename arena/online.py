"""Bradley-Terry ratings that follow the votes one by one, each time the exact fit of all votes so far.

A vote changes two numbers of the gradient, so the last ratings are nearly right, and the last Hessian is too: chord
steps with its Cholesky factor reach the new maximum in O(M²) each, and it is factorised anew only when they grow slow
(Shamanskii, Ukrainian Mathematical Journal 19, 1967). Elo, by contrast, forgets: its ratings depend on the order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from paragone.arena.bradley_terry import BradleyTerry
from paragone.arena.gauge import TOLERANCE, FitOptions, gauge_of, parameters_of
from paragone.arena.likelihood import check_identified, information_matrix, maximise, pairs_of
from paragone.arena.ratings import Anchor, Ratings, check_model
from paragone.arena.votes import BOTH_BAD, OUTCOMES, TIE, BothBad, Cells, FloatArray, IntArray
from paragone.data.errors import UsageError
from paragone.data.records import Winner

SETTLED = 1e-11  # natural units: the last chord step
CHORD_STEPS = 20
MANY_STEPS = 6  # after so many the next fit begins with a new factor
SLOW = 0.3  # a step this much of the one before it asks for a new factor at once


class OnlineBradleyTerry:
    """Counts of votes, and the ratings they had when last asked for."""

    def __init__(
        self,
        models: Sequence[str],
        *,
        scale: float = 400.0,
        base: float = 10.0,
        initial: float = 1000.0,
        anchor: Anchor = None,
        both_bad: BothBad = "tie",
        prior: float | None = None,
    ) -> None:
        """No votes yet; `fit_bradley_terry` explains the options."""
        if len(set(models)) != len(models):
            raise UsageError("a model is named twice")
        self._options = FitOptions("none", 0, 0, None, scale, base, initial, anchor, both_bad, prior)
        self.models = tuple(sorted(models))
        self._gauge = gauge_of(self._options, self.models)
        size = len(models)
        self._index = {model: k for k, model in enumerate(self.models)}
        self._counts: IntArray = np.zeros((len(OUTCOMES), size, size), np.int64)  # the row index below the column's
        self._met = np.zeros((size, size))  # votes of each pair, symmetric, without both_bad when it is dropped
        self._won = np.zeros(size)  # wins + ties/2
        self._theta: FloatArray | None = None  # of the last fit
        self._factor: tuple[FloatArray, bool] | None = None
        self._warnings: tuple[str, ...] = ()
        self._stale = True

    @classmethod
    def from_cells(
        cls,
        cells: Cells,
        *,
        scale: float = 400.0,
        base: float = 10.0,
        initial: float = 1000.0,
        anchor: Anchor = None,
        both_bad: BothBad = "tie",
        prior: float | None = None,
    ) -> OnlineBradleyTerry:
        """Begin with votes that were counted before; raises `UsageError` when they are weighted or clustered."""
        if cells.weighted or cells.cluster is not None:
            raise UsageError("ratings can follow only votes that count once each; fold the votes without weights")
        online = cls(
            cells.models, scale=scale, base=base, initial=initial, anchor=anchor, both_bad=both_bad, prior=prior
        )
        for outcome in range(len(OUTCOMES)):
            online._count(cells.i, cells.j, outcome, cells.n[outcome])
        return online

    def add(self, model_a: str, model_b: str, winner: str, *, count: int = 1) -> None:
        """Count a vote, or several alike; raises `UsageError` on an unknown model and `UnknownOutcome`."""
        for model in (model_a, model_b):
            check_model(model, self.models)
        if model_a == model_b:
            raise UsageError(f"{model_a!r} is on both sides; a model cannot meet itself")
        if count < 1:
            raise UsageError(f"count={count}: give a number of votes above 0")
        outcome = OUTCOMES.index(Winner.parse(winner))
        i, j = self._index[model_a], self._index[model_b]
        if i > j:
            i, j, outcome = j, i, 1 - outcome if outcome < TIE else outcome
        self._count(np.array([i]), np.array([j]), outcome, np.array([count]))

    def _count(self, i: IntArray, j: IntArray, outcome: int, n: IntArray) -> None:
        np.add.at(self._counts[outcome], (i, j), n)
        if outcome == BOTH_BAD and self._options.both_bad == "drop":
            return
        np.add.at(self._met, (i, j), n)
        np.add.at(self._met, (j, i), n)
        share = (1.0, 0.0, 0.5, 0.5)[outcome]
        np.add.at(self._won, i, share * n)
        np.add.at(self._won, j, (1 - share) * n)
        self._stale = True

    def cells(self) -> Cells:
        """All votes so far, `both_bad` apart, as `fit_bradley_terry` and the other raters take them."""
        i, j = np.nonzero(self._counts.sum(axis=0))
        n = self._counts[:, i, j]
        weight = n.astype(np.float64)
        return Cells(self.models, i.astype(np.int64), j.astype(np.int64), n, weight, weight)

    def theta(self) -> FloatArray:
        """[M] strengths in natural units, of mean 0 unless a prior holds them; `NotIdentifiable` where they have none.

        Votes are only ever added, so ratings that exist once exist from then on.
        """
        if self._stale or self._theta is None:
            theta = None if self._theta is None or self._warnings else self._follow(self._theta)
            self._theta = self._fit() if theta is None else theta
            self._stale = False
        return self._theta.copy()

    def ratings(self) -> Ratings:
        """What `fit_bradley_terry(online.cells(), ci="none")` gives; for intervals give it the cells."""
        rating = self._gauge.ratings(self.theta())
        cells = self.cells().settle(self._options.both_bad)
        parameters = parameters_of(self._options, self.models)
        return Ratings.assemble(cells, rating, method="bradley-terry", parameters=parameters, warnings=self._warnings)

    def _fit(self) -> FloatArray:
        """From nothing, by damped Newton."""
        cells, options = self.cells().settle(self._options.both_bad), self._options
        self._warnings = check_identified(cells, ties=False, prior=options.prior is not None)
        tolerance = TOLERANCE / options.points
        fit = maximise(
            BradleyTerry(), pairs_of(cells), cells.weight[:BOTH_BAD], tolerance=tolerance, precision=options.precision
        )
        self._factor = cho_factor(fit.information)
        return fit.theta

    def _follow(self, theta: FloatArray) -> FloatArray | None:
        """[M] by chord steps from the last ratings; None when they do not settle even with a new factor."""
        for fresh in (False, True):
            try:
                if fresh or self._factor is None:
                    self._factor = cho_factor(self._information(theta))
            except LinAlgError:
                return None
            reached, steps = self._chord(theta, self._factor)
            if reached is not None:
                if steps > MANY_STEPS:
                    self._factor = None
                return reached
        return None

    def _chord(self, theta: FloatArray, factor: tuple[FloatArray, bool]) -> tuple[FloatArray | None, int]:
        last = np.inf
        for steps in range(1, CHORD_STEPS + 1):
            expected = (self._met * np.tanh((theta[:, None] - theta) / 2)).sum(axis=1) / 2 + self._met.sum(axis=1) / 2
            step = cho_solve(factor, self._won - expected - self._options.precision * theta)
            length = float(np.abs(step).max())
            if not length < max(SLOW * last, SETTLED):
                return None, steps
            theta, last = theta + step, length
            if length < SETTLED:
                return theta if self._options.precision else theta - theta.mean(), steps
        return None, CHORD_STEPS

    def _information(self, theta: FloatArray) -> FloatArray:
        cells = self.cells().settle(self._options.both_bad)
        return information_matrix(
            BradleyTerry(),
            pairs_of(cells),
            cells.weight[:BOTH_BAD],
            theta,
            -np.inf,
            precision=self._options.precision,
        )
