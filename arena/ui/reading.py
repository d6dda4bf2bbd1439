"""Which project is shown, and its tables: read again only when the database has changed."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import streamlit as st

from paragone.arena.leaderboard import Leaderboard, Voters, kinds_with_votes, store_leaderboard
from paragone.arena.store import Store
from paragone.arena.store_engine import database_target
from paragone.arena.ui import DATABASE_VARIABLE, DEFAULT_FOLDER, FOLDER_VARIABLE
from paragone.data.project import Project
from paragone.data.records import Prompt, Sample


@dataclass(frozen=True, slots=True)
class OpenProject:
    """The project that the pages show. Everything it gives is shared between sessions: look, do not change."""

    folder: Path
    store: Store
    key: str  # of this opening: caches of an earlier one, or of a file that was here before, are never mixed in

    def kinds(self) -> list[Voters]:
        """Whose votes there are."""
        return _kinds(self.store, self.key, self.store.data_version())

    def board(self, voters: Voters) -> Leaderboard:
        """The board of these votes."""
        return _board(self.store, self.key, self.store.data_version(), voters)

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


@st.cache_resource(max_entries=16, show_spinner=False)
def _board(_store: Store, key: str, version: int, voters: Voters) -> Leaderboard:
    return store_leaderboard(_store, voters=voters)


@st.cache_resource(max_entries=16, show_spinner=False)
def _kinds(_store: Store, key: str, version: int) -> list[Voters]:
    return kinds_with_votes(_store)


@st.cache_resource(max_entries=4, show_spinner=False)
def _metric_results(_store: Store, key: str, version: int) -> pd.DataFrame:
    return _store.metric_results()


@st.cache_resource(max_entries=4, show_spinner=False)
def _prompts(_store: Store, key: str, version: int) -> list[Prompt]:
    return _store.prompts()


@st.cache_resource(max_entries=16, show_spinner=False)
def _samples(_store: Store, key: str, version: int, prompt_id: str) -> list[Sample]:
    return _store.samples(prompt=prompt_id)
