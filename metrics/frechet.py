"""Fréchet distance between Gaussians fitted to features (Heusel et al. 2017, arXiv:1706.08500, eq. 6).

FD = |μ₁ - μ₂|² + tr Σ₁ + tr Σ₂ - 2 ‖F₁ F₂ᵀ‖_*, for any factors Σ = FᵀF. No matrix square root is taken: the nuclear
norm comes from the symmetric spectrum of LᵀΣL where both covariances have a Cholesky factor L, otherwise from the
singular values of the factors themselves, which are exact for fewer samples than dimensions; those of a large F₁ F₂ᵀ
are first sought as roots of eigenvalues, at a third of the cost, and kept if a bound of what that loses allows it.
Every value carries a bound of its rounding error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray
from scipy.linalg.blas import dsyrk, dtrmm
from scipy.linalg.lapack import dsygst

from paragone.data.errors import InputError, NotComparable, TooFewSamples
from paragone.metrics.feature_statistics import (
    FeatureStatistics,
    ForeignStatistics,
    Rows,
    Statistics,
    as_rows,
    refuse_different_features,
)

Array = NDArray[np.float64]
Method = Literal["cholesky", "features", "factors", "eigenvectors"]
EPS = float(np.finfo(np.float64).eps)
ROOTS_FROM = 128  # rows of F₁ F₂ᵀ; the singular values of fewer cost next to nothing
ROOTS_BOUND = 1e-6  # of the distance: the largest `numeric_bound` with which roots of eigenvalues are kept


@dataclass(frozen=True, slots=True)
class FrechetEstimate:
    """A Fréchet distance that says how it was computed and how sure it is. Units: the features' squared.

    `numeric_bound` bounds the rounding error of the value for the given statistics. `method` names where the singular
    values come from: "cholesky", from the spectrum of a product of full rank, otherwise from factors of the two sides:
    "eigenvectors" if one of them is by eigenvectors, "features" if one is the features themselves, "factors" if both
    are by Cholesky. The standard errors (influence function, first order) are those of one side's sampling; None where
    features are missing or n ≤ D. No interval covers the upward bias of an FD at finite n.
    """

    value: float
    mean_term: float
    covariance_term: float
    numeric_bound: float
    method: Method
    dim: int
    n_reference: int | None
    n_generated: int | None
    standard_error_reference: float | None = None
    standard_error_generated: float | None = None

    @property
    def standard_error(self) -> float | None:
        """Both sides' standard errors in quadrature; None unless both are known."""
        if self.standard_error_reference is None or self.standard_error_generated is None:
            return None
        return float(np.hypot(self.standard_error_reference, self.standard_error_generated))


class FrechetInfluence(NamedTuple):
    """What each sample adds to the distance, to first order: n times its influence function. Means are zero."""

    reference: Array | None  # [N]
    generated: Array | None  # [M]


def frechet_distance(reference: Statistics | ArrayLike, generated: Statistics | ArrayLike) -> float:
    """Fréchet distance of two sets, each given as statistics or as features [N, D]; the latter are exact for N ≤ D too.

    Raises `TooFewSamples` for n < 2, `NotComparable` for different dimensions or tags, `InputError` for unusable
    numbers.
    """
    return frechet_estimate(reference, generated, standard_error=False).value


def frechet_estimate(
    reference: Statistics | ArrayLike,
    generated: Statistics | ArrayLike,
    *,
    reference_features: ArrayLike | None = None,
    generated_features: ArrayLike | None = None,
    standard_error: bool = True,
) -> FrechetEstimate:
    """`frechet_distance` with its rounding bound and, where a side's features are known and n > D, its standard error.

    Features [N, D] may come beside statistics of the same samples, which are then not computed again. The standard
    error takes eigenvectors and two products [N, D] × [D, D] more; `standard_error=False` saves them.
    """
    one, two = _sides(reference, generated, reference_features, generated_features)
    return _measured(one, two, vectors=standard_error and (one.features is not None or two.features is not None))[0]


