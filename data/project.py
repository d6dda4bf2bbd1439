"""The project folder: where an arena keeps its settings, database, samples and leaderboard; and the cache's folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from paragone.data.errors import InputError


def paragone_home() -> Path:
    """`$PARAGONE_HOME`, or `~/.cache/paragone`: the one folder under which paragone caches anything."""
    home = os.environ.get("PARAGONE_HOME")
    return Path(home) if home else Path.home() / ".cache" / "paragone"


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with `paragone.toml`, `arena.db`, `samples/` and `leaderboard.json`; `Sample.path` is relative to it."""

    folder: Path

    @classmethod
    def open(cls, folder: str | Path) -> Project:
        """The existing project at `folder`; raises `InputError` when there is none."""
        project = cls(Path(folder))
        if not project.database.is_file():
            raise InputError(
                f"{project.folder}: not a project folder (it has no {project.database.name}); "
                "name one with --dir, or make one with: paragone demo --dir DIR"
            )
        return project

    @property
    def config(self) -> Path:
        """Settings, `paragone.toml`."""
        return self.folder / "paragone.toml"

    @property
    def database(self) -> Path:
        """The SQLite file, `arena.db`."""
        return self.folder / "arena.db"

    @property
    def samples(self) -> Path:
        """One folder a model under `samples/`."""
        return self.folder / "samples"

    @property
    def models(self) -> Path:
        """Trained weights, under `models/`."""
        return self.folder / "models"

    @property
    def leaderboard(self) -> Path:
        """The last leaderboard, `leaderboard.json`; its CSV lies beside it."""
        return self.folder / "leaderboard.json"
