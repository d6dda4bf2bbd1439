"""An audit finds the faults that were built into a judge, and none that were not."""

import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest

from paragone.data import InputError, Prompt, Status, UsageError, Verdict, Winner
from paragone.data.digits import load_digits_split
from paragone.judges.audit import CACHED_REPEATS, audit_judge, plan_audit
from paragone.judges.audit_measures import logit_bias, shift_interval
from paragone.judges.audit_media import DRESSINGS, Clip, Media, Shown, digit_items, scene_items, treat
from paragone.judges.audit_probes import PROBES
from paragone.judges.coverage import wilson
from paragone.judges.digits import DigitsJudge
from paragone.judges.judge_card import GATES, JudgeCard, check_gates
from paragone.judges.scripted import ScriptedJudge

N = 5  # one scene of each kind
ROLES = {"right": 1.0, "twin": 1.0, "over-edit": 0.5, "source": 0.2, "wrong": 0.0, "unrelated": 0.0}
Score = Callable[[Prompt, Shown | Clip], float]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="module")
def shown(folder: Path) -> dict[str, Shown | Clip]:
    """What each picture of the standard audit shows, by the name of its file."""
    media = Media(folder)
    plan = plan_audit(n=N, reads_clips=True)
    pictures = [picture for question in plan.questions for picture in (question.first, question.second)]
    return {media.path(picture).name: picture for picture in pictures}


def truth(prompt: Prompt, picture: Shown | Clip) -> float:
    """The quality of a picture, as only its maker knows it."""
    if isinstance(picture, Clip):
        return {"right": 1.0, "frozen": 0.5, "shuffled": 0.0}[picture.frames]
    if prompt.id != picture.item.prompt.id:
        return 0.0
    _, _, level = picture.treatment.partition("-")
    return ROLES[picture.role] - (0.1 * (int(level) + 1) if level.isdigit() else 0.0)


def by_score(shown: dict[str, Shown | Clip], score: Score = truth) -> ScriptedJudge:
    def decide(prompt: Prompt, a: Path, b: Path) -> Winner:
        of_a, of_b = score(prompt, shown[a.name]), score(prompt, shown[b.name])
        return Winner.TIE if of_a == of_b else Winner.MODEL_A if of_a > of_b else Winner.MODEL_B

    judge = ScriptedJudge(decide)
    judge.reads_clips = True  # type: ignore[attr-defined]
    return judge


def audit(judge: ScriptedJudge, folder: Path, *probes: str) -> JudgeCard:
    return audit_judge(judge, n=N, media=folder, probes=probes or PROBES)


def test_a_perfect_judge_gets_a_perfect_card(shown: dict[str, Shown | Clip], folder: Path) -> None:
    judge = by_score(shown)
    card = audit(judge, folder)
    ideal = {"higher": 1.0, "lower": 0.0, "half": 0.5, "zero": 0.0}
    for measure in card.measures:
        if measure.value is None:
            assert measure.name == "logit bias"  # nothing moved with the sides
            continue
        assert measure.value == ideal[measure.better], measure
        assert measure.lower is None or measure.lower <= measure.value + 1e-9
        assert measure.upper is None or measure.upper >= measure.value - 1e-9
    assert {measure.probe for measure in card.measures} == {"calls", *PROBES}
    assert card.n_calls == judge.n_calls == card.statuses["ok"]
    assert check_gates(card, {name: 0.0 if name.startswith("max") else 1.0 for name in GATES}) == ()
    assert card.warnings == (CACHED_REPEATS,)
    assert not card.left_out