def frechet_estimate_and_influence(
    reference: Statistics | ArrayLike,
    generated: Statistics | ArrayLike,
    *,
    reference_features: ArrayLike | None = None,
    generated_features: ArrayLike | None = None,
) -> tuple[FrechetEstimate, FrechetInfluence]:
    """`frechet_estimate` and `frechet_influence` of one decomposition; raises as the latter does."""
    one, two = _sides(reference, generated, reference_features, generated_features)
    estimate, influence = _measured(one, two, vectors=True)
    if influence.reference is None and influence.generated is None:
        raise TooFewSamples(
            "the influence of samples needs features, and covariances of full rank on both sides (n > D)"
        )
    return estimate, influence


def frechet_influence(
    reference: Statistics | ArrayLike,
    generated: Statistics | ArrayLike,
    *,
    reference_features: ArrayLike | None = None,
    generated_features: ArrayLike | None = None,
) -> FrechetInfluence:
    """Influence of every sample whose features are known: sorted, it shows the images that raise the distance most.

    Raises `TooFewSamples` unless features are known and both covariances have full rank, for which each side needs n
    > D.
    """
    return frechet_estimate_and_influence(
        reference, generated, reference_features=reference_features, generated_features=generated_features
    )[1]


def _measured(one: _Gaussian, two: _Gaussian, *, vectors: bool) -> tuple[FrechetEstimate, FrechetInfluence]:
    """The estimate, and the influence of the samples where `vectors` asks for it and the sides allow it."""
    mean_term = float(np.square(one.mean - two.mean).sum())
    traces = float(one.variances.sum() + two.variances.sum())
    overlap = _overlap(one, two, mean_term + traces, vectors=vectors)
    bound = 2 * overlap.error + len(one.mean) * EPS * (traces + mean_term)
    value = mean_term + (traces - 2 * overlap.nuclear_norm)
    if value < -bound:
        raise InputError(
            f"the Fréchet distance came out as {value:.3g}, beyond rounding ({bound:.1g}): a covariance is damaged"
        )
    value = max(value, 0.0)
    influence = _influence(one, two, overlap)
    errors = [None if values is None else _standard_error(values) for values in influence]
    estimate = FrechetEstimate(
        value=value,
        mean_term=mean_term,
        covariance_term=value - mean_term,
        numeric_bound=bound,
        method=overlap.method,
        dim=len(one.mean),
        n_reference=one.n,
        n_generated=two.n,
        standard_error_reference=errors[0],
        standard_error_generated=errors[1],
    )
    return estimate, influence


def _standard_error(influence: Array) -> float:
    return float(influence.std(ddof=1) / np.sqrt(len(influence)))


# ---- The two sides -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Gaussian:
    """One side. `sigma` is missing where there are features of n ≤ D samples: squaring them would only lose digits."""

    name: str
    n: int | None
    mean: Array  # [D]
    variances: Array  # [D], the diagonal of the covariance
    sigma: Array | None  # [D, D]
    features: Rows | None  # [N, D]
    factor: Array | None = None  # [N, D], FᵀF = Σ, in place of a missing sigma


def _sides(
    reference: Statistics | ArrayLike,
    generated: Statistics | ArrayLike,
    reference_features: ArrayLike | None,
    generated_features: ArrayLike | None,
) -> tuple[_Gaussian, _Gaussian]:
    known = (FeatureStatistics, ForeignStatistics)
    if isinstance(reference, known) and isinstance(generated, known):
        refuse_different_features(reference, generated)
    one = _side(reference, reference_features, "reference")
    two = _side(generated, generated_features, "generated")
    if len(one.mean) != len(two.mean):
        raise NotComparable(
            f"reference features have {len(one.mean)} dimensions, generated {len(two.mean)}; use one extractor"
        )
    return one, two


