"""The judges that can be named, built in or installed (entry-point group `paragone.judges`), and how one is made.

A name leads to a class or function with a method `from_options`, which is given `JudgeOptions`; to a class or function
without arguments; or to a judge as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paragone.data.errors import PluginError, UsageError
from paragone.data.records import Status
from paragone.data.registry import Registry
from paragone.judges.base import Judge
from paragone.judges.cache import Exchange, Memory, send_directly
from paragone.judges.pace import Pace
from paragone.judges.runner import AsyncJudge

JUDGES = Registry(
    "judges",
    {
        "digits": "paragone.judges.digits:DigitsJudge",
        "mllm": "paragone.judges.mllm:MLLMJudge",
        "local": "paragone.judges.local:LocalJudge",
        "sharpness": "paragone.judges.scorers:sharpness_judge",
        "contrast": "paragone.judges.scorers:contrast_judge",
        "colourfulness": "paragone.judges.scorers:colourfulness_judge",
        "text": "paragone.judges.ocr:tesseract_judge",
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOptions:
    """What a judge can be told when it is made; None leaves it to the judge."""

    model: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None  # the name of an environment variable: a key itself is never an option
    protocol: str | None = None
    template: Path | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    timeout_s: float | None = None
    samples: int = 1  # answers to each question; the commonest counts
    soft: bool = False  # ask for log-probabilities, too
    family: str = ""
    seed: int = 0
    exchange: Exchange = send_directly
    pace: Pace | None = None
    clips: str | None = None  # how clips are shown
    retried: frozenset[Status] = frozenset()  # kept replies that end so are asked for anew
    memory: Memory | None = None

    def without_model(self) -> JudgeOptions:
        """What is left of them for a judge that asks no model."""
        return JudgeOptions(seed=self.seed, exchange=self.exchange, pace=self.pace)

    def given(self) -> tuple[str, ...]:
        """The names of the options that only a judge which is asked over the network or loads a model knows."""
        names = (
            "model",
            "base_url",
            "api_key_env",
            "protocol",
            "template",
            "temperature",
            "max_tokens",
            "timeout_s",
            "clips",
        )
        given = [name for name in names if getattr(self, name) is not None]
        return (*given, *(["samples"] if self.samples != 1 else []), *(["soft"] if self.soft else []))


def takes_model(name: str) -> bool:
    """Whether a judge can be told which model to ask, and where: it says `takes_model = False` if not."""
    found: Any = JUDGES.load(name)
    return hasattr(found, "from_options") and bool(getattr(found, "takes_model", True))


def load_judge(name: str, options: JudgeOptions) -> Judge | AsyncJudge:
    """The judge called `name`, or the one at `module:attribute`.

    Raises `PluginError` when there is none or what is there is no judge, and `UsageError` when options for a model
    were given to a judge that asks none.
    """
    found: Any = JUDGES.load(name)
    if (given := options.given()) and not takes_model(name):
        raise UsageError(f"the judge {name!r} asks no model; leave out {', '.join(given)}")
    if hasattr(found, "from_options"):
        judge = found.from_options(options)
    else:
        judge = found() if isinstance(found, type) or not isinstance(found, (Judge, AsyncJudge)) else found
    if not isinstance(judge, (Judge, AsyncJudge)):
        raise PluginError(
            f"{name}: {type(judge).__name__} is no judge: a judge has a name, and compare(prompt, a, b) or ask(…)"
        )
    return judge
