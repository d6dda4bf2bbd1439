"""The web UI's entry: opens the project and routes to the pages. Streamlit runs this file as a script."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import streamlit as st
from PIL import Image

from paragone.arena.ui import DEFAULT_FOLDER, FOLDER_VARIABLE
from paragone.arena.ui.access import admin_possible
from paragone.arena.ui.reading import OpenProject, open_project
from paragone.data.errors import ParagoneError

STYLE = """
<style>
.stMainBlockContainer { max-width: 1120px; padding: 4.5rem 2rem 2rem; }
[data-testid="stImage"] img { box-shadow: 0 0 0 1px rgb(128 128 128 / 35%); }
[data-testid="stText"] { overflow-wrap: anywhere; white-space: pre-wrap; }
.st-key-battle button { min-height: 2.9rem; }
@media (max-width: 640px) {
  .stMainBlockContainer { padding-left: 0.8rem; padding-right: 0.8rem; padding-top: 4rem; }
  .st-key-battle [data-testid="stHorizontalBlock"] { gap: 0.6rem; }
}
</style>
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One page of the navigation. Its module is loaded when it is drawn first."""

    module: str  # under paragone.arena.ui, with show(project)
    title: str
    path: str  # of its address
    icon: str

    def show(self, project: OpenProject) -> None:
        """Draw the page."""
        import_module(f"paragone.arena.ui.{self.module}").show(project)


FIRST = "battle"  # the page of the bare address
KEPT = "Keep"  # the section of whoever keeps the arena; not offered where nobody could be that
PAGES: dict[str, tuple[Row, ...]] = {  # a section without a name costs no click to open
    "": (Row("battle", "Battle", "battle", ":material/compare:"),),
    "Results": (
        Row("board", "Leaderboard", "leaderboard", ":material/leaderboard:"),
        Row("compare_models", "Compare", "compare", ":material/compare_arrows:"),
        Row("matrix", "Win matrix", "win-matrix", ":material/grid_on:"),
        Row("pareto", "Pareto", "pareto", ":material/payments:"),
        Row("history", "History", "history", ":material/timeline:"),
    ),
    "Evidence": (
        Row("gallery", "Gallery", "gallery", ":material/grid_view:"),
        Row("measures", "Metrics", "metrics", ":material/monitoring:"),
        Row("agreement", "Agreement", "agreement", ":material/handshake:"),
        Row("judge_cards", "Judges", "judges", ":material/gavel:"),
    ),
    "Keep": (
        Row("audit", "Audit", "audit", ":material/policy:"),
        Row("admin", "Admin", "admin", ":material/settings:"),
    ),
    "About": (Row("method", "Method", "method", ":material/functions:"),),
}


def main() -> None:
    """Draw the page that the address names."""
    st.set_page_config(page_title="paragone", page_icon=_page_icon(), layout="wide")
    st.html(STYLE)
    try:
        project = open_project()
    except ParagoneError as error:
        problem = str(error)
        st.navigation([st.Page(lambda: _draw_problem(problem), title="paragone", url_path="problem")]).run()
        return
    if project is None:
        st.navigation([st.Page(_draw_welcome, title="Welcome", url_path="welcome")], position="hidden").run()
        return
    pages = {
        section: [
            st.Page(
                _bound(row.show, project), title=row.title, url_path=row.path, icon=row.icon, default=row.path == FIRST
            )
            for row in rows
        ]
        for section, rows in PAGES.items()
        if section != KEPT or admin_possible()
    }
    st.navigation(pages, position="top").run()


def _page_icon() -> Image.Image:
    """Two pictures side by side. A named icon or an emoji would be fetched from the internet."""
    icon = Image.new("RGBA", (32, 32))
    icon.paste((75, 74, 207), (2, 6, 15, 26))
    icon.paste((157, 156, 255), (17, 6, 30, 26))
    return icon


def _bound(show: Callable[[OpenProject], None], project: OpenProject) -> Callable[[], None]:
    return lambda: show(project)


def _draw_welcome() -> None:
    st.title("paragone", anchor=False)
    st.text("Which generative model is better, how sure are we, and why?")
    st.text("There is no project here yet. This makes one from real handwritten digits, offline, and opens it:")
    st.code("paragone demo --serve", language="bash")
    st.text(f"Or show a project that you have; without --dir it is sought in {DEFAULT_FOLDER} or {FOLDER_VARIABLE}:")
    st.code("paragone serve --dir FOLDER", language="bash")


def _draw_problem(message: str) -> None:
    st.error("This project cannot be opened.", icon=":material/error:")
    st.text(message)


if __name__ == "__main__":
    main()
