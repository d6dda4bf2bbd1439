"""The method page: how votes become ratings, with the numbers that the code itself uses."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from paragone.arena import matchmaking
from paragone.arena.bradley_terry import fit_bradley_terry
from paragone.arena.elo import expected_score, fit_elo
from paragone.arena.intervals import LEVEL
from paragone.arena.leaderboard import PRIOR_SD
from paragone.arena.ui.battle import FASTEST_MS, UNDO_S
from paragone.arena.ui.board import FEW_VOTES
from paragone.arena.ui.limits import LIMITS
from paragone.arena.ui.reading import OpenProject
from paragone.arena.vote_quality import FLAGS, flag_votes
from paragone.data.errors import InputError
from paragone.data.project import Project

PAGES = {  # chapters of the documentation, by what they explain
    "the arena, its store and these pages": "docs/arena.md",
    "ratings and their intervals": "docs/ratings.md",
    "which pair is shown": "docs/matchmaking.md",
    "votes that may not be honest": "docs/vote-quality.md",
    "judges and people": "docs/judges-and-humans.md",
    "metrics": "docs/metrics.md",
}


def show(project: OpenProject) -> None:
    """Draw the page."""
    _elo()
    _bradley_terry()
    _ties()
    _intervals()
    _pairs()
    _blindness()
    _exclusion()
    _licence(project)


def default(function: Callable[..., Any], name: str) -> Any:
    """What a parameter of a function is when it is not given."""
    return inspect.signature(function).parameters[name].default


def _elo() -> None:
    k, scale, base, initial = (default(fit_elo, name) for name in ("k", "scale", "base", "initial"))
    st.subheader("Elo: the live number", anchor=False)
    st.text(
        "Before a vote, each model has an expected score, from the difference of the two ratings. After it, the rating "
        "moves by how much the outcome surprised: winning as expected moves little, an upset moves much."
    )
    st.latex(
        rf"E_A = \frac{{1}}{{1 + {base:g}^{{(R_B - R_A)/{scale:g}}}}} \qquad R_A \leftarrow R_A + {k:g}\,(S_A - E_A)"
    )
    st.text(
        f"S is 1 for a win, ½ for a tie, 0 for a defeat; both bad counts as a tie. K = {k:g}, and every model begins "
        f"at {initial:g}. What a difference means:"
    )
    differences = (0, 25, 50, 100, 200, 400)
    rows = {
        "points ahead": differences,
        "expected score": [f"{expected_score(d, 0, scale=scale, base=base):.0%}" for d in differences],
        "gain by a win": [f"{k * (1 - expected_score(d, 0, scale=scale, base=base)):.2f}" for d in differences],
        "loss by a defeat": [f"{k * expected_score(d, 0, scale=scale, base=base):.2f}" for d in differences],
    }
    st.dataframe(pd.DataFrame(rows), hide_index=True)
    st.text("Elo depends on the order of the votes. It is the number that moves when you vote, not the verdict.")


def _bradley_terry() -> None:
    scale, base, initial = (default(fit_bradley_terry, name) for name in ("scale", "base", "initial"))
    st.subheader("Bradley-Terry: the board", anchor=False)
    st.text("The board's ratings are the strengths that make all votes together most likely, whatever their order:")
    st.latex(
        rf"P(A \succ B) = \frac{{1}}{{1 + {base:g}^{{(R_B - R_A)/{scale:g}}}}}, \qquad \max_R \sum_{{votes}} \log P"
    )
    st.text(
        f"A tie is half a win and half a defeat. The mean of all ratings is {initial:g}. Where the votes leave a "
        f"rating without bound (an undefeated model), a weak prior of {PRIOR_SD:g} points keeps it finite, and a note "
        f"says so. With fewer than {FEW_VOTES} votes a rating is preliminary."
    )


def _ties() -> None:
    st.subheader("Davidson: ties of their own", anchor=False)
    st.text("The board can also give ties a parameter, so that many ties do not draw all ratings together:")
    st.latex(r"P(A) : P(B) : P(tie) = e^{d/2} : e^{-d/2} : \nu")
    st.text("with d the difference of strengths and ν the ties' own weight.")


def _intervals() -> None:
    st.subheader("How sure", anchor=False)
    st.text(
        f"Intervals are of {LEVEL:.0%}. Those of Bradley-Terry are of the sandwich, which holds also where the model "
        "is only nearly right: H is the curvature of the likelihood and V the spread of the votes' scores."
    )
    st.latex(r"\operatorname{Cov}(\hat\theta) = H^{-1}\, V\, H^{-1}")
    st.text(
        "A rank interval holds the ranks that these intervals leave open: the best is one more than the number of "
        "models that are surely better. Models whose rank intervals meet are not told apart by the votes yet."
    )


def _pairs() -> None:
    st.subheader("Which battle comes next", anchor=False)
    st.text(
        "The pair is drawn, the likelier the more a vote on it is expected to settle the ranking; "
        f"{matchmaking.FLOOR:.0%} of the draws are uniform over all pairs that share a prompt, so that none is left "
        "out. The probability of each draw is stored with its battle. Prompt, seed and sides are drawn uniformly."
    )
    st.latex(r"p_{ij} = \frac{f}{P} + (1 - f)\,\frac{w_{ij}}{\sum w}, \qquad w = (\text{expected drop})^{s}")
    st.text(f"f = {matchmaking.FLOOR:g}, s = {matchmaking.SHARPNESS:g}. The policy's name, as battles carry it:")
    st.code(matchmaking.POLICY, language=None, wrap_lines=True)


def _blindness() -> None:
    st.subheader("What keeps a battle blind", anchor=False)
    st.text(
        "Until your vote is stored, nothing that is sent to you names a model: pictures are decoded and written anew "
        "in one size and format, without metadata, under an address of this battle only. Names, original metadata and "
        "ratings come with the answer to your vote."
    )
    votes, battles = LIMITS["vote"].voter, LIMITS["battle"].voter
    rate = (
        f" A visitor may give {votes.burst} votes at once, then {votes.per_s:g} a second." if votes and battles else ""
    )
    st.text(
        f"An answer within {FASTEST_MS / 1000:g} s of the pictures is not taken. A vote can be taken back for "
        f"{UNDO_S:g} s: it stays in the log and no longer counts.{rate}"
    )


def _exclusion() -> None:
    st.subheader("What counts", anchor=False)
    st.text(
        "Votes are never changed or deleted: each carries a digest of itself and of the vote before it, so that a "
        "change would show. What is said of a vote later (a flag, an exclusion, a restoration, a correction) is an "
        "entry of its own, with a reason and a name, and can be taken back. An excluded vote does not count."
    )
    st.text(
        f"Checks that find votes to look at: {', '.join(FLAGS)}. In each that tests voters, the chance that anybody is "
        f"flagged when all are honest is at most {default(flag_votes, 'alpha'):.0%}. Checks exclude nothing."
    )
    st.text("Votes of people and of judges are never mixed in silence: a board says whose votes it counts.")


def _licence(project: OpenProject) -> None:
    st.subheader("Data and documentation", anchor=False)
    try:
        licence = data_licence(project.folder)
    except InputError as error:
        st.text(str(error))
    else:
        said = f"The votes of this arena are published under: {licence}." if licence else ""
        st.text(said or "The owner of this arena has not said under which licence its votes are published.")
    st.text("No account is needed to vote. A vote is stored under a random name that says nothing about you.")
    st.caption("Chapters of paragone's documentation:")
    st.dataframe(pd.DataFrame({"about": PAGES.keys(), "chapter": PAGES.values()}), hide_index=True)


def data_licence(folder: Path) -> str:
    """`data_licence` in the table `[arena]` of a project's paragone.toml, "" without one; raises `InputError`."""
    config = Project(folder).config
    if not config.is_file():
        return ""
    try:
        table = tomllib.loads(config.read_text(encoding="utf-8")).get("arena", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{config.name}: cannot be read ({error})") from error
    licence = table.get("data_licence", "") if isinstance(table, dict) else ""
    if not isinstance(licence, str):
        raise InputError(f'{config.name}: arena.data_licence is not a text; write "CC-BY-4.0", say')
    return licence
