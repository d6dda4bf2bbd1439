"""The web UI for `streamlit run streamlit_app.py`; `paragone serve` opens the same pages with the right settings."""

from paragone.arena.ui.main import main

main()
