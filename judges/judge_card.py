"""The judge card: what an audit measured of a judge, as JSON, as Markdown and as gates for CI."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from paragone.data.errors import InputError, UsageError

SCHEMA = "paragone.judge-card/1"


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of an audit with its 95 % interval; `value` is None where the answers leave it undefined.

    An end of the interval is None where there is none, or where it is open. `better` says where a fair judge lies:
    "higher", "lower", "half", "zero", or "" for neither.
    """

    probe: str
    name: str
    value: float | None
    lower: float | None
    upper: float | None
    n: int  # items
    better: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class JudgeCard:
    """An audit of one judge. The same judge, seed, n and version give the same questions and pictures."""

    judge: str
    measures: tuple[Measure, ...]
    n_items: int
    n_calls: int
    seed: int
    material: str  # "scenes", or the kind of the caller's own items
    version: str
    statuses: Mapping[str, int] = field(default_factory=dict)  # how the calls ended: "ok", "refused", …
    left_out: Mapping[str, str] = field(default_factory=dict)  # probes that did not run, and why
    warnings: tuple[str, ...] = ()

    def measure(self, probe: str, name: str) -> Measure:
        """The measure of this name; raises `InputError` when the audit did not take it."""
        for measure in self.measures:
            if (measure.probe, measure.name) == (probe, name):
                return measure
        known = ", ".join(f"{measure.probe}/{measure.name}" for measure in self.measures)
        raise InputError(f"judge card of {self.judge}: no measure {probe}/{name}; it has {known}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, schema paragone.judge-card/1."""
        plain = asdict(self) | {"statuses": dict(self.statuses), "left_out": dict(self.left_out)}
        plain["measures"] = [asdict(measure) for measure in self.measures]
        return {"schema": SCHEMA, **plain, "warnings": list(self.warnings)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> JudgeCard:
        """Read what `to_dict` wrote; raises `InputError` for another schema or missing fields."""
        if plain.get("schema") != SCHEMA:
            raise InputError(f"judge card: the schema is {plain.get('schema')!r}, not {SCHEMA!r}")
        values = {name: value for name, value in plain.items() if name != "schema"}
        try:
            values["measures"] = tuple(Measure(**measure) for measure in values["measures"])
            values["warnings"] = tuple(values["warnings"])
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise InputError(f"judge card: not as this version writes it ({error}); run the audit again") from error

    def to_markdown(self) -> str:
        """The card as a page: one table a probe, then what was left out."""
        calls = f"{self.n_calls} calls on {self.n_items} items of {self.material}, seed {self.seed}"
        lines = [f"# Judge card: {_plain(self.judge)}", "", f"{calls}, paragone {self.version}.", ""]
        lines += [f"- {_plain(warning)}" for warning in self.warnings]
        for probe in dict.fromkeys(measure.probe for measure in self.measures):
            lines += ["", f"## {probe}", "", "| measure | value | 95 % interval | items | a fair judge | note |"]
            lines += ["|---|---:|---|---:|---|---|"]
            lines += [_row(measure) for measure in self.measures if measure.probe == probe]
        if self.left_out:
            lines += ["", "## Left out", "", *(f"- {_plain(name)}: {why}" for name, why in self.left_out.items())]
        ended = ", ".join(f"{count} {status}" for status, count in self.statuses.items())
        return "\n".join([*lines, "", f"How the calls ended: {ended}.", ""])


@dataclass(frozen=True, slots=True)
class Gate:
    """A limit that a card can be held to: `reads` gives the figure, None when it was not measured."""

    help: str
    probe: str
    names: tuple[str, ...]  # () is all measures of the probe with a fair value of zero
    upper: bool  # whether the limit is a maximum
    centre: float = 0.0

    def figure(self, card: JudgeCard) -> float | None:
        """The worst figure of the measures that this gate is about."""
        of_probe = [measure for measure in card.measures if measure.probe == self.probe]
        found = [m for m in of_probe if (m.name in self.names if self.names else m.better == "zero")]
        values = [m.value for m in found if m.value is not None]
        if not values or len(values) < len(found):
            return None
        if not self.upper:
            return min(values)
        return max(abs(value - self.centre) for value in values)


GATES: Mapping[str, Gate] = {
    "max_flip_rate": Gate(
        "pairs with a right and a wrong picture whose outcome moves with the sides",
        "order",
        ("flip rate: right against wrong",),
        upper=True,
    ),
    "max_position_bias": Gate(
        "distance of the first-position rate from one half", "order", ("first-position rate",), upper=True, centre=0.5
    ),
    "max_injection_shift": Gate(
        "the largest change of a picture's score by what is written on it or how it is dressed up",
        "injection",
        (),
        upper=True,
    ),
    "min_accuracy": Gate("right answers on verifiable scenes", "scenes", ("accuracy",), upper=False),
    "min_self_consistency": Gate("questions always answered alike", "repeat", ("self-consistency",), upper=False),
    "min_identical_tie_rate": Gate("ties between equal pictures", "identical", ("tie rate",), upper=False),
    "min_coverage": Gate("calls that gave a verdict", "calls", ("coverage",), upper=False),
}


def check_gates(card: JudgeCard, limits: Mapping[str, float]) -> tuple[str, ...]:
    """One line for each limit that the card does not keep; a figure that was not measured keeps none.

    Raises `UsageError` for an unknown gate or a limit outside 0..1.
    """
    failures = []
    for name, limit in limits.items():
        if name not in GATES:
            raise UsageError(f"no gate {name!r}: use {', '.join(GATES)}")
        if not 0 <= limit <= 1 or math.isnan(limit):
            raise UsageError(f"{name} is {limit}: give a share in 0..1")
        gate = GATES[name]
        figure = gate.figure(card)
        if figure is None:
            failures.append(f"{name}: not measured ({gate.help})")
        elif (figure > limit) if gate.upper else (figure < limit):
            failures.append(f"{name}: {figure:.3f}, the limit is {limit:g} ({gate.help})")
    return tuple(failures)


_FAIR = {"higher": "1", "lower": "0", "half": "0.5", "zero": "0", "": "–"}


def _row(measure: Measure) -> str:
    value = "–" if measure.value is None else f"{measure.value:.3f}"
    if measure.lower is None and measure.upper is None:
        interval = "–"
    else:
        low = "−∞" if measure.lower is None else f"{measure.lower:.3f}"
        high = "∞" if measure.upper is None else f"{measure.upper:.3f}"
        interval = f"{low} … {high}"
    return f"| {measure.name} | {value} | {interval} | {measure.n} | {_FAIR[measure.better]} | {measure.note} |"


def _plain(text: str) -> str:
    """Text from outside (a judge's name, a reason) without what Markdown or HTML would read as more than text."""
    marks = "\\`*_{}[]<>|#!&"
    return "".join(f"&#{ord(c)};" if c in marks else c for c in text if c.isprintable())
