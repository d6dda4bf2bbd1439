"""The web UI (Streamlit): blind battles, the leaderboard, the gallery and the measures. It never imports torch.

`SERVER_OPTIONS` is how its server must run; `.streamlit/config.toml` says the same to
`streamlit run streamlit_app.py`.
"""

from __future__ import annotations

from importlib.resources import files

FOLDER_VARIABLE = "PARAGONE_DIR"  # the project folder to show
DATABASE_VARIABLE = "PARAGONE_DB"  # a database elsewhere: a path, or sqlite:///…
PASSWORD_VARIABLE = "PARAGONE_ADMIN_PASSWORD"  # of the pages Admin and Audit
PASSWORD_FILE_VARIABLE = "PARAGONE_ADMIN_PASSWORD_FILE"
TRUSTED_PROXIES_VARIABLE = "FORWARDED_ALLOW_IPS"  # uvicorn's own: whose X-Forwarded-For it believes
NO_PROXY = "none"
DEFAULT_FOLDER = "paragone-demo"

SERVER_OPTIONS: dict[str, str | bool | int] = {
    "browser.gatherUsageStats": False,
    "client.disableDataExport": True,  # our own CSV is safe to open in a spreadsheet, the built-in one is not
    "client.showErrorDetails": "none",  # a traceback in the page could name a model before the vote
    "client.toolbarMode": "minimal",
    "runner.magicEnabled": False,
    "runner.postScriptGC": False,  # a full collection after every click costs more than the click
    "server.address": "127.0.0.1",
    "server.enableAgentApi": False,
    "server.enableStaticServing": False,
    "server.enableXsrfProtection": True,
    "server.fileWatcherType": "none",
    "server.maxMessageSize": 32,  # MB
    "server.maxUploadSize": 256,  # MB
    "server.maxWidgetStateSize": 1,  # MB: what a page may send at once, uploads apart
    "server.showEmailPrompt": False,
    "theme.light.primaryColor": "#4b4acf",
    "theme.light.backgroundColor": "#ffffff",
    "theme.light.secondaryBackgroundColor": "#f4f4f8",
    "theme.light.textColor": "#1c1c28",
    "theme.dark.primaryColor": "#6665dd",
    "theme.dark.backgroundColor": "#14141b",
    "theme.dark.secondaryBackgroundColor": "#20202b",
    "theme.dark.textColor": "#ececf4",
}


def widget_part(name: str) -> str:
    """A file of the browser's half of a component."""
    return files("paragone.arena.ui").joinpath("widget", name).read_text(encoding="utf-8")
