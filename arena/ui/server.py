"""The web server: Streamlit's pages with our routes beside them and our middleware around both.

`paragone serve` runs this module, with the options of Streamlit as JSON; `streamlit run streamlit_app.py` serves the
same from a checkout.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from paragone.arena.ui import main, media, public_api
from paragone.arena.ui.middleware import Guard
from paragone.arena.ui.redaction import guard_log

PAGES = Path(main.__file__)
ROUTES = [*media.ROUTES, *public_api.ROUTES]
MIDDLEWARE = [Middleware(Guard)]

guard_log()
app = st.App(PAGES, routes=ROUTES, middleware=MIDDLEWARE)

if __name__ == "__main__":
    settings = json.loads(sys.argv.pop(1))
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how it ends
        app.run(config=settings)
