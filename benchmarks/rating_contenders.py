"""Ours and the peers' ratings, each under its public functions, for every case of `benchmarks/ratings.py`.

Run as a program (`rating_contenders.py CASE TOOL FOLDER`) it is one contender, waiting to be told to run; see
`measure.py`. Everybody starts from the same DataFrame of names; `evalica-lists` starts from Python lists of names and
of evalica's own enum, which cost a second that is not counted.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measure import Contender, Numbers, serve

COVARIATES = ["f0", "f1", "f2", "f3"]  # differences a − b
STEPS = 100  # votes of one online run


class Work:
    """The timed call, and the ratings that came out."""

    def __init__(self, work: Callable[[], Numbers]) -> None:
        self._work = work
        self._numbers: Numbers = {}

    def run(self) -> Numbers:
        """The timed work."""
        self._numbers = self._work()
        return self._numbers

    def check(self, peer: str) -> Numbers:
        """The ratings of the last run."""
        return self._numbers


def _votes(folder: Path, n_models: int) -> pd.DataFrame:
    return pd.read_parquet(folder / f"votes-{n_models}.parquet")


def _named(models: Any, ratings: Any) -> Numbers:
    return {str(model): float(rating) for model, rating in zip(models, ratings, strict=True)}


# ---- ours ------------------------------------------------------------------------------------------------------------


def _ours(folder: Path, n: int, **options: Any) -> Contender:
    from paragone.arena import fit_bradley_terry

    votes = _votes(folder, n)[["model_a", "model_b", "winner"]]

    def work() -> Numbers:
        ratings = fit_bradley_terry(votes, **options)
        return _named(ratings.models, ratings.rating)

    return Work(work)


def bt_paragone(folder: Path, n: int) -> Contender:
    return _ours(folder, n, ci="none")


def sandwich_paragone(folder: Path, n: int) -> Contender:
    return _ours(folder, n, ci="sandwich")


def bootstrap_paragone(folder: Path, n: int) -> Contender:
    return _ours(folder, n, ci="bootstrap", bootstrap=1000)


def elo_paragone(folder: Path, n: int) -> Contender:
    from paragone.arena import fit_elo

    votes = _votes(folder, n)[["model_a", "model_b", "winner"]]

    def work() -> Numbers:
        ratings = fit_elo(votes)
        return _named(ratings.models, ratings.rating)

    return Work(work)


def style_paragone(folder: Path, n: int) -> Contender:
    from paragone.arena.contextual import fit_contextual

    votes = _votes(folder, n)

    def work() -> Numbers:
        ratings = fit_contextual(votes, covariates=COVARIATES)
        return _named(ratings.models, ratings.rating)

    return Work(work)


def online_paragone(folder: Path, n: int) -> Contender:
    """`STEPS` votes, each with the ratings after it."""
    from paragone.arena import Cells, OnlineBradleyTerry

    votes = _votes(folder, n)
    online = OnlineBradleyTerry.from_cells(Cells.from_votes(votes))
    online.theta()
    new = votes.sample(STEPS, random_state=1)

    def work() -> Numbers:
        for model_a, model_b, winner in zip(new["model_a"], new["model_b"], new["winner"], strict=True):
            online.add(model_a, model_b, winner)
            online.theta()
        ratings = online.ratings()
        return _named(ratings.models, ratings.rating)

    return Work(work)


def online_refit(folder: Path, n: int) -> Contender:
    """The same votes, each with a new fit of the counts."""
    from paragone.arena import Cells, fit_bradley_terry

    votes = _votes(folder, n)
    new = votes.sample(STEPS, random_state=1)
    columns = ["model_a", "model_b", "winner"]
    times = 0

    def work() -> Numbers:
        nonlocal times
        times += 1
        cells = Cells.from_votes(pd.concat([votes[columns], *[new[columns]] * times]))
        for _ in range(STEPS):
            ratings = fit_bradley_terry(cells, ci="none")
        return _named(ratings.models, ratings.rating)

    return Work(work)


def sqlite_paragone(folder: Path, n: int) -> Contender:
    """From a database to the table with intervals."""
    from paragone.arena import Cells, Store, fit_bradley_terry

    def work() -> Numbers:
        with Store(folder / f"arena-{n}.db") as store:
            ratings = fit_bradley_terry(Cells.from_counts(store.pair_counts()))
        ratings.to_frame()
        return _named(ratings.models, ratings.rating)

    return Work(work)


def command_paragone(folder: Path, n: int) -> Contender:
    """The whole command, from the start of Python to the printed table."""
    command = [sys.executable, "-m", "paragone", "rate", str(folder / f"votes-{n}.csv"), "--csv", str(folder / "r.csv")]

    def work() -> Numbers:
        subprocess.run(command, check=True, capture_output=True)
        table = pd.read_csv(folder / "r.csv")
        return _named(table["model"], table["rating"])

    return Work(work)


# ---- evalica ---------------------------------------------------------------------------------------------------------


def _evalica(folder: Path, n: int, function: str, *, lists: bool) -> Contender:
    import evalica

    votes = _votes(folder, n)
    words = {"model_a": evalica.Winner.X, "model_b": evalica.Winner.Y, "tie": evalica.Winner.Draw}
    ready: tuple[Any, ...] = ()
    if lists:
        ready = votes["model_a"].tolist(), votes["model_b"].tolist(), [words[winner] for winner in votes["winner"]]

    def work() -> Numbers:
        given = ready or (votes["model_a"], votes["model_b"], votes["winner"].map(words))
        if function == "elo":
            scores = evalica.elo(*given).scores
            return _named(scores.index, scores.to_numpy())
        scores = evalica.bradley_terry(*given).scores
        points = 400 * np.log10(scores.to_numpy())
        return _named(scores.index, 1000 + points - points.mean())

    return Work(work)


def bt_evalica(folder: Path, n: int) -> Contender:
    return _evalica(folder, n, "bradley_terry", lists=False)


def bt_evalica_lists(folder: Path, n: int) -> Contender:
    return _evalica(folder, n, "bradley_terry", lists=True)


def elo_evalica(folder: Path, n: int) -> Contender:
    return _evalica(folder, n, "elo", lists=False)


def elo_evalica_lists(folder: Path, n: int) -> Contender:
    return _evalica(folder, n, "elo", lists=True)


# ---- arena-rank ------------------------------------------------------------------------------------------------------


def bt_arena_rank(folder: Path, n: int) -> Contender:
    from arena_rank.models.bradley_terry import BradleyTerry
    from arena_rank.utils.data_utils import PairDataset

    votes = _votes(folder, n)

    def work() -> Numbers:
        data = PairDataset.from_pandas(votes)
        model = BradleyTerry(n_competitors=n).fit(data)
        return _named(data.competitors, 1000 + model.alpha * np.asarray(model.params["ratings"]))

    return Work(work)


def sandwich_arena_rank(folder: Path, n: int) -> Contender:
    from arena_rank.models.bradley_terry import BradleyTerry
    from arena_rank.utils.data_utils import PairDataset

    votes = _votes(folder, n)

    def work() -> Numbers:
        data = PairDataset.from_pandas(votes)
        found = BradleyTerry(n_competitors=n).compute_ratings_and_cis(data)
        return _named(found["competitors"], np.asarray(found["ratings"]))

    return Work(work)


def style_arena_rank(folder: Path, n: int) -> Contender:
    """Without its ridge, its weights of pairs and its centring, so that both fit the same model."""
    from arena_rank.models.contextual_bradley_terry import ContextualBradleyTerry
    from arena_rank.utils.data_utils import ContextualPairDataset

    votes = _votes(folder, n)

    def work() -> Numbers:
        data = ContextualPairDataset.from_pandas(votes, COVARIATES, reweighted=False, normalize_features=False)
        model = ContextualBradleyTerry(n_competitors=n, n_features=len(COVARIATES), reg=0.0)
        found = model.compute_ratings_and_cis(data)
        return _named(found["competitors"], np.asarray(found["ratings"]))

    return Work(work)


def build(case: str, tool: str, folder: Path) -> Contender:
    """The contender `tool` of `case`; the number in the case's name is that of models."""
    kind, n = case.split("-")
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["JAX_PLATFORMS"] = "cpu"
    with contextlib.redirect_stdout(io.StringIO()):
        return globals()[f"{kind}_{tool.replace('-', '_')}"](folder, int(n))


if __name__ == "__main__":
    serve(lambda: build(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