def test_the_number_of_calls_is_known_beforehand(shown: dict[str, Shown | Clip], folder: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    judge = by_score(shown)
    plan = plan_audit(n=N, reads_clips=True)
    audit_judge(judge, n=N, media=folder, progress=lambda task, done, total: seen.append((task, done, total)))
    assert judge.n_calls == plan.n_calls == sum(plan.calls_by_probe.values()) < len(plan.questions)
    calls = [(done, total) for task, done, total in seen if task == "audit"]
    assert calls == [(done, plan.n_calls) for done in range(1, plan.n_calls + 1)]
    assert seen[0][0] == "draw pictures"
    assert plan.calls_by_probe["scenes"] == 2 * N
    assert plan.calls_by_probe["repeat"] == 2 * N  # the first of three is a question of another probe


def test_the_same_seed_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    plan = plan_audit(n=4, seed=3, probes=("corruption", "injection", "editing"))
    again = plan_audit(n=4, seed=3, probes=("corruption", "injection", "editing"))
    media, others = Media(tmp_path / "a"), Media(tmp_path / "b")
    names = [media.path(question.first).name for question in plan.questions]
    assert names == [others.path(question.first).name for question in again.questions]
    assert all(len(Path(name).stem) == 32 and set(Path(name).stem) <= set("0123456789abcdef") for name in names)
    assert plan_audit(n=4, seed=4).questions[0].key != plan_audit(n=4, seed=3).questions[0].key


def test_always_first(shown: dict[str, Shown | Clip], folder: Path) -> None:
    card = audit(ScriptedJudge(lambda prompt, a, b: Winner.MODEL_A), folder, "scenes", "order", "repeat", "identical")
    assert card.measure("order", "first-position rate").value == 1.0
    assert card.measure("order", "flip rate: right against wrong").value == 1.0
    bias = card.measure("order", "logit bias")
    assert bias.lower is not None
    assert bias.lower > 0.4
    assert bias.upper is None
    assert card.measure("identical", "tie rate").value == 0.0
    assert card.measure("scenes", "accuracy").value == 0.5
    assert card.measure("scenes", "right in both orders").value == 0.0
    assert card.measure("repeat", "self-consistency").value == 1.0
    failing = check_gates(card, {"max_flip_rate": 0.15, "min_accuracy": 0.9, "min_self_consistency": 0.9})
    assert [line.split(":")[0] for line in failing] == ["max_flip_rate", "min_accuracy"]


@pytest.mark.parametrize("bias", [-1.0, 0.0, 0.7, 1.5])
def test_position_bias_is_recovered(bias: float, tmp_path: Path) -> None:
    items = digit_items(250)
    media = Media(tmp_path)
    right = {media.path(Shown(item, role)).name for item in items for role in ("right", "twin")}
    rng = random.Random(5)

    def decide(prompt: Prompt, a: Path, b: Path) -> Verdict:
        logit = bias + 1.5 * ((a.name in right) - (b.name in right))
        tie = rng.random() < 0.2  # ties change nothing
        first = rng.random() < 1 / (1 + math.exp(-logit))
        soft = 1 / (1 + math.exp(-logit - rng.gauss(0, 0.5)))
        winner = Winner.TIE if tie else Winner.MODEL_A if first else Winner.MODEL_B
        return Verdict(winner, scores=(soft, 1 - soft), details={"score_mode": "logprob"})

    card = audit_judge(ScriptedJudge(decide), items=items, probes=("order",), media=tmp_path)
    for name, width in (("logit bias", 1.0), ("soft logit bias", 0.2)):
        found = card.measure("order", name)
        assert found.lower is not None
        assert found.upper is not None
        assert found.lower <= bias <= found.upper, name
        assert found.upper - found.lower < width
    assert card.material == "digit"


def test_a_coin_is_found_out(shown: dict[str, Shown | Clip], folder: Path) -> None:
    rng = random.Random(0)
    card = audit(
        ScriptedJudge(lambda prompt, a, b: rng.choice((Winner.MODEL_A, Winner.MODEL_B))),
        folder,
        "scenes",
        "order",
        "repeat",
    )
    accuracy = card.measure("scenes", "accuracy")
    assert accuracy.lower is not None
    assert accuracy.upper is not None
    assert accuracy.lower < 0.5 < accuracy.upper
    consistent = card.measure("repeat", "self-consistency").value
    assert consistent is not None
    assert consistent < 0.7  # three coins agree in a quarter of cases
    position = card.measure("order", "first-position rate")
    assert position.lower is not None
    assert position.upper is not None
    assert position.lower < 0.5 < position.upper


def test_obeying_what_is_written_is_found(shown: dict[str, Shown | Clip], folder: Path) -> None:
    def obeys(prompt: Prompt, picture: Shown | Clip) -> float:
        injected = isinstance(picture, Shown) and picture.treatment == "instruction"
        return 5.0 if injected else truth(prompt, picture)

    card = audit(by_score(shown, obeys), folder, "scenes", "injection")
    assert card.measure("injection", "instruction").value == 0.5  # from a tie to a win
    assert card.measure("injection", "instruction on the wrong picture").value == 1.0
    lower = card.measure("injection", "instruction on the wrong picture").lower
    assert lower is not None
    assert lower > 0.2
    for dressing in set(DRESSINGS) - {"instruction"}:
        assert card.measure("injection", dressing).value == 0.0
    assert card.measure("scenes", "accuracy").value == 1.0
    assert check_gates(card, {"max_injection_shift": 0.2})[0].startswith("max_injection_shift: 1.000")


def test_a_judge_that_notices_instructions_is_given_credit(shown: dict[str, Shown | Clip], folder: Path) -> None:
    perfect = by_score(shown)

    def notices(prompt: Prompt, a: Path, b: Path) -> Verdict:
        seen = [picture for path in (a, b) if isinstance(picture := shown[path.name], Shown)]
        suspects = any(picture.treatment == "instruction" for picture in seen)
        return Verdict(perfect.compare(prompt, a, b).winner, details={"injection_suspected": suspects})

    card = audit(ScriptedJudge(notices), folder, "injection")
    assert card.measure("injection", "suspected: instruction").value == 1.0
    assert card.measure("injection", "suspected: control").value == 0.0
    assert check_gates(card, {"max_injection_shift": 0.0}) == ()  # noticing is no shift
    with pytest.raises(InputError, match="no measure injection/suspected"):
        audit(perfect, folder, "injection").measure("injection", "suspected: control")


def test_blindness_to_colour_is_told_from_other_faults(shown: dict[str, Shown | Clip], folder: Path) -> None:
    def colour_blind(prompt: Prompt, picture: Shown | Clip) -> float:
        return 0.0 if isinstance(picture, Shown) and picture.item.kind == "colour" else truth(prompt, picture)

    card = audit(by_score(shown, colour_blind), folder, "scenes")
    assert card.measure("scenes", "accuracy: colour").value == 0.0  # nothing but ties
    assert card.measure("scenes", "accuracy: count").value == 1.0
    assert card.measure("scenes", "accuracy").value == 0.8


def test_blindness_to_the_prompt_is_found(shown: dict[str, Shown | Clip], folder: Path) -> None:
    def pictures_only(prompt: Prompt, picture: Shown | Clip) -> float:
        return ROLES[picture.role] if isinstance(picture, Shown) else 0.0

    card = audit(by_score(shown, pictures_only), folder, "prompts", "video")
    assert card.measure("prompts", "accuracy against another prompt's picture").value == 0.0
    assert card.measure("video", "frozen").value == 0.0


def test_long_prompts_that_confuse_are_found(shown: dict[str, Shown | Clip], folder: Path) -> None:
    def short_only(prompt: Prompt, picture: Shown | Clip) -> float:
        return 0.0 if len(prompt.text) > 250 else truth(prompt, picture)

    card = audit(by_score(shown, short_only), folder, "prompts")
    assert card.measure("prompts", "accuracy shift by long wording").value == -1.0


def test_a_ladder_that_is_not_monotone_is_found(shown: dict[str, Shown | Clip], folder: Path) -> None:
    def likes_strong_blur(prompt: Prompt, picture: Shown | Clip) -> float:
        strong = isinstance(picture, Shown) and picture.treatment == "blur-3"
        return 2.0 if strong else truth(prompt, picture)

    card = audit(by_score(shown, likes_strong_blur), folder, "corruption")
    assert card.measure("corruption", "blur: largest drop").value == 1.0
    assert card.measure("corruption", "noise: largest drop").value == 0.0


def test_missing_verdicts_are_counted_and_decide_nothing(shown: dict[str, Shown | Clip], folder: Path) -> None:
    perfect = by_score(shown)

    def refuses_badges(prompt: Prompt, a: Path, b: Path) -> Verdict:
        for path in (a, b):
            picture = shown[path.name]
            if isinstance(picture, Shown) and picture.treatment == "badge":
                return Verdict(None, Status.REFUSED, "no")
        return perfect.compare(prompt, a, b)

    card = audit(ScriptedJudge(refuses_badges), folder, "scenes", "injection", "video")
    assert card.statuses["refused"] == 2 * N
    badge = card.measure("injection", "badge")
    assert (badge.value, badge.n) == (None, 0)
    assert card.measure("scenes", "accuracy").value == 1.0
    coverage = card.measure("calls", "coverage").value
    assert coverage == 1 - 2 * N / card.n_calls
    assert "10 refused" in card.warnings[0]
    assert check_gates(card, {"max_injection_shift": 0.2})[0].startswith("max_injection_shift: not measured")
    assert "video" in card.left_out


class Sampling:
    """A judge with a cache that would answer every repetition alike, and samples that it does not."""

    name = "sampling"

    def __init__(self, index: int = 0) -> None:
        self.index = index

    def with_sample(self, index: int, /) -> "Sampling":
        return Sampling(index)

    def compare(self, prompt: Prompt, a: Path, b: Path, /) -> Verdict:
        raise AssertionError("compare_many is there")

    def compare_many(self, questions: Sequence[tuple[Prompt, Path, Path]], /) -> Iterator[Verdict]:
        for _ in questions:
            yield Verdict(Winner.MODEL_A if self.index < 2 else Winner.MODEL_B)


def test_repetitions_ask_for_fresh_samples(folder: Path) -> None:
    card = audit_judge(Sampling(), n=N, probes=("repeat",), media=folder)
    assert card.measure("repeat", "self-consistency").value == 0.0
    assert card.warnings == ()


def test_the_digits_judge_is_audited_on_digits() -> None:
    _, reference = load_digits_split(seed=0)
    card = audit_judge(DigitsJudge(reference), items=digit_items(30))
    accuracy = card.measure("scenes", "accuracy").value
    assert accuracy is not None
    assert accuracy > 0.85
    assert card.measure("order", "flip rate: right against wrong").value == 0.0
    assert card.measure("identical", "tie rate").value == 1.0
    assert set(card.left_out) == {
        "injection: instruction",
        "injection: prompt text",
        "injection: badge",
        "injection: resolution",
        "injection: saturation",
        "prompts: long wording",
        "editing",
        "video",
    }


def test_a_card_survives_json(shown: dict[str, Shown | Clip], folder: Path) -> None:
    card = audit(by_score(shown), folder, "scenes", "order", "video")
    plain = json.loads(json.dumps(card.to_dict(), allow_nan=False))
    assert plain["schema"] == "paragone.judge-card/1"
    assert JudgeCard.from_dict(plain) == card
    with pytest.raises(InputError, match="schema"):
        JudgeCard.from_dict(plain | {"schema": "paragone.judge-card/9"})
    with pytest.raises(InputError, match="run the audit again"):
        JudgeCard.from_dict({key: value for key, value in plain.items() if key != "n_calls"})
    with pytest.raises(InputError, match="no measure order/charm"):
        card.measure("order", "charm")


def test_markdown_shows_every_measure_and_no_foreign_markup(folder: Path) -> None:
    card = audit_judge(
        ScriptedJudge(lambda prompt, a, b: Winner.MODEL_A, name="<script>|x`\u202e"),
        n=N,
        probes=("order",),
        media=folder,
    )
    page = card.to_markdown()
    assert page.startswith("# Judge card: &#60;script&#62;&#124;x&#96;\n")
    for measure in card.measures:
        assert f"| {measure.name} | " in page
    assert "… ∞" in page


def test_options_that_cannot_work_are_refused(folder: Path) -> None:
    judge = ScriptedJudge(lambda prompt, a, b: Winner.TIE)
    with pytest.raises(UsageError, match="no probe 'charm'"):
        audit_judge(judge, probes=("charm",))
    with pytest.raises(UsageError, match="without probes"):
        audit_judge(judge, probes=())
    with pytest.raises(UsageError, match="at least 2"):
        audit_judge(judge, n=1)
    with pytest.raises(UsageError, match="reads_clips"):
        audit_judge(judge, probes=("video",))
    card = audit_judge(judge, n=2, probes=("identical",), media=folder)
    with pytest.raises(UsageError, match="no gate 'max_charm'"):
        check_gates(card, {"max_charm": 0.1})
    with pytest.raises(UsageError, match="share in"):
        check_gates(card, {"max_flip_rate": 15})
    assert judge.n_calls == 2


def test_treatments_change_what_they_should() -> None:
    (item,) = scene_items(1)
    picture = item.pictures["right"]
    original = np.asarray(picture, dtype=float)
    for damage in ("noise", "blur", "jpeg", "pixelation"):
        errors = [
            np.mean((np.asarray(treat(picture, f"{damage}-{level}", prompt=item.prompt)) - original) ** 2)
            for level in range(4)
        ]
        assert errors == sorted(errors)
        assert errors[0] > 0
    for dressing in DRESSINGS:
        dressed = treat(picture, dressing, prompt=item.prompt)
        assert dressed.size == ((640, 640) if dressing == "resolution" else picture.size)
        if dressing != "resolution":
            assert not np.array_equal(np.asarray(dressed), original)
    with pytest.raises(UsageError, match="no treatment 'blur-4'"):
        treat(picture, "blur-4", prompt=item.prompt)


def test_clips_hold_the_frames_they_should(tmp_path: Path) -> None:
    media = Media(tmp_path)
    places = {}
    for frames in ("right", "frozen", "shuffled"):
        with Image.open(media.path(Clip(0, frames))) as clip:
            assert clip.n_frames == 12  # type: ignore[attr-defined]
            found = []
            for number in range(12):
                clip.seek(number)
                ink = np.asarray(clip.convert("L")) < 200
                found.append(float(np.nonzero(ink)[1].mean()))
            places[frames] = found
    assert places["right"] == sorted(places["right"])
    assert np.ptp(places["right"]) > 80
    assert np.ptp(places["frozen"]) < 1
    assert sorted(places["shuffled"]) == pytest.approx(places["right"], abs=1)
    assert places["shuffled"] != sorted(places["shuffled"])


def test_wilson_is_the_textbooks() -> None:
    for successes, n in ((0, 12), (3, 10), (45, 50), (50, 50)):
        exact = binomtest(successes, n).proportion_ci(method="wilson")
        assert wilson(successes, n) == pytest.approx((exact.low, exact.high))


def test_intervals_hold() -> None:
    rng = np.random.default_rng(1)
    held_bias, held_shift, repeats, bias = 0, 0, 1500, 0.6
    for _ in range(repeats):
        d = rng.normal(0, 1.5, 80)
        first = rng.random((2, 80)) < 1 / (1 + np.exp(-bias - np.array([d, -d])))
        both = first.sum(axis=0)
        _, low, high = logit_bias(int((both == 2).sum()), int((both == 0).sum()))
        held_bias += (low if low is not None else -9) <= bias <= (high if high is not None else 9)
        differences = rng.choice([0.0, 0.5, 1.0], 20, p=[0.8, 0.15, 0.05])
        lower, upper = shift_interval(list(differences))
        held_shift += lower <= 0.125 <= upper
    assert 0.93 < held_bias / repeats <= 1
    assert 0.90 < held_shift / repeats <= 1
    assert logit_bias(0, 0) == (None, None, None)


def test_the_bias_estimate_is_centred_and_changes_sign_with_the_sides() -> None:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(300):
        d = rng.normal(0, 1.5, 200)
        both = (rng.random((2, 200)) < 1 / (1 + np.exp(-0.6 - np.array([d, -d])))).sum(axis=0)
        value, _, _ = logit_bias(int((both == 2).sum()), int((both == 0).sum()))
        assert value is not None
        found.append(value)
    assert np.mean(found) == pytest.approx(0.6, abs=0.03)
    value, low, high = logit_bias(12, 5)
    assert low is not None
    assert high is not None
    assert logit_bias(5, 12) == pytest.approx((-value if value is not None else None, -high, -low))
    assert logit_bias(5, 5)[0] == 0
