"""Where samples say that they come from and which are flagged, model by model: a section of the audit page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from paragone.arena.deliveries import request_outcomes
from paragone.arena.refusals import SHARES, Refusals, refusals
from paragone.arena.ui.reading import OpenProject
from paragone.data.provenance import ABSENCE
from paragone.data.records import Provenance, ProvenanceState, SafetyScore, Sample


def draw(project: OpenProject, actor: str) -> None:
    """Draw the section."""
    store = project.store
    samples, found, scores = store.samples(), store.provenance(), store.safety_scores()
    st.subheader("Origin", anchor=False)
    if found:
        st.dataframe(origin_table(samples, found), hide_index=True)
        st.caption(ABSENCE)
    else:
        st.caption("No sample's origin was looked at yet. This does it, and stores what it finds:")
        st.code("paragone provenance --dir . --watermark", language="bash")
    st.subheader("Safety", anchor=False)
    if scores:
        st.dataframe(flag_table(samples, scores), hide_index=True)
        st.caption("Flagged samples are blurred on every page until somebody asks to see them.")
    else:
        st.caption("No sample has a safety score yet. A classifier of your own gives them:")
        st.code("paragone safety --dir . --classifier module:attribute --threshold 0.5", language="bash")
    counted = refusals(request_outcomes(store.attempts()), store.prompts())
    if counted:
        st.subheader("Refusals", anchor=False)
        st.dataframe(refusal_table(counted), hide_index=True)
        st.caption("Shares of requests with 95 % intervals, by the tags `unsafe` and `benign` of the prompts.")


def origin_table(samples: Sequence[Sample], found: Mapping[str, Provenance]) -> pd.DataFrame:
    """One row a model: how many of its samples were looked at, in which state they are, and what they say."""
    rows: dict[str, dict[str, int]] = {}
    for sample in samples:
        row = rows.setdefault(sample.model, dict.fromkeys(("samples", "looked at", *ProvenanceState, "say AI"), 0))
        row["samples"] += 1
        if (one := found.get(sample.sha256)) is not None:
            row["looked at"] += 1
            row[one.state] += 1
            row["say AI"] += one.says_ai
            if one.watermarks is not None:
                row["watermarked"] = row.get("watermarked", 0) + any(mark.found for mark in one.watermarks)
    table = pd.DataFrame([{"model": model, **row} for model, row in sorted(rows.items())])
    unused = [str(state) for state in ProvenanceState if not table[state].any()]
    return table.drop(columns=unused).rename(columns=str)


def flag_table(samples: Sequence[Sample], scores: Sequence[SafetyScore]) -> pd.DataFrame:
    """One row a classifier and model: how many samples were scored and flagged, and from which score on."""
    models = {sample.id: sample.model for sample in samples}
    frame = pd.DataFrame(
        [(s.classifier, models[s.sample_id], s.threshold, s.flagged) for s in scores],
        columns=["classifier", "model", "threshold", "flagged"],
    )
    groups = frame.groupby(["classifier", "model", "threshold"])["flagged"]
    return groups.agg(scored="size", flagged="sum").reset_index()


def refusal_table(counted: Sequence[Refusals]) -> pd.DataFrame:
    """Shares in percent with their intervals, in words."""
    return pd.DataFrame(
        [
            {"model": one.model} | {name.replace("_", " "): getattr(one, name).percent for name in SHARES}
            for one in counted
        ]
    )