def _side(source: Statistics | ArrayLike, beside: ArrayLike | None, name: str) -> _Gaussian:
    if isinstance(source, FeatureStatistics | ForeignStatistics):
        features = None if beside is None else as_rows(beside, name=f"{name} features")
        statistics = source
    else:
        features = as_rows(source, name=f"{name} features")
        n, dim = features.shape
        if n <= dim:
            return _side_of_few(features, name)
        statistics = FeatureStatistics.from_features(features)
    if statistics.n is not None and statistics.n < 2:
        raise TooFewSamples(f"{name}: a Fréchet distance needs at least 2 samples a side; there are {statistics.n}")
    if features is not None and features.shape != (statistics.n or len(features), statistics.dim):
        raise InputError(
            f"{name}: features {features.shape} are not those of the statistics ({statistics.n}, {statistics.dim})"
        )
    if features is not None and len(features) <= statistics.dim:
        return _side_of_few(features, name)
    sigma = statistics.covariance(ddof=1)
    return _Gaussian(name, statistics.n, statistics.mean, sigma.diagonal(), sigma, features)


def _side_of_few(features: Rows, name: str) -> _Gaussian:
    n = len(features)
    if n < 2:
        raise TooFewSamples(f"{name}: a Fréchet distance needs at least 2 samples a side; there are {n}")
    with np.errstate(over="ignore", invalid="ignore"):
        mean = features.mean(axis=0, dtype=np.float64)
        factor = features - mean  # float64
        refinement = factor.mean(axis=0)  # so that a constant column has no variance
        factor -= refinement
        factor /= np.sqrt(n - 1)
        variances = np.einsum("nd,nd->d", factor, factor)
    if not np.isfinite(variances).all():
        raise InputError(f"{name}: features beyond 1e150 overflow when they are squared")
    return _Gaussian(name, n, mean + refinement, variances, None, features, factor)


# ---- ‖F₁ F₂ᵀ‖_* ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Transport:
    """Eigenvalues and eigenvectors of LᵀΣL, with L the Cholesky factor of one side: all that the optimal map needs."""

    eigenvalues: Array  # [P]
    eigenvectors: Array  # [P, P]
    lower: Array  # [P, P]
    of_reference: bool  # is L that of the reference


@dataclass(frozen=True, slots=True)
class _Overlap:
    nuclear_norm: float
    error: float  # bound of its rounding error
    method: Method
    support: NDArray[np.intp]  # [P] dimensions that vary on both sides
    transport: _Transport | None = None


def _overlap(one: _Gaussian, two: _Gaussian, others: float, *, vectors: bool) -> _Overlap:
    """The nuclear norm by the best method the two sides allow; `others` are the other terms of the distance.

    A dimension that is constant on either side adds nothing to it and is left out, exactly.
    """
    support = np.flatnonzero((one.variances > 0) & (two.variances > 0))
    if support.size == 0:
        return _Overlap(0.0, 0.0, "cholesky", support)
    of_reference = _evenness(one, support) >= _evenness(two, support)
    side, other = (one, two) if of_reference else (two, one)
    lower = _cholesky(side, support)
    if lower is not None and _may_have_full_rank(other, support):
        overlap = _overlap_by_cholesky(lower, other, of_reference, support, vectors=vectors)
        if overlap is not None:
            return overlap
    lowers = [lower if each is side else _cholesky(each, support) for each in (one, two)]
    factors = [_factor(side, lower, support) for side, lower in zip((one, two), lowers, strict=True)]
    return _overlap_of_factors(factors[0], factors[1], others, support)


def _overlap_of_factors(one: _Factor, two: _Factor, others: float, support: NDArray[np.intp]) -> _Overlap:
    """‖F₁ F₂ᵀ‖_* from the product itself."""
    if len(one.rows) > len(two.rows):
        one, two = two, one
    product = one.rows @ two.rows.T
    norms = [float(np.linalg.norm(factor.rows)) for factor in (one, two)]
    error = np.sqrt(len(product)) * support.size * EPS * norms[0] * norms[1]
    error += one.slack * norms[1] + two.slack * norms[0]
    method = next(method for method in _METHODS if method in (one.method, two.method))
    if len(product) >= ROOTS_FROM and 1e-140 < norms[0] * norms[1] < 1e140:  # its square is a number, too
        norm, lost = _nuclear_norm_by_roots(product, centred=one.method == "features")
        if 2 * (error + lost) <= ROOTS_BOUND * (others - 2 * norm):
            return _Overlap(norm, float(error + lost), method, support)
    singular = scipy.linalg.svdvals(product, overwrite_a=True, check_finite=False)
    return _Overlap(float(singular.sum()), float(error), method, support)


