"""Choices that stand in the page's address, which is their only state: a link shows what its sender saw.

A value in an address that means nothing here is as if it were not there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date
from typing import TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

T = TypeVar("T")


def select(
    place: DeltaGenerator,
    label: str,
    options: Sequence[str],
    *,
    name: str,
    page: str,
    format_func: Callable[[str], str] = str,
    help: str | None = None,
    width: int | None = None,
) -> str:
    """A selectbox whose value is the parameter `name` of the address; without it, the first option (there is one)."""
    key = f"{page}-{name}"
    given = st.query_params.get(name, "")
    _set(key, given if given in options else options[0])
    chosen: str | None = place.selectbox(
        label,
        options,
        key=key,
        format_func=format_func,
        on_change=_write,
        args=(key, name, options[0]),
        help=help,
        width=width or "stretch",
    )
    return options[0] if chosen is None else chosen


def segments(
    label: str, options: Sequence[str], *, name: str, page: str, format_func: Callable[[str], str] = str
) -> str:
    """Buttons side by side, as `select`."""
    key = f"{page}-{name}"
    given = st.query_params.get(name, "")
    _set(key, given if given in options else options[0])
    chosen: str | None = st.segmented_control(
        label,
        options,
        required=True,
        wrap=True,
        key=key,
        format_func=format_func,
        on_change=_write,
        args=(key, name, options[0]),
    )
    return options[0] if chosen is None else chosen


def search(place: DeltaGenerator, label: str, *, name: str, page: str, placeholder: str = "", width: int = 220) -> str:
    """A line of text that stands in the address."""
    key = f"{page}-{name}"
    _set(key, st.query_params.get(name, "")[:200])
    text: str | None = place.text_input(
        label,
        key=key,
        placeholder=placeholder,
        max_chars=200,
        on_change=_write,
        args=(key, name, ""),
        width=width,
    )
    return text or ""


def day(
    place: DeltaGenerator, label: str, *, name: str, page: str, help: str | None = None, width: int = 170
) -> str | None:
    """A day that stands in the address as 2026-01-31; None where it names none."""
    key = f"{page}-{name}"
    given = st.query_params.get(name, "")
    chosen = date.fromisoformat(given) if is_day(given) else None
    if st.session_state.get(key, "") != chosen:
        st.session_state[key] = chosen
    picked: date | None = place.date_input(
        label, None, key=key, on_change=_write, args=(key, name, ""), help=help, width=width
    )
    return None if picked is None else picked.isoformat()


def is_day(text: str) -> bool:
    """Whether this is a day as 2026-01-31."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def page_of(items: Sequence[T], size: int, *, name: str, page: str, what: str) -> Sequence[T]:
    """One page of many items, with buttons to the next; nothing is drawn where one page holds all."""
    n_pages = max(1, math.ceil(len(items) / size))
    number = page_number(n_pages, name=name, page=page, what=what, n_items=len(items))
    return items[number * size : (number + 1) * size]


def page_number(n_pages: int, *, name: str, page: str, what: str, n_items: int) -> int:
    """The page (from 0) that the address names (from 1), with buttons to its neighbours."""
    given = st.query_params.get(name, "1")
    number = min(max(int(given) if given.isascii() and given.isdigit() and len(given) < 9 else 1, 1), n_pages)
    if n_pages > 1:
        with st.container(horizontal=True, vertical_alignment="center", key=f"{page}-{name}-pages"):
            for label, to, icon in (("Before", number - 1, "chevron_left"), ("Next", number + 1, "chevron_right")):
                st.button(
                    label,
                    key=f"{page}-{name}-{label}",
                    on_click=_turn,
                    args=(name, to),
                    disabled=not 1 <= to <= n_pages,
                    icon=f":material/{icon}:",
                )
            st.caption(f"Page {number} of {n_pages}: {n_items:,} {what}")
    return number - 1


def _set(key: str, value: str) -> None:
    if st.session_state.get(key) != value:
        st.session_state[key] = value


def _write(key: str, name: str, usual: str) -> None:
    value = str(st.session_state[key] or "")
    if value and value != usual:
        st.query_params[name] = value
    elif name in st.query_params:
        del st.query_params[name]


def _turn(name: str, to: int) -> None:
    st.query_params[name] = str(to)
