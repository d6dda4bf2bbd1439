"""The web UI for `streamlit run streamlit_app.py`; `paragone serve` starts the same server with the right settings."""

import streamlit as st

from paragone.arena.ui.server import MIDDLEWARE, PAGES, ROUTES

app = st.App(PAGES, routes=ROUTES, middleware=MIDDLEWARE)