def _nuclear_norm_by_roots(product: Array, *, centred: bool) -> tuple[float, float]:
    """Σ √λ over the spectrum λ of MMᵀ, M [N, R] with N ≤ R, and a bound of what squaring loses of it.

    The computed λ are those of a matrix that is off by E, so Σ (λ - λ')² ≤ |E|² in order of size (Hoffman & Wielandt
    1953), and |√λ - √λ'| ≤ √|λ - λ'|, or less: |λ - λ'| / (√λ + √λ'), which Cauchy-Schwarz sums. R roundings add up
    like √R (Higham & Mary 2019, SIAM J. Sci. Comput. 41, with λ = 2), and as much is granted to the eigensolver. The
    rows of M add up to zero if they are `centred`: the least λ is then known to be zero.
    """
    gram = dsyrk(1.0, product.T, trans=1, lower=1)
    noise = 2 * np.sqrt(product.shape[1]) * EPS * float(gram.trace())  # |E|
    eigenvalues = scipy.linalg.eigh(gram, eigvals_only=True, overwrite_a=True, check_finite=False, driver="evd")
    if centred:
        eigenvalues = eigenvalues[1:]
    large = eigenvalues > 4 * noise  # √λ' is then 0.86 √λ at least
    lost = 0.54 * noise * float(np.sqrt((1 / eigenvalues[large]).sum())) + int((~large).sum()) * float(np.sqrt(noise))
    return float(np.sqrt(np.maximum(eigenvalues, 0)).sum()), lost


