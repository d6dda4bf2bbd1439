"""Judges: whoever can say which of two samples answers a prompt better, and the protocol for asking in both orders."""

from paragone.judges.base import Judge, PreparingJudge, combine, judge_battles

if __name__ == "judges":  # a second copy of every class, in a checkout whose root is on the path
    raise ImportError("import paragone.judges instead of judges")

__all__ = ["Judge", "PreparingJudge", "combine", "judge_battles"]
