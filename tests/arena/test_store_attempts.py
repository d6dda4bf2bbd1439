"""How requests ended, where files come from and what is unsafe: stored once, in both databases, and never mixed up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest

from paragone.arena.store import Store
from paragone.data import Attempt, GeneratorCard, InputError, Prompt, Sample, Status, sample_id
from paragone.data.records import Provenance, ProvenanceState, SafetyScore, WatermarkTest

SHA = hashlib.sha256(b"a").hexdigest()
CLIP = Sample(sample_id("a", "p", 0, SHA), SHA, "a.mp4", "p", "a", 0, 8, 8, frames=16, fps=23.976)
REFUSED = Attempt("a", "p", 1, Status.REFUSED, "no bears", 0.5, Decimal("0.0400"), created_at="2026-01-02T00:00:00Z")


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with Store(database_url, create=True) as opened:
        opened.add_generators([GeneratorCard("a", parameters=17 * 10**9, space="latent", text_encoder="T5-XXL")])
        opened.add_prompts([Prompt("p", "a bear", source="in.png", mask="mask.png")])
        opened.add_samples([CLIP])
        yield opened


def test_the_new_fields_come_back(store: Store) -> None:
    assert store.generators() == [GeneratorCard("a", parameters=17 * 10**9, space="latent", text_encoder="T5-XXL")]
    assert store.prompts() == [Prompt("p", "a bear", source="in.png", mask="mask.png")]
    assert store.samples() == [CLIP]
    with pytest.raises(InputError, match="prompt p: is stored with another text or task or source or mask"):
        store.add_prompts([Prompt("p", "a bear", source="in.png")])
    for wrong, message in (("space", "'mental' is none of pixel, latent"), ("parameters", "0 is not a number")):
        card = replace(store.generators()[0], **{wrong: {"space": "mental", "parameters": 0}[wrong]})
        with pytest.raises(InputError, match=message):
            store.add_generators([card])


def test_an_attempt_is_stored_once_and_as_it_was(store: Store) -> None:
    made = Attempt("a", "p", 0, Status.OK, latency_s=0.1 + 0.2, sample_id=CLIP.id)
    again = replace(REFUSED, created_at="2026-01-03T00:00:00Z")
    store.add_attempts([made, again, REFUSED])
    store.add_attempts([REFUSED, made])
    store.add_attempts([])
    assert store.attempts() == [made, REFUSED, again]
    assert store.attempts("b") == []
    assert store.counts()["attempts"] == 3
    assert store.verify() == []


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (replace(REFUSED, model="b"), "the model or the prompt that it belongs to is not in the store"),
        (replace(REFUSED, latency_s=float("nan")), "seed 1: nan s is not a time"),
        (replace(REFUSED, cost_usd=Decimal("-1")), "seed 1: -1 USD is not an amount"),
    ],
)
def test_an_attempt_that_cannot_be_is_named_and_nothing_kept(store: Store, attempt: Attempt, message: str) -> None:
    with pytest.raises(InputError, match=message):
        store.add_attempts([replace(REFUSED, seed=7), attempt])
    assert store.attempts() == []


def test_only_what_is_ok_has_a_sample() -> None:
    with pytest.raises(InputError, match="was refused, and yet has a sample"):
        replace(REFUSED, sample_id=CLIP.id)


def test_an_attempt_with_the_sample_of_another_is_found(store: Store) -> None:
    store.add_attempts([Attempt("a", "p", 5, Status.OK, sample_id=CLIP.id)])
    assert [line for line in store.verify() if "disagree on the model, the prompt or the seed" in line]


def test_a_later_check_of_origin_or_safety_counts(store: Store) -> None:
    mark = WatermarkTest("sdxl", "dwtDct", 48, 47, 1e-12)
    first = Provenance(SHA, ProvenanceState.UNTRUSTED, "trainedAlgorithmicMedia", "c2pa", "Eve", "draw", ("x",))
    store.add_provenance([first])
    assert store.provenance() == {SHA: first}
    later = replace(first, state=ProvenanceState.TRUSTED, codes=(), anchors="0" * 64, watermarks=(mark,))
    store.add_provenance([later])
    assert store.provenance()[SHA] == later
    assert later.says_ai
    store.add_safety_scores([SafetyScore(CLIP.id, "mean", 0.4, 0.5), SafetyScore(CLIP.id, "other", 1, 0.5)])
    store.add_safety_scores([SafetyScore(CLIP.id, "mean", 0.5, 0.5, "bright")])
    assert store.safety_scores() == [
        SafetyScore(CLIP.id, "mean", 0.5, 0.5, "bright"),
        SafetyScore(CLIP.id, "other", 1, 0.5),
    ]
    assert store.safety_scores()[0].flagged
    with pytest.raises(InputError, match="threshold is nan"):
        store.add_safety_scores([SafetyScore(CLIP.id, "mean", 0.5, float("nan"))])
