"""Judges: whoever can say which of two samples answers a prompt better, and the protocol for asking in both orders."""

import importlib
from typing import TYPE_CHECKING, Any

from paragone.judges.base import Judge, PreparingJudge, combine, judge_battles

if TYPE_CHECKING:
    from paragone.judges.audit import audit_judge
    from paragone.judges.judge_card import JudgeCard
    from paragone.judges.mllm import MLLMJudge
    from paragone.judges.scorers import ScoreJudge
    from paragone.judges.scripted import ScriptedJudge

if __name__ == "judges":  # a second copy of every class, in a checkout whose root is on the path
    raise ImportError("import paragone.judges instead of judges")

__all__ = [
    "Judge",
    "JudgeCard",
    "MLLMJudge",
    "PreparingJudge",
    "ScoreJudge",
    "ScriptedJudge",
    "audit_judge",
    "combine",
    "judge_battles",
]

_LOADED_WHEN_ASKED_FOR = {
    "JudgeCard": "judge_card",
    "MLLMJudge": "mllm",
    "ScoreJudge": "scorers",
    "ScriptedJudge": "scripted",
    "audit_judge": "audit",
}


def __getattr__(name: str) -> Any:
    if name in _LOADED_WHEN_ASKED_FOR:
        return getattr(importlib.import_module(f"paragone.judges.{_LOADED_WHEN_ASKED_FOR[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
