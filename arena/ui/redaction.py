"""Keeps secrets out of the log: whatever was named by `hide` is blacked out of messages, arguments and tracebacks."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

BLACK = "[secret]"
SHORTEST = 6  # characters: anything shorter would black out ordinary words
SECRET_NAMES = ("PASSWORD", "SECRET", "TOKEN", "API_KEY", "APIKEY", "ACCESS_KEY", "PRIVATE_KEY", "CREDENTIALS")
_hidden: frozenset[str] = frozenset()
_lock = threading.Lock()
_plain = logging.Formatter()


def hide(*secrets: str) -> None:
    """From now on, these strings are in no log record."""
    global _hidden
    with _lock:
        _hidden |= {secret for secret in secrets if len(secret) >= SHORTEST}


def hide_environment(environment: Mapping[str, str]) -> None:
    """Hide what variables with a telling name hold, and the passwords inside of URLs."""
    for name, value in environment.items():
        if any(part in name.upper() for part in SECRET_NAMES) and not name.upper().endswith("_FILE"):
            hide(value)
        if "://" in value:
            try:
                password = urlsplit(value).password
            except ValueError:
                continue
            if password:
                hide(password, unquote(password))


def redacted(text: str) -> str:
    """The text with every hidden string blacked out."""
    for secret in _hidden:
        if secret in text:
            text = text.replace(secret, BLACK)
    return text


def guard_log() -> None:
    """Black out secrets in every record of this process, whichever logger and handler it goes through."""
    make = logging.getLogRecordFactory()
    if getattr(make, "redacts", False):
        return

    def make_redacted(*arguments: Any, **options: Any) -> logging.LogRecord:
        return _redact(make(*arguments, **options))

    make_redacted.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(make_redacted)
    hide_environment(os.environ)


def _redact(record: logging.LogRecord) -> logging.LogRecord:
    if not _hidden:
        return record
    try:
        message = record.getMessage()
    except Exception:  # a message that does not fit its arguments: the handler says so, and quotes both
        record.msg, record.args = redacted(f"{record.msg} {record.args}"), ()
        return record
    if (clean := redacted(message)) != message:
        record.msg, record.args = clean, ()
    if record.exc_info and record.exc_info[0] is not None:
        trace = _plain.formatException(record.exc_info)
        if (clean := redacted(trace)) != trace:
            record.exc_info, record.exc_text = None, clean
    if record.stack_info:
        record.stack_info = redacted(record.stack_info)
    return record
