"""Votes become ratings, ratings a leaderboard. Names are loaded when they are first used; nothing imports torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paragone.arena.agreement import cohen_kappa, gwet_ac1, krippendorff_alpha
    from paragone.arena.bradley_terry import fit_bradley_terry
    from paragone.arena.categories import fit_categories
    from paragone.arena.contextual import fit_contextual
    from paragone.arena.crowd import fit_crowd, voter_reliability
    from paragone.arena.elo import elo_history, expected_score, fit_elo
    from paragone.arena.explanation import Explanation, explain_model
    from paragone.arena.influence import Flip, leave_one_out, votes_to_flip
    from paragone.arena.joint import fit_joint
    from paragone.arena.leaderboard import build_leaderboard
    from paragone.arena.matchmaking import informative_propensities, inverse_propensity_weights, pair_propensities
    from paragone.arena.online import OnlineBradleyTerry
    from paragone.arena.pairs import pairwise, simulate_ranks, win_matrix
    from paragone.arena.plots import history_plot, interval_plot, save_chart, win_matrix_plot
    from paragone.arena.ratings import ALL_RATERS, Ratings
    from paragone.arena.stopping import (
        ConfidenceSequence,
        SequentialTest,
        confidence_sequence,
        e_process,
        scores_against,
        sprt,
        sprt_length,
    )
    from paragone.arena.store import Store
    from paragone.arena.ties import fit_davidson, fit_rao_kupper
    from paragone.arena.vote_files import read_votes, vote_columns
    from paragone.arena.vote_quality import apply_flags, flag_sensitivity, flag_votes
    from paragone.arena.voter_agreement import Agreement, agreement_by_kind, agreement_by_voter, position_consistency
    from paragone.arena.votes import Cells

_HOMES = {
    "ALL_RATERS": "ratings",
    "Agreement": "voter_agreement",
    "Cells": "votes",
    "ConfidenceSequence": "stopping",
    "Explanation": "explanation",
    "Flip": "influence",
    "OnlineBradleyTerry": "online",
    "Ratings": "ratings",
    "SequentialTest": "stopping",
    "Store": "store",
    "agreement_by_kind": "voter_agreement",
    "agreement_by_voter": "voter_agreement",
    "apply_flags": "vote_quality",
    "build_leaderboard": "leaderboard",
    "cohen_kappa": "agreement",
    "confidence_sequence": "stopping",
    "e_process": "stopping",
    "elo_history": "elo",
    "expected_score": "elo",
    "explain_model": "explanation",
    "fit_bradley_terry": "bradley_terry",
    "fit_categories": "categories",
    "fit_contextual": "contextual",
    "fit_crowd": "crowd",
    "fit_davidson": "ties",
    "fit_elo": "elo",
    "fit_joint": "joint",
    "fit_rao_kupper": "ties",
    "flag_sensitivity": "vote_quality",
    "flag_votes": "vote_quality",
    "gwet_ac1": "agreement",
    "history_plot": "plots",
    "informative_propensities": "matchmaking",
    "interval_plot": "plots",
    "inverse_propensity_weights": "matchmaking",
    "krippendorff_alpha": "agreement",
    "leave_one_out": "influence",
    "pair_propensities": "matchmaking",
    "pairwise": "pairs",
    "position_consistency": "voter_agreement",
    "read_votes": "vote_files",
    "save_chart": "plots",
    "scores_against": "stopping",
    "simulate_ranks": "pairs",
    "sprt": "stopping",
    "sprt_length": "stopping",
    "vote_columns": "vote_files",
    "voter_reliability": "crowd",
    "votes_to_flip": "influence",
    "win_matrix": "pairs",
    "win_matrix_plot": "plots",
}

if __name__ == "arena":  # a second copy of every class, in a checkout whose root is on the path
    raise ImportError("import paragone.arena instead of arena")

__all__ = [
    "ALL_RATERS",
    "Agreement",
    "Cells",
    "ConfidenceSequence",
    "Explanation",
    "Flip",
    "OnlineBradleyTerry",
    "Ratings",
    "SequentialTest",
    "Store",
    "agreement_by_kind",
    "agreement_by_voter",
    "apply_flags",
    "build_leaderboard",
    "cohen_kappa",
    "confidence_sequence",
    "e_process",
    "elo_history",
    "expected_score",
    "explain_model",
    "fit_bradley_terry",
    "fit_categories",
    "fit_contextual",
    "fit_crowd",
    "fit_davidson",
    "fit_elo",
    "fit_joint",
    "fit_rao_kupper",
    "flag_sensitivity",
    "flag_votes",
    "gwet_ac1",
    "history_plot",
    "informative_propensities",
    "interval_plot",
    "inverse_propensity_weights",
    "krippendorff_alpha",
    "leave_one_out",
    "pair_propensities",
    "pairwise",
    "position_consistency",
    "read_votes",
    "save_chart",
    "scores_against",
    "simulate_ranks",
    "sprt",
    "sprt_length",
    "vote_columns",
    "voter_reliability",
    "votes_to_flip",
    "win_matrix",
    "win_matrix_plot",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"paragone.arena.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'paragone.arena' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
