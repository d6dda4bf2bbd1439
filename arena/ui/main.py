"""The web UI's entry: opens the project and routes to the pages. Streamlit runs this file as a script."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st
from PIL import Image

from paragone.arena.ui import DEFAULT_FOLDER, FOLDER_VARIABLE, battle, board, gallery, measures
from paragone.arena.ui.reading import OpenProject, open_project
from paragone.data.errors import ParagoneError

STYLE = """
<style>
.stMainBlockContainer { max-width: 1120px; padding: 4.5rem 2rem 2rem; }
.st-key-prompt [data-testid="stText"] { font-size: 1.35rem; line-height: 1.35; font-weight: 600; }
[class*="st-key-name-"] [data-testid="stText"] { font-size: 1.1rem; font-weight: 600; }
[data-testid="stImage"] img { box-shadow: 0 0 0 1px rgb(128 128 128 / 35%); }
[data-testid="stText"] { overflow-wrap: anywhere; white-space: pre-wrap; }
.st-key-battle button { min-height: 2.9rem; }
@media (max-width: 640px) {
  .stMainBlockContainer { padding-left: 0.8rem; padding-right: 0.8rem; padding-top: 4rem; }
  .st-key-battle [data-testid="stHorizontalBlock"] { gap: 0.6rem; }
  .st-key-prompt [data-testid="stText"] { font-size: 1.15rem; }
  .st-key-gallery { gap: 0.6rem; }
  .st-key-gallery > div { flex: 0 0 calc(50% - 0.3rem); min-width: 0; width: calc(50% - 0.3rem) !important; }
}
</style>
"""

PAGES: tuple[tuple[Callable[[OpenProject], None], str, str, str], ...] = (
    (battle.show, "Battle", "battle", ":material/compare:"),
    (board.show, "Leaderboard", "leaderboard", ":material/leaderboard:"),
    (gallery.show, "Gallery", "gallery", ":material/grid_view:"),
    (measures.show, "Metrics", "metrics", ":material/monitoring:"),
)


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
    pages = [
        st.Page(_bound(show, project), title=title, url_path=path, icon=icon, default=show is battle.show)
        for show, title, path, icon in PAGES
    ]
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
