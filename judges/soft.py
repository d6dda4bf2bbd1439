"""How sure a judge is, from the log-probabilities of the token that decides (G-Eval, Liu et al. 2023, made exact).

The value's place in the text is turned into a place among the tokens by counting bytes, never by looking for a string:
a word in the reasoning is not the verdict. Each alternative token counts for the one label that it begins (or is); what
none or several labels could begin with is left out. The share that was caught is kept as `mass`: below `LEAST_MASS` the
hard verdict is used, and the score mode says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LEAST_MASS = 0.9
LONGEST_LABEL = 64


@dataclass(frozen=True, slots=True)
class Soft:
    """Probabilities of the labels (they sum to 1), and the share of all probability that they were seen with."""

    probabilities: Mapping[str, float]
    mass: float


@dataclass(frozen=True, slots=True)
class NotSoft:
    """Why there are no probabilities; `mass` is what was caught, if it came to that."""

    reason: str
    mass: float | None = None


def soft_verdict(
    text: str, span: tuple[int, int] | None, tokens: Sequence[Mapping[str, Any]], labels: Sequence[str]
) -> Soft | NotSoft:
    """Probabilities of `labels` for the value at the characters `span` of `text`, or why they cannot be had."""
    if not tokens:
        return NotSoft("the endpoint gave no log-probabilities")
    if span is None:
        return NotSoft("the deciding word has no certain place in the reply")
    token = _token_at(text, span[0], tokens)
    if token is None:
        return NotSoft("the tokens do not add up to the reply's text")
    caught = dict.fromkeys(labels, 0.0)
    for word, probability in _alternatives(token):
        label = _label_begun_by(word, labels)
        if label is not None:
            caught[label] += probability
    mass = sum(caught.values())
    if not LEAST_MASS <= mass <= 1.0 + 1e-3:
        return NotSoft(f"the alternatives hold {mass:.2f} of the probability, not {LEAST_MASS} to 1", mass)
    return Soft({label: p / mass for label, p in caught.items()}, min(mass, 1.0))


def expected_value(probabilities: Mapping[str, float], values: Mapping[str, float]) -> float:
    """Mean of `values` under the probabilities."""
    return math.fsum(p * values[label] for label, p in probabilities.items())


def _token_at(text: str, character: int, tokens: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The token that holds the byte at which the character starts."""
    pieces = [_bytes_of(token) for token in tokens]
    if any(piece is None for piece in pieces):
        return None
    whole = b"".join(piece for piece in pieces if piece is not None)
    encoded = text.encode()
    begins = whole.find(encoded)  # special tokens may stand before and after
    if begins < 0 or whole.find(encoded, begins + 1) >= 0:
        return None
    place, passed = begins + len(text[:character].encode()), 0
    for token, piece in zip(tokens, pieces, strict=True):
        passed += len(piece or b"")
        if passed > place:
            return token
    return None


def _bytes_of(token: Mapping[str, Any]) -> bytes | None:
    given = token.get("bytes")
    if isinstance(given, list):
        try:
            return bytes(given)
        except (ValueError, TypeError):
            return None
    word = token.get("token")
    return word.encode() if isinstance(word, str) else None


def _alternatives(token: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Words and probabilities at this place, the chosen one among them once."""
    listed = token.get("top_logprobs")
    every = [*listed, token] if isinstance(listed, list) else [token]
    found: dict[bytes, float] = {}
    for one in every:
        word = _bytes_of(one) if isinstance(one, Mapping) else None
        logprob = one.get("logprob") if isinstance(one, Mapping) else None
        if word is None or isinstance(logprob, bool) or not isinstance(logprob, int | float) or math.isnan(logprob):
            continue
        found.setdefault(word, math.exp(min(float(logprob), 0.0)))
    return [(word.decode("utf-8", errors="replace"), p) for word, p in found.items()]


def _label_begun_by(word: str, labels: Sequence[str]) -> str | None:
    """The one label that the token begins, or is; None for none and for several."""
    rest = word.lstrip(" \t\r\n\"'`:▁Ġ").casefold()
    if not rest:
        return None
    fits = []
    for label in labels:
        whole = rest.startswith(label) and not rest[len(label) : len(label) + 1].isalnum()
        if whole or label.startswith(rest):
            fits.append((label, whole))
    exact = [label for label, whole in fits if whole and rest.rstrip(" \t\r\n\"',.}`") == label]
    if len(fits) > 1 and exact:
        return None if any(other.startswith(exact[0]) and other != exact[0] for other, _ in fits) else exact[0]
    return fits[0][0] if len(fits) == 1 else None
