"""What may be set of a metric: the options of its row, typed, with the values that each tool gives them.

`--protocol` fixes pixels (paragone.metrics.protocols) and, here, what a tool does with features once it has them:
subsets, splits, their draws, the divisor of a covariance. `--set kid.subset_size=500` goes before the tool's value.
Whatever differs from our own defaults stands in the signature. Every value was read from the tool's source.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import Field, asdict, dataclass, field, fields, replace
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from paragone.data.errors import UsageError
from paragone.metrics.estimates import Metric, Settings

Draws = Literal["paragone", "torch-fidelity", "clean-fid", "torchmetrics", "dgm-eval", "stylegan3"]
Splitting = Literal["paragone", "contiguous", "torch-fidelity", "torchmetrics", "dgm-eval"]
TextRule = Literal["case", "spacing", "letters"]
ClipVariant = Literal["hessel-2021", "torchmetrics"]
Values = Mapping[str, Mapping[str, object]]  # metric → option → value


def _at_least(least: int, default: int | None) -> Any:
    return field(default=default, metadata={"least": least})


@dataclass(frozen=True, slots=True)
class FrechetSettings(Settings):
    """`ddof`: a covariance is scatter / (n - ddof), 0 or 1. Files that hold a covariance are taken as they are.
    `eps` is added to the diagonal of both covariances.
    """

    ddof: Literal[0, 1] = 1
    eps: float = 0.0


@dataclass(frozen=True, slots=True)
class InfinitySettings(Settings):
    """`points`: numbers of samples through whose distances the line is drawn."""

    points: int = _at_least(2, 15)


@dataclass(frozen=True, slots=True)
class KernelSettings(Settings):
    """`subset_size`: None is 1000 or, of fewer samples, all of the smaller side. `draws`: whose random subsets."""

    subsets: int = _at_least(1, 100)
    subset_size: int | None = _at_least(2, None)
    draws: Draws = "paragone"

    def least_samples(self) -> int | None:
        """A stated size of a subset must be there; none is made smaller in silence."""
        return self.subset_size


@dataclass(frozen=True, slots=True)
class InceptionScoreSettings(Settings):
    """`splits`: 10 unless `split_size`, samples a split, is given instead. `splitting`: whose order and edges."""

    splits: int | None = _at_least(1, None)
    split_size: int | None = _at_least(1, None)
    splitting: Splitting = "paragone"

    def least_samples(self) -> int | None:
        """One sample a split."""
        return 2 if self.split_size is not None else self.splits


@dataclass(frozen=True, slots=True)
class ClipScoreSettings(Settings):
    """`variant`: weight and prefix of captions (paragone.metrics.alignment)."""

    variant: ClipVariant = "hessel-2021"


@dataclass(frozen=True, slots=True)
class TextSettings(Settings):
    """`rule`: what is done to both texts before they are compared (paragone.data.ocr)."""

    rule: TextRule = "case"


# Read from: torch-fidelity 0.4.0 (metric_kid.py, metric_isc.py, defaults.py), clean-fid 0.1.35 (fid.py), torchmetrics
# 1.9.0 (image/kid.py, image/inception.py), dgm-eval 2025-03 (metrics/mmd.py, metrics/inception_score.py), stylegan3
# (metrics/), guided-diffusion (evaluations/evaluator.py). All their kernels are (x·y / D + 1)³ and all their kernel
# distances unbiased.
OF_TOOLS: dict[str, dict[str, dict[str, object]]] = {
    "torch-fidelity": {
        "kid": {"subset_size": 1000, "draws": "torch-fidelity"},
        "inception_score": {"splitting": "torch-fidelity"},
    },
    "clean-fid": {"kid": {"draws": "clean-fid"}},
    "torchmetrics": {
        "kid": {"subset_size": 1000, "draws": "torchmetrics"},
        "inception_score": {"splitting": "torchmetrics"},
    },
    "dgm-eval": {"kid": {"draws": "dgm-eval"}, "inception_score": {"splitting": "dgm-eval"}},
    "stylegan3": {
        "fd": {"ddof": 0},
        "kid": {"draws": "stylegan3"},
        "inception_score": {"splitting": "contiguous"},
    },
    "adm": {"inception_score": {"splitting": "contiguous", "split_size": 5000}},
    # Of clips: stylegan-v 3fecd69 and cd-fvd 0.1.1 divide raw moments by n; fastvideo.eval (2026) adds to np.cov's.
    "styleganv": {"fd": {"ddof": 0}},
    "cd-i3d": {"fd": {"ddof": 0}},
    "cd-videomae": {"fd": {"ddof": 0}},
    "fastvideo": {"fd": {"eps": 1e-6}},
}


def settings_for(protocol: str, asked: Values | None = None) -> dict[str, dict[str, object]]:
    """What the tool called `protocol` sets, with `asked` before it; a tool without an entry sets nothing."""
    chosen = {metric: dict(values) for metric, values in OF_TOOLS.get(protocol, {}).items()}
    for metric, values in (asked or {}).items():
        chosen.setdefault(metric, {}).update(values)
    return chosen


def check_used(asked: Values, computed: Mapping[str, Settings | None]) -> None:
    """Raise `UsageError` for options of a metric that is not computed, or that has none."""
    for metric, values in asked.items():
        if metric not in computed:
            raise UsageError(
                f"{metric}.{next(iter(values))} is set, but {metric} is not asked for: add --metric {metric}"
            )
        if computed[metric] is None:
            checked(metric, None, values)


def with_settings(row: Metric, values: Mapping[str, object]) -> Metric:
    """The row with options set; raises `UsageError` for an option it has not, or a value that is none of its."""
    if not values:
        return row
    settings = checked(row.name, row.settings, values)
    return replace(row, settings=settings, min_n=settings.least_samples() or row.min_n)


def checked(metric: str, settings: Settings | None, values: Mapping[str, object]) -> Settings:
    """`settings` with `values`, which may be text as on the command line; raises `UsageError`."""
    if settings is None:
        raise UsageError(f"{metric}.{next(iter(values))}: {metric} has no options")
    hints, known = get_type_hints(type(settings)), {one.name: one for one in fields(settings)}
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise UsageError(f"{metric}.{name}: {hint}the options of {metric} are {', '.join(known)}")
    parsed = {name: _parsed(f"{metric}.{name}", hints[name], known[name], value) for name, value in values.items()}
    return replace(settings, **parsed)


def parse_settings(texts: Iterable[str]) -> dict[str, dict[str, object]]:
    """`metric.option=value` of the command line, by metric and option; raises `UsageError` for another form."""
    found: dict[str, dict[str, object]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        metric, dot, option = name.strip().partition(".")
        if not (equals and dot and metric and option and value.strip()):
            raise UsageError(f"--set {text}: write METRIC.OPTION=VALUE, such as kid.subset_size=500")
        if option in found.setdefault(metric, {}):
            raise UsageError(f"--set {text}: {metric}.{option} is set twice")
        found[metric][option] = value.strip()
    return found


def told(settings: Settings | None) -> str:
    """What differs from the defaults, for a signature: `draws=torch-fidelity,subset_size=1000`, or nothing."""
    if settings is None:
        return ""
    defaults = asdict(type(settings)())
    changed = {name: value for name, value in asdict(settings).items() if value != defaults[name]}
    return ",".join(f"{name}={changed[name]}" for name in sorted(changed))


def _parsed(where: str, hint: Any, option: Field[Any], value: object) -> object:
    """A value of the declared type: a whole number that is large enough, a number, or one of the words."""
    if get_origin(hint) is UnionType:  # int | None: None is the default, and not to be set
        hint = next(one for one in get_args(hint) if one is not type(None))
    if get_origin(hint) is Literal:
        found = next((one for one in get_args(hint) if value == one or value == str(one)), None)
        if found is None or isinstance(value, bool):
            raise UsageError(f"{where}={value}: use {' or '.join(map(str, get_args(hint)))}")
        return found
    if hint is float:
        return _parsed_float(where, value)
    try:
        number = int(value) if isinstance(value, str) else value
    except ValueError:
        number = None
    least = option.metadata.get("least", 0)
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        raise UsageError(f"{where}={value}: a whole number of at least {least} is wanted")
    return number


def _parsed_float(where: str, value: object) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise UsageError(f"{where}={value}: a number of at least 0 is wanted")
    return number
