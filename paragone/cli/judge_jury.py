"""What a jury makes of its jurors' votes: an outcome for each battle, by a rule. A view: no vote is changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paragone.data.errors import InputError
from paragone.data.records import Battle, Status, Verdict, Winner
from paragone.judges.base import combine
from paragone.judges.jury import majority, mean_log_odds

if TYPE_CHECKING:
    from paragone.arena.store import Store

RULES: Mapping[str, Callable[[Sequence[Verdict]], Verdict]] = {"majority": majority, "mean-log-odds": mean_log_odds}
COLUMNS = ("battle", "prompt", "model_a", "model_b", "winner", "voter", "kind", "reason")


@dataclass(frozen=True, slots=True)
class Seat:
    """One juror, and the models whose battles it does not sit on."""

    judge: str
    relatives: frozenset[str] = frozenset()

    def sits_on(self, battle: Battle) -> bool:
        """Whether neither model is of the juror's own family."""
        return battle.model_a not in self.relatives and battle.model_b not in self.relatives


@dataclass(slots=True)
class JuryReport:
    """The outcomes of a jury, and how they came about."""

    rule: str
    jurors: tuple[str, ...]
    n_battles: int = 0
    n_unanimous: int = 0
    n_without: int = 0  # a juror gave no verdict, and those of the others do not decide
    n_waiting: int = 0  # a juror has not been asked yet
    n_vacant: int = 0  # every juror is of the family of one of the models
    n_seats_left: int = 0  # seats that jurors left for their family's sake, over all battles
    outcomes: list[tuple[Battle, Verdict]] = field(default_factory=list)

    @property
    def voter(self) -> str:
        """Under which name the outcomes are written to a file."""
        return f"jury of {len(self.jurors)} by {self.rule}"

    def document(self) -> dict[str, Any]:
        """As JSON."""
        names = ("rule", "n_battles", "n_unanimous", "n_without", "n_waiting", "n_vacant", "n_seats_left")
        winners = Counter(str(verdict.winner) for _, verdict in self.outcomes)
        return {name: getattr(self, name) for name in names} | {
            "jurors": list(self.jurors),
            "n_votes": len(self.outcomes),
            "outcomes": {str(winner): winners[str(winner)] for winner in Winner},
            "models": self.models(),
        }

    def models(self) -> list[dict[str, Any]]:
        """Wins, losses and ties of each model, the most wins first."""
        score: dict[str, Counter[str]] = {}
        for battle, verdict in self.outcomes:
            for model, won in ((battle.model_a, Winner.MODEL_A), (battle.model_b, Winner.MODEL_B)):
                mine = score.setdefault(model, Counter())
                tied = verdict.winner in (Winner.TIE, Winner.BOTH_BAD)
                mine["tied" if tied else "won" if verdict.winner is won else "lost"] += 1
        rows = [
            {"model": model} | {name: counts[name] for name in ("won", "lost", "tied")}
            for model, counts in score.items()
        ]
        return sorted(rows, key=lambda row: (-(row["won"] + row["tied"] / 2) / _total(row), row["model"]))

    def rows(self) -> list[dict[str, Any]]:
        """The outcomes as votes in a file, which `paragone rate` reads."""
        return [
            dict(
                zip(
                    COLUMNS,
                    (
                        battle.id,
                        battle.prompt_id,
                        battle.model_a,
                        battle.model_b,
                        str(verdict.winner),
                        self.voter,
                        "judge",
                        verdict.reason,
                    ),
                    strict=True,
                )
            )
            for battle, verdict in self.outcomes
        ]


def deliberate(store: Store, seats: Sequence[Seat], battles: Sequence[Battle], rule: str) -> JuryReport:
    """The jury's outcome of each battle, from what the store holds of its jurors' last answers."""
    from paragone.arena.store_judges import last_verdicts

    said = {seat.judge: last_verdicts(store, seat.judge) for seat in seats}
    report = JuryReport(rule, tuple(seat.judge for seat in seats), len(battles))
    for battle in battles:
        sitting = [seat.judge for seat in seats if seat.sits_on(battle)]
        report.n_seats_left += len(seats) - len(sitting)
        if not sitting:
            report.n_vacant += 1
            continue
        if any(battle.id not in said[judge] for judge in sitting):
            report.n_waiting += 1
            continue
        jurors = [_juror(battle, said[judge][battle.id], rule) for judge in sitting]
        verdict = RULES[rule](jurors)
        if verdict.winner is None:
            report.n_without += 1
            continue
        report.n_unanimous += len({juror.winner for juror in jurors}) == 1
        report.outcomes.append((battle, verdict))
    return report


def _juror(battle: Battle, verdicts: tuple[Verdict, ...], rule: str) -> Verdict:
    """What one juror says, of both orders if it was asked in both."""
    judge = verdicts[0].judge
    if rule == "mean-log-odds":
        try:
            return mean_log_odds(verdicts, jury=judge)
        except InputError as error:  # no probabilities: unreliable ones are not replaced by a guess
            return Verdict(None, Status.INVALID, str(error), judge=judge)
    if len(verdicts) == 1:
        return verdicts[0]
    judgement = combine(battle, *verdicts)
    status = next((verdict.status for verdict in verdicts if verdict.winner is None), Status.OK)
    return Verdict(judgement.winner, status, judge=judge)


def write_outcomes(report: JuryReport, path: Path) -> None:
    """The outcomes as a file of votes."""
    from paragone.cli.tables import write_table

    write_table(report.rows(), path, schema="paragone.jury/1", columns=COLUMNS)


def print_jury(report: JuryReport) -> None:
    """A line of what the jury did, and a table of the models, on stdout."""
    from paragone.cli.output import stdout
    from paragone.cli.tables import cell_table, print_table

    left = f", {report.n_seats_left} seats left for the family's sake" if report.n_seats_left else ""
    undecided = [
        f"{count} {words}"
        for count, words in (
            (report.n_without, "without an outcome"),
            (report.n_waiting, "still to be judged"),
            (report.n_vacant, "without a juror"),
        )
        if count
    ]
    stdout.print(
        f"{report.voter}: {len(report.outcomes)} outcomes, {report.n_unanimous} of them unanimous"
        f"{''.join(f', {words}' for words in undecided)}{left}",
        markup=False,
        soft_wrap=True,
    )
    rows = [[row["model"], *(f"{row[name]:,}" for name in ("won", "lost", "tied"))] for row in report.models()]
    print_table(cell_table(["model", "won", "lost", "tied"], rows, left=("model",)))


def _total(row: Mapping[str, Any]) -> int:
    return int(row["won"] + row["lost"] + row["tied"])
