"""Which project is shown, and its tables: read again only when the database has changed."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import streamlit as st

from paragone.arena.costs import today
from paragone.arena.leaderboard import (
    Categories,
    Leaderboard,
    Voters,
    board_categories,
    store_leaderboard,
)
from paragone.arena.store import Store
from paragone.arena.store_engine import database_target
from paragone.arena.store_pairs import pair_votes
from paragone.arena.ui import DATABASE_VARIABLE, DEFAULT_FOLDER, FOLDER_VARIABLE
from paragone.data.project import Project
from paragone.data.records import GeneratorCard, Price, Prompt, Sample, VoterKind

CATEGORIES_S = 30  # a new tag may wait so long for its place in a menu: to look for one takes a pass over the votes


@dataclass(frozen=True, slots=True)
class OpenProject:
    """The project that the pages show. Everything it gives is shared between sessions: look, do not change."""

    folder: Path
    store: Store
    key: str  # of this opening: caches of an earlier one, or of a file that was here before, are never mixed in

    def kinds(self) -> list[Voters]:
        """Whose votes count here, the more numerous first."""
        return _kinds(self.store, self.key, self.store.data_version())

    def board(
        self,
        voters: Voters,
        *,
        method: str = "bradley-terry",
        tag: str | None = None,
        task: str | None = None,
        day: str | None = None,
    ) -> Leaderboard:
        """The board of these votes: of all, or of those on prompts with a tag or of a task; prices are of a day."""
        return _board(self.store, self.key, self.store.data_version(), voters, method, tag, task, day or today())

    def categories(self) -> Categories:
        """The tasks and tags of prompts with votes, as they were less than `CATEGORIES_S` ago."""
        return _categories(self.store, self.key)

    def pair_votes(self, model_a: str, model_b: str, voters: Voters) -> pd.DataFrame:
        """The votes between two models that count, as `paragone.arena.store_pairs.pair_votes` gives them."""
        return _pair_votes(self.store, self.key, self.store.data_version(), model_a, model_b, voters)

    def pair_counts(self, voters: Voters) -> pd.DataFrame:
        """Votes summed by pair and winner."""
        return _pair_counts(self.store, self.key, self.store.data_version(), voters)

    def generators(self) -> list[GeneratorCard]:
        """All models' cards."""
        return _generators(self.store, self.key, self.store.data_version())

    def prices(self) -> list[Price]:
        """All prices, with the days from which they hold."""
        return _prices(self.store, self.key, self.store.data_version())

    def metric_results(self) -> pd.DataFrame:
        """All measurements."""
        return _metric_results(self.store, self.key, self.store.data_version())

    def prompts(self) -> list[Prompt]:
        """All prompts."""
        return _prompts(self.store, self.key, self.store.data_version())

    def samples(self, prompt_id: str) -> list[Sample]:
        """All models' samples of a prompt."""
        return _samples(self.store, self.key, self.store.data_version(), prompt_id)


def project_paths() -> tuple[Path, str | Path] | None:
    """The project folder and its database (a file, or a server's URL) as the environment names them.

    None when there is no such file.
    """
    folder = Path(os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER)
    url = os.environ.get(DATABASE_VARIABLE)
    database = database_target(url) if url else Project(folder).database
    if not isinstance(database, Path):
        return folder, str(url)
    if url and FOLDER_VARIABLE not in os.environ:
        folder = database.parent
    return (folder, database) if database.is_file() else None


def open_project() -> OpenProject | None:
    """The project to show; None when there is none. Raises `InputError` for a file that is no paragone database."""
    paths = project_paths()
    if paths is None:
        return None
    folder, database = paths
    if isinstance(database, str):
        return _open(str(folder.resolve()), database, 0)
    return _open(str(folder.resolve()), f"sqlite:///{database.resolve()}", database.stat().st_ino)


@st.cache_resource(show_spinner=False)
def _open(folder: str, url: str, inode: int) -> OpenProject:
    return OpenProject(Path(folder), Store(url), secrets.token_hex(8))


@st.cache_resource(max_entries=32, show_spinner="Rating the models")
def _board(
    _store: Store, key: str, version: int, voters: Voters, method: str, tag: str | None, task: str | None, day: str
) -> Leaderboard:
    return store_leaderboard(_store, voters=voters, method=method, tag=tag, task=task, day=day, elo_interval=False)


@st.cache_resource(max_entries=4, ttl=CATEGORIES_S, show_spinner=False)
def _categories(_store: Store, key: str) -> Categories:
    return board_categories(_store)


@st.cache_resource(max_entries=16, show_spinner=False)
def _pair_votes(_store: Store, key: str, version: int, model_a: str, model_b: str, voters: Voters) -> pd.DataFrame:
    return pair_votes(_store, model_a, model_b, None if voters == "all" else VoterKind(voters))


@st.cache_resource(max_entries=8, show_spinner=False)
def _pair_counts(_store: Store, key: str, version: int, voters: Voters) -> pd.DataFrame:
    return _store.pair_counts(None if voters == "all" else VoterKind(voters))


@st.cache_resource(max_entries=4, show_spinner=False)
def _generators(_store: Store, key: str, version: int) -> list[GeneratorCard]:
    return _store.generators()


@st.cache_resource(max_entries=4, show_spinner=False)
def _prices(_store: Store, key: str, version: int) -> list[Price]:
    return _store.prices()


@st.cache_resource(max_entries=16, show_spinner=False)
def _kinds(_store: Store, key: str, version: int) -> list[Voters]:
    columns = _store.running.columns()
    counts = {str(kind): int(columns.counting(kind).sum()) for kind in VoterKind}
    kinds: tuple[Voters, ...] = ("human", "judge")
    return sorted((kind for kind in kinds if counts[kind]), key=lambda kind: -counts[kind])


@st.cache_resource(max_entries=4, show_spinner=False)
def _metric_results(_store: Store, key: str, version: int) -> pd.DataFrame:
    return _store.metric_results()


@st.cache_resource(max_entries=4, show_spinner=False)
def _prompts(_store: Store, key: str, version: int) -> list[Prompt]:
    return _store.prompts()


@st.cache_resource(max_entries=16, show_spinner=False)
def _samples(_store: Store, key: str, version: int, prompt_id: str) -> list[Sample]:
    return _store.samples(prompt=prompt_id)


def dark_page() -> bool:
    """Whether the visitor's page is dark, for charts that bring their own colours."""
    return st.context.theme.type == "dark"
