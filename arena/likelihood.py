"""Maximum likelihood for pairwise outcomes: when it exists, and damped Newton to find it.

An outcome model gives the probabilities of "i wins", "j wins" and "tie" from d = θ_i − θ_j (natural units) and, where
it has one, a tie parameter τ on the whole real line. All models here have a concave log-likelihood in (θ, τ), so Newton
with backtracking reaches the only maximum. The gauge (θ is defined up to a constant) is mean zero. The maximum exists
when the graph of wins is strongly connected (Ford, American Mathematical Monthly 64, 1957).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import NegativeCycleError, bellman_ford, connected_components

from paragone.arena.votes import BOTH_BAD, TIE, WIN_A, WIN_B, Cells, FloatArray, IntArray, scatter
from paragone.data.errors import NotIdentifiable

MAX_STEPS = 200
MAX_HALVINGS = 40
LONG_STEP = 4.0  # natural units; a longer step may land where the likelihood is flat to the last digit
SHORT_STEP = 1e-3  # below it Newton converges by itself, and the objective no longer tells better from worse


class OutcomeModel(Protocol):
    """Log-likelihood of one battle and its derivatives. Outcome axis of all results: i wins, j wins, tie.

    `d` has shape [...] and `tau` broadcasts against it; results have shape [3, ...].
    """

    @property
    def has_tie_parameter(self) -> bool:
        """Whether τ is fitted; a model without it has no second score and only the first curvature."""
        ...

    def log_likelihood(self, d: FloatArray, tau: FloatArray | float) -> FloatArray:
        """The logarithm of the probability of each outcome."""
        ...

    def scores(self, d: FloatArray, tau: FloatArray | float) -> tuple[FloatArray, FloatArray]:
        """First derivatives of the log-likelihood by d and by τ."""
        ...

    def total_score(self, weight: FloatArray, d: FloatArray, tau: FloatArray | float) -> tuple[FloatArray, FloatArray]:
        """The scores summed over the outcomes with their weights [3, ...]: what `scores` gives, in fewer operations.

        Where an outcome is nearly certain it has fewer digits than `scores`.
        """
        ...

    def curvature(self, d: FloatArray, tau: FloatArray | float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Minus the second derivatives: by d twice, by d and τ, by τ twice."""
        ...

    @property
    def without_ties(self) -> OutcomeModel:
        """What the model becomes as τ → −∞; a model without τ is its own."""
        ...

    def start(self, decisive: float, ties: float) -> float:
        """A first guess of τ from the number of decisive votes and of ties, both above 0."""
        ...

    def tie_parameter(self, tau: float) -> float:
        """The tie parameter as its paper has it, from τ."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Which models meet: the design of the regression."""

    n_models: int  # M
    i: IntArray  # [K]
    j: IntArray  # [K]

    def differences(self, theta: FloatArray) -> FloatArray:
        """[K, ...] θ_i − θ_j of [M, ...]."""
        difference: FloatArray = theta[self.i] - theta[self.j]
        return difference

    def incidence(self) -> csr_array:
        """[K, M] +1 at i, −1 at j, so that the gradient by θ is its transpose times the gradient by d."""
        k = np.arange(self.i.size)
        ones = np.ones(self.i.size)
        entries = np.concatenate([ones, -ones]), (np.tile(k, 2), np.concatenate([self.i, self.j]))
        return coo_array(entries, shape=(self.i.size, self.n_models)).tocsr()

    def laplacian(self, weight: FloatArray) -> FloatArray:
        """[M, M] sum over pairs of weight·(e_i − e_j)(e_i − e_j)ᵀ."""
        size = self.n_models
        diagonal = scatter(self.i, weight, size) + scatter(self.j, weight, size)
        pairs = scatter(self.i * size + self.j, weight, size * size).reshape(size, size)
        return np.diag(diagonal) - pairs - pairs.T

    def gradient(self, by_difference: FloatArray) -> FloatArray:
        """[M] gradient by θ from the gradient [K] by d."""
        size = self.n_models
        return scatter(self.i, by_difference, size) - scatter(self.j, by_difference, size)


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A maximum of the likelihood. P = M, or M + 1 with a tie parameter (the last)."""

    theta: FloatArray  # [M] natural units, mean 0
    tau: float  # −∞ where the model has none
    information: FloatArray  # [P, P] minus the Hessian at the maximum, prior included, made regular along the gauge
    steps: int


def maximise(
    model: OutcomeModel,
    pairs: Pairs,
    weight: FloatArray,  # [3, K]
    *,
    tolerance: float,  # natural units: the largest last step
    precision: float = 0.0,  # of a Gaussian prior on each θ
    centre: FloatArray | None = None,  # [M] mean of that prior; None is 0
) -> Fit:
    """Damped Newton; raises `NotIdentifiable` when it does not settle within `MAX_STEPS`."""
    size = pairs.n_models
    mean = np.zeros(size) if centre is None else centre
    theta, tau = np.zeros(size), model.start(float(weight[:TIE].sum()), float(weight[TIE].sum()))

    def objective(theta: FloatArray, tau: float) -> float:
        fit = float((weight * model.log_likelihood(pairs.differences(theta), tau)).sum())
        return fit - 0.5 * precision * float(((theta - mean) ** 2).sum())

    value = objective(theta, tau)
    for steps in range(1, MAX_STEPS + 1):
        information = information_matrix(model, pairs, weight, theta, tau, precision=precision)
        gradient = gradient_vector(model, pairs, weight, theta, tau)
        gradient[:size] -= precision * (theta - mean)
        try:
            step = cho_solve(cho_factor(information), gradient)
        except LinAlgError:
            break
        longest = float(np.abs(step).max())
        length = min(1.0, LONG_STEP / max(longest, LONG_STEP))
        for _ in range(MAX_HALVINGS):
            moved = theta + length * step[:size], tau + length * float(step[size:].sum())
            reached = objective(*moved)
            if reached >= value or length * longest < SHORT_STEP:
                break
            length /= 2
        (theta, tau), value = moved, reached
        if longest < tolerance:
            if precision == 0:
                theta = theta - theta.mean()
            return Fit(theta, tau, information_matrix(model, pairs, weight, theta, tau, precision=precision), steps)
    raise NotIdentifiable(
        f"the ratings did not settle within {MAX_STEPS} Newton steps; collect more votes, or give prior= (--prior SD)"
    )


def information_matrix(
    model: OutcomeModel, pairs: Pairs, weight: FloatArray, theta: FloatArray, tau: float, *, precision: float
) -> FloatArray:
    """[P, P] minus the Hessian; without a prior the constant direction, which it does not see, gets a curvature too."""
    by_d, mixed, by_tau = ((weight * part).sum(axis=0) for part in model.curvature(pairs.differences(theta), tau))
    matrix = pairs.laplacian(by_d)
    if precision:
        matrix[np.diag_indices(pairs.n_models)] += precision
    else:
        matrix += np.trace(matrix) / pairs.n_models**2
    return bordered(matrix, pairs.gradient(mixed), float(by_tau.sum())) if model.has_tie_parameter else matrix


def bordered(matrix: FloatArray, border: FloatArray, corner: float) -> FloatArray:
    """The symmetric matrix with one more row and column."""
    return np.block([[matrix, border[:, None]], [border[None, :], np.array([[corner]])]])


def gradient_vector(model: OutcomeModel, pairs: Pairs, weight: FloatArray, theta: FloatArray, tau: float) -> FloatArray:
    """[P] first derivatives of the log-likelihood, without a prior."""
    by_d, by_tau = model.scores(pairs.differences(theta), tau)
    gradient = pairs.gradient((weight * by_d).sum(axis=0))
    return np.append(gradient, (weight * by_tau).sum()) if model.has_tie_parameter else gradient


def is_identified(pairs: Pairs, weight: FloatArray, *, ties: bool) -> bool:
    """Whether the maximum exists: the graph of wins is strongly connected, and a tie parameter is bounded too."""
    n_groups, _ = connected_components(win_graph(pairs, weight), directed=True, connection="strong")
    return n_groups == 1 and (not ties or not _ties_can_grow(pairs, weight))


def win_graph(pairs: Pairs, weight: FloatArray) -> csr_array:
    """[M, M] an arrow from each winner to whom it beat; a tie is an arrow both ways."""
    won, lost = weight[WIN_A] + weight[TIE] > 0, weight[WIN_B] + weight[TIE] > 0
    tail = np.concatenate([pairs.i[won], pairs.j[lost]])
    head = np.concatenate([pairs.j[won], pairs.i[lost]])
    return coo_array((np.ones(tail.size), (tail, head)), shape=(pairs.n_models, pairs.n_models)).tocsr()


def _ties_can_grow(pairs: Pairs, weight: FloatArray) -> bool:
    """Whether τ → ∞ need not lower the likelihood.

    It need not when some θ puts at least 1 between winner and loser in every win and at most 1 between the two sides of
    every tie, which is so exactly when the graph of these constraints has no negative cycle.
    """
    won, lost, tied = (weight[row] > 0 for row in (WIN_A, WIN_B, TIE))
    if (won & lost).any():
        return False
    bound = np.full((pairs.n_models, pairs.n_models), np.inf)
    bound[pairs.i[tied], pairs.j[tied]] = bound[pairs.j[tied], pairs.i[tied]] = 1.0
    bound[pairs.i[won], pairs.j[won]] = bound[pairs.j[lost], pairs.i[lost]] = -1.0
    tail, head = np.nonzero(np.isfinite(bound))
    graph = coo_array((bound[tail, head], (tail, head)), shape=bound.shape).tocsr()
    try:
        bellman_ford(graph, directed=True)
    except NegativeCycleError:
        return False
    return True


def check_identified(cells: Cells, *, ties: bool, prior: bool) -> tuple[str, ...]:
    """Raise `NotIdentifiable` when `cells` do not determine the ratings; where only a prior does, return a warning.

    `cells` have their `both_bad` settled; `ties` asks for a tie parameter too.
    """
    if cells.n_votes == 0:
        raise NotIdentifiable("there are no votes to rate the models by")
    pairs, weight = pairs_of(cells), cells.weight[:BOTH_BAD]
    problem = islands(cells) or _unbounded(cells)
    if problem and not prior:
        raise NotIdentifiable(f"{problem}; collect more votes, or give a prior (prior=, --prior SD)")
    if ties and not weight[:TIE].any():
        raise NotIdentifiable("every vote is a tie, so the tie parameter has no bound; use bradley-terry")
    if ties and weight[TIE].any() and not prior and _ties_can_grow(pairs, weight):
        raise NotIdentifiable(
            "the tie parameter has no bound: ratings exist that explain every win and every tie; "
            "collect more votes, or use bradley-terry"
        )
    return (f"{problem}; the prior alone keeps these ratings finite",) if problem else ()


def pairs_of(cells: Cells) -> Pairs:
    """The design of `cells`."""
    return Pairs(len(cells.models), cells.i, cells.j)


def islands(cells: Cells) -> str:
    """Names the groups of models that never met, "" when there is one group."""
    graph = win_graph(pairs_of(cells), cells.weight[:BOTH_BAD])
    n_islands, island = connected_components(graph, directed=False)
    if n_islands == 1:
        return ""
    groups = " | ".join(_names(cells.models, np.flatnonzero(island == k)) for k in range(min(n_islands, 4)))
    more = f" | … ({n_islands} groups)" if n_islands > 4 else ""
    return f"the models fall into groups that never met, so they share no scale: {groups}{more}"


def _unbounded(cells: Cells) -> str:
    """Names the groups at the top and at the bottom that nothing holds, "" when there are none."""
    models, graph = cells.models, win_graph(pairs_of(cells), cells.weight[:BOTH_BAD])
    n_groups, group = connected_components(graph, directed=True, connection="strong")
    if n_groups == 1:
        return ""
    tail, head = graph.nonzero()
    across = group[tail] != group[head]
    beaten, beating = np.unique(group[head][across]), np.unique(group[tail][across])
    tops = [_names(models, np.flatnonzero(group == k)) for k in range(n_groups) if k not in beaten]
    bottoms = [_names(models, np.flatnonzero(group == k)) for k in range(n_groups) if k not in beating]
    return (
        f"ratings have no bound: undefeated by all others: {' | '.join(tops)}; "
        f"without a win or tie against any other: {' | '.join(bottoms)}"
    )


def _names(models: tuple[str, ...], members: IntArray) -> str:
    shown = ", ".join(models[m] for m in members[:5])
    return shown if members.size <= 5 else f"{shown}, … ({members.size} models)"
