"""What an endpoint can do, learnt from its refusals: structured output, log-probabilities, and names of options.

Servers that speak the same protocol differ in what they take. A request starts with everything; when the server answers
400 or 422 and names an option, that option is given up for a weaker one, once, and it is remembered. A server that
takes an option may still ignore it, so nothing here is relied on: replies are parsed as if none had been asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from paragone.judges.client import error_words
from paragone.judges.schema import Schema, without_limits

Structured = Literal["json_schema", "plain_schema", "json_object", "prose"]  # plain: without limits of length
Limit = Literal["max_tokens", "max_completion_tokens", ""]

_WEAKER: dict[Structured, Structured] = {
    "json_schema": "plain_schema",
    "plain_schema": "json_object",
    "json_object": "prose",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request would like to have, whatever the endpoint."""

    model: str
    max_tokens: int
    temperature: float
    seed: int | None = None
    schema: Schema | None = None  # None: the answer is a word
    soft: bool = False

    def to_dict(self) -> dict[str, Any]:
        """For the canonical request and the record; the schema stands beside it."""
        return {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
            "soft": self.soft,
        }


@dataclass(frozen=True, slots=True)
class Abilities:
    """What one model at one address is believed to take."""

    structured: Structured = "json_schema"
    top_logprobs: int = 20  # 0: none
    temperature: bool = True
    seed: bool = True
    limit: Limit = "max_tokens"

    def parameters(self, wish: Wish) -> dict[str, Any]:
        """The request's options, in the endpoint's own words."""
        given: dict[str, Any] = {"model": wish.model}
        if self.limit:
            given[self.limit] = wish.max_tokens
        if self.temperature:
            given["temperature"] = wish.temperature
        if self.seed and wish.seed is not None:
            given["seed"] = wish.seed
        if wish.soft and self.top_logprobs:
            given |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        if wish.schema is not None and self.structured in ("json_schema", "plain_schema"):
            schema = wish.schema if self.structured == "json_schema" else without_limits(wish.schema)
            described = {"name": "verdict", "strict": True, "schema": schema}
            given["response_format"] = {"type": "json_schema", "json_schema": described}
        elif wish.schema is not None and self.structured == "json_object":
            given["response_format"] = {"type": "json_object"}
        return given

    def without_what_it_minds(self, body: str, given: dict[str, Any]) -> Abilities | None:
        """Weaker abilities after a refusal with this body of a request with these options; None: it minds none."""
        code, words = error_words(body)
        said = f"{code or ''} {words} {_parameter(body)}".lower()
        if "response_format" in given and re.search(
            r"response.?format|json.?schema|json.?object|structured|grammar", said
        ):
            return replace(self, structured=_WEAKER[self.structured])
        if "logprobs" in given and "logprob" in said:
            return replace(self, top_logprobs=5 if self.top_logprobs > 5 and "top_logprob" in said else 0)
        if "max_tokens" in given and re.search(r"max_tokens|max_completion_tokens", said):
            return replace(self, limit="max_completion_tokens")
        if "max_completion_tokens" in given and "max_completion_tokens" in said:
            return replace(self, limit="")
        if "temperature" in given and "temperature" in said:
            return replace(self, temperature=False)
        if "seed" in given and re.search(r"\bseed\b", said):
            return replace(self, seed=False)
        return None


def _parameter(body: str) -> str:
    """The option that OpenAI's form of an error names."""
    found = re.search(r'"param"\s*:\s*"([^"]{1,80})"', body)
    return found.group(1) if found else ""