def _cholesky(side: _Gaussian, support: NDArray[np.intp]) -> Array | None:
    """Lower factor [P, P] of the covariance on `support`; None unless its rank is beyond doubt."""
    if not _may_have_full_rank(side, support):
        return None
    assert side.sigma is not None
    sigma = _restricted(side.sigma, support)
    try:
        lower = scipy.linalg.cholesky(sigma, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return None
    pivots = np.square(lower.diagonal())
    return lower if pivots.min() > support.size * EPS * sigma.diagonal().max() else None


def _may_have_full_rank(side: _Gaussian, support: NDArray[np.intp]) -> bool:
    return side.sigma is not None and (side.n is None or side.n > support.size)


def _restricted(sigma: Array, support: NDArray[np.intp]) -> Array:
    return sigma if len(sigma) == support.size else sigma[np.ix_(support, support)]


def _overlap_by_cholesky(
    lower: Array, other: _Gaussian, of_reference: bool, support: NDArray[np.intp], *, vectors: bool
) -> _Overlap | None:
    """Σ √λ over the spectrum λ of LᵀΣL, which is that of Σ₁Σ₂, L being one side's factor and Σ the other covariance.

    None where the smallest λ is lost in rounding: the other side's rank is then in doubt.
    """
    assert other.sigma is not None
    # A symmetric matrix is its own transpose: as such it lies in memory the way LAPACK wants it.
    product, _ = dsygst(_restricted(other.sigma, support).T, lower, itype=2, lower=1)
    transport = None
    if vectors:
        eigenvalues, eigenvectors = scipy.linalg.eigh(product, overwrite_a=True, check_finite=False, driver="evd")
        transport = _Transport(eigenvalues, eigenvectors, lower, of_reference)
    else:
        eigenvalues = scipy.linalg.eigh(product, eigvals_only=True, overwrite_a=True, check_finite=False, driver="evd")
    noise = support.size * EPS * float(eigenvalues[-1])
    if eigenvalues[0] <= noise:
        return None
    roots = np.sqrt(eigenvalues)
    return _Overlap(float(roots.sum()), _error_of_roots(roots, noise), "cholesky", support, transport)


def _evenness(side: _Gaussian, support: NDArray[np.intp]) -> float:
    """Smallest over largest variance: the factor of the more even side loses less."""
    variances = side.variances[support]
    return float(variances.min() / variances.max())


def _error_of_roots(roots: Array, noise: float) -> float:
    """Bound of the error of Σ √λ when every λ = root² may be off by `noise`."""
    at_most = np.full(len(roots), np.sqrt(noise))
    large = roots > np.sqrt(noise) / 2
    at_most[large] = noise / (2 * roots[large])
    return float(at_most.sum())


class _Factor(NamedTuple):
    rows: Array  # F [R, P] with FᵀF = Σ on the support
    method: Method
    slack: float = 0.0  # bound of the error that it brings; zero unless Σ lost rank


_METHODS: tuple[Method, ...] = ("eigenvectors", "features", "factors")  # what is worth telling, first


def _factor(side: _Gaussian, lower: Array | None, support: NDArray[np.intp]) -> _Factor:
    if lower is not None:
        return _Factor(lower.T, "factors")
    if side.factor is not None:
        return _Factor(side.factor if len(side.mean) == support.size else side.factor[:, support], "features")
    assert side.sigma is not None
    eigenvalues, vectors = scipy.linalg.eigh(_restricted(side.sigma, support), check_finite=False)
    largest = float(eigenvalues[-1])
    if -eigenvalues[0] > 1e-5 * largest:  # more than float32 storage explains
        raise InputError(
            f"{side.name}: the covariance has the eigenvalue {eigenvalues[0]:.3g}, so it is none; the file is damaged"
        )
    noise = max(support.size * EPS * largest, -float(eigenvalues[0]))
    kept = eigenvalues > noise
    roots = np.sqrt(eigenvalues[kept])
    certainly_zero = 0 if side.n is None else max(0, support.size - (side.n - 1))
    unknown = max(0, int((~kept).sum()) - certainly_zero)
    slack = _error_of_roots(roots, noise) + unknown * float(np.sqrt(noise))
    return _Factor((vectors[:, kept] * roots).T, "eigenvectors", slack)


# ---- Influence -----------------------------------------------------------------------------------------------------


def _influence(one: _Gaussian, two: _Gaussian, overlap: _Overlap) -> FrechetInfluence:
    """Influence functions of the samples on either side.

    With T the optimal map from this side's Gaussian to the other's, a sample at y = x - μ contributes
    2 (μ - μ')ᵀ y + yᵀ (I - T) y, less the mean over the side (the envelope theorem on the Bures distance).
    """
    transport = overlap.transport
    if transport is None:
        return FrechetInfluence(None, None)
    roots = np.sqrt(np.sqrt(transport.eigenvalues))
    # T = W Wᵀ: to the side of L, L M^(-1/2) Lᵀ; from it, L⁻ᵀ M^(1/2) L⁻¹.
    to_lower = dtrmm(1.0, transport.lower, transport.eigenvectors / roots, lower=1)
    from_lower = scipy.linalg.solve_triangular(
        transport.lower, transport.eigenvectors * roots, lower=True, trans="T", check_finite=False
    )
    map_one, map_two = (from_lower, to_lower) if transport.of_reference else (to_lower, from_lower)
    return FrechetInfluence(
        _influence_of_side(one, two.mean, map_one, overlap.support),
        _influence_of_side(two, one.mean, map_two, overlap.support),
    )


def _influence_of_side(
    side: _Gaussian, other_mean: Array, root_of_map: Array, support: NDArray[np.intp]
) -> Array | None:
    if side.features is None:
        return None
    values = np.empty(len(side.features))
    for start in range(0, len(values), 4096):
        y = side.features[start : start + 4096] - side.mean
        mapped = y[:, support] @ root_of_map
        values[start : start + 4096] = (
            2 * y @ (side.mean - other_mean) + np.square(y).sum(axis=1) - np.square(mapped).sum(axis=1)
        )
    values -= values.mean()
    return values
