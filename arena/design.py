"""Logistic regression of votes on model differences and covariates: the design, its blocks, and damped Newton.

A row has d = θ_i − θ_j + zᵀγ and n votes with s wins of i (a tie is half a win). Rating columns are never built: their
block of the information is a graph Laplacian, and all sums over rows go through the K pairs of models that met.
Parameters are β = (θ, γ), P = M + F of them, in natural units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.linalg import pinv
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.sparse import csr_array, hstack
from scipy.special import expit, log_expit

from paragone.arena.likelihood import LONG_STEP, MAX_HALVINGS, SHORT_STEP, Pairs
from paragone.arena.votes import FloatArray, IntArray, scatter
from paragone.data.errors import NotIdentifiable

MAX_STEPS = 60
UNBOUNDED = 30.0  # natural units per root mean square of a covariate; e^30 to 1 is separation, not a preference
COLLINEAR = 1e-9  # share of a covariate's variation that the ratings and the covariates before it must leave


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """Which models meet, under which covariates."""

    pairs: Pairs  # M models, K pairs
    pair: IntArray  # [R] the pair of each row
    z: FloatArray  # [R, F] covariates, i minus j
    names: tuple[str, ...] = ()  # [F]

    @property
    def size(self) -> int:
        """P = M + F."""
        return self.pairs.n_models + int(self.z.shape[1])

    def differences(self, beta: FloatArray) -> FloatArray:
        """[R, ...] d of β [P, ...]."""
        m = self.pairs.n_models
        difference = self.pairs.differences(beta[:m])[self.pair]
        return difference + self.z @ beta[m:] if self.z.shape[1] else difference

    def gradient(self, by_difference: FloatArray) -> FloatArray:
        """[P] gradient by β from the gradient [R] by d."""
        return np.concatenate([self.pairs.gradient(self._by_pair(by_difference)), self.z.T @ by_difference])

    def products(self, weight: FloatArray) -> FloatArray:
        """[P, P] sum over rows of weight·x xᵀ, where x holds +1 at i, −1 at j, and z."""
        weighted = self.z * weight[:, None]
        borders = [self.pairs.gradient(self._by_pair(column)) for column in weighted.T]
        border = np.stack(borders, axis=1) if borders else np.zeros((self.pairs.n_models, 0))
        laplacian = self.pairs.laplacian(self._by_pair(weight))
        return np.block([[laplacian, border], [border.T, weighted.T @ self.z]])

    def matrix(self) -> csr_array:
        """[R, P] the design itself, sparse in the rating columns."""
        return csr_array(hstack([self.pairs.incidence()[self.pair], csr_array(self.z)]))

    def _by_pair(self, value: FloatArray) -> FloatArray:
        return scatter(self.pair, value, self.pairs.i.size)


def fit_logistic(
    design: Design,
    n: FloatArray,  # [R] weight of the votes of each row
    s: FloatArray,  # [R] wins of i among them
    *,
    precision: FloatArray,  # [P] of a Gaussian prior around `centre`
    tolerance: float,  # natural units: the largest last step
    start: FloatArray,  # [P]
    centre: FloatArray | None = None,  # [P] 0 by default
) -> tuple[FloatArray, FloatArray]:
    """β [P] at the maximum and the information [P, P] there; raises `NotIdentifiable` when Newton does not settle."""
    mean = np.zeros(design.size) if centre is None else centre

    def objective(beta: FloatArray, d: FloatArray) -> float:
        return float(s @ d + n @ log_expit(-d) - 0.5 * (precision @ (beta - mean) ** 2))

    beta, d = start, design.differences(start)
    value = objective(beta, d)
    for _ in range(MAX_STEPS):
        p = expit(d)
        gradient = design.gradient(s - n * p) - precision * (beta - mean)
        information = information_matrix(design, n * p * expit(-d), precision)
        try:
            step = cho_solve(cho_factor(information), gradient)
        except LinAlgError:
            break
        longest = float(np.abs(step).max(initial=0.0))
        length = min(1.0, LONG_STEP / max(longest, LONG_STEP))
        for _ in range(MAX_HALVINGS):
            moved = beta + length * step
            d = design.differences(moved)
            short = length * longest < SHORT_STEP
            reached = value if short else objective(moved, d)
            if reached >= value:
                break
            length /= 2
        beta, value = moved, reached
        if longest < tolerance:
            return beta, information
        if np.abs(beta[design.pairs.n_models :]).max(initial=0.0) > UNBOUNDED:
            break
    raise NotIdentifiable(_no_bound(design, beta))


def _no_bound(design: Design, beta: FloatArray) -> str:
    gamma = np.abs(beta[design.pairs.n_models :])
    if not gamma.size:
        return f"the ratings did not settle within {MAX_STEPS} Newton steps; collect more votes, or give a prior"
    return (
        f"the coefficient of the covariate {design.names[int(gamma.argmax())]!r} has no bound: with the ratings it "
        "explains every vote that it bears on; collect more votes, leave it out, or give a ridge"
    )


def collinear(design: Design, n: FloatArray) -> str:
    """Names the first covariate that the ratings and the covariates before it determine, "" when there is none."""
    products, m = design.products(n), design.pairs.n_models
    border = products[:m, m:]
    left = products[m:, m:] - border.T @ pinv(products[:m, :m]) @ border
    total = np.diag(products)[m:]
    for k, name in enumerate(design.names):
        if left[k, k] < COLLINEAR * total[k]:
            return f"covariate {name!r} does not vary within any pair of models, so it cannot be told from the ratings"
        if left[k, k] - left[k, :k] @ pinv(left[:k, :k]) @ left[:k, k] < COLLINEAR * total[k]:
            return f"covariate {name!r} follows from the ratings and the covariates {', '.join(design.names[:k])}"
    return ""


def information_matrix(design: Design, weight: FloatArray, precision: FloatArray) -> FloatArray:
    """[P, P] minus the Hessian; where θ has no prior, the constant direction gets a curvature too."""
    matrix, m = design.products(weight), design.pairs.n_models
    matrix[np.diag_indices(design.size)] += precision
    if not precision[:m].any():
        matrix[:m, :m] += np.trace(matrix[:m, :m]) / m**2
    return matrix
