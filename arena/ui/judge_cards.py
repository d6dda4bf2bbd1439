"""The judges page: what `paragone judge audit` measured of each judge, read from the project's judge-cards folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from paragone.arena.ui import address
from paragone.arena.ui.reading import OpenProject
from paragone.data.errors import InputError

FOLDER = "judge-cards"
SCHEMA = "paragone.judge-card/1"
FAIR = {"higher": "higher is better", "lower": "lower is better", "half": "½", "zero": "0", "": "–"}
COLUMNS = ("measure", "value", "from", "to", "items", "a fair judge", "note")


def show(project: OpenProject) -> None:
    """Draw the page."""
    cards, problems = read_cards(project.folder / FOLDER)
    for problem in problems:
        st.warning("A judge card cannot be read.", icon=":material/warning:")
        st.text(problem)
    if not cards:
        st.info("No judge was audited yet. This measures one, and puts its card here:", icon=":material/gavel:")
        st.code(f"paragone judge audit --judge NAME --json {FOLDER}/NAME.json", language="bash")
        return
    card = cards[address.select(st.container(), "Judge", list(cards), name="judge", page="judges", width=360)]
    ended = ", ".join(f"{count} {status}" for status, count in card["statuses"].items())
    st.text(f"{card['n_calls']:,} calls on {card['n_items']} items of {card['material']}; they ended: {ended}.")
    for warning in card["warnings"]:
        st.text(f"! {warning}")
    for probe in dict.fromkeys(measure["probe"] for measure in card["measures"]):
        st.subheader(probe.capitalize(), anchor=False)
        st.dataframe(_table(card, probe), hide_index=True, placeholder="–", column_config=_numbers())
    for probe, reason in card["left_out"].items():
        st.text(f"Left out: {probe}, {reason}")


def read_cards(folder: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The cards of a folder by their file's name, and what is wrong with those that are none."""
    cards, problems = {}, []
    for path in sorted(folder.glob("*.json")):
        try:
            cards[path.stem] = _read(path)
        except InputError as error:
            problems.append(str(error))
    return cards, problems


def _read(path: Path) -> dict[str, Any]:
    again = "write it again with: paragone judge audit --json FILE"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name}: {error}; {again}") from error
    wanted = {"measures": list, "statuses": dict, "left_out": dict, "warnings": list, "n_calls": int, "n_items": int}
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        raise InputError(f"{path.name}: is not a {SCHEMA}; {again}")
    if wrong := [name for name, kind in wanted.items() if not isinstance(card.get(name), kind)]:
        raise InputError(f"{path.name}: {wrong[0]} is missing or of another kind; {again}")
    fields = {"probe", "name", "value", "lower", "upper", "n", "better", "note"}
    if not all(isinstance(measure, dict) and fields <= measure.keys() for measure in card["measures"]):
        raise InputError(f"{path.name}: a measure lacks one of {', '.join(sorted(fields))}; {again}")
    return card | {"material": str(card.get("material", ""))}


def _table(card: dict[str, Any], probe: str) -> pd.DataFrame:
    rows = [
        (m["name"], m["value"], m["lower"], m["upper"], m["n"], FAIR.get(m["better"], m["better"]), m["note"])
        for m in card["measures"]
        if m["probe"] == probe
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"value": float, "from": float, "to": float})


def _numbers() -> dict[str, Any]:
    return {name: st.column_config.NumberColumn(format="%.2f") for name in ("value", "from", "to")}
