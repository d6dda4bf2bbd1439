"""Options of metrics: what a tool sets, what a user sets, what is refused, and what the signature says of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg

from paragone.data.errors import TooFewSamples, UsageError
from paragone.metrics import (
    ALL_METRICS,
    FeatureStatistics,
    ForeignStatistics,
    Side,
    compute_metrics,
    inception_score,
    kernel_distance,
    metric_named,
)
from paragone.metrics.clip_protocols import I3D_PROTOCOLS, VIDEOMAE_PROTOCOLS
from paragone.metrics.comparison import compare_results
from paragone.metrics.draws import DRAWS, TORCH_FIDELITY_SEED
from paragone.metrics.inception_score import SPLITTINGS
from paragone.metrics.protocols import DINOV2_PROTOCOLS, INCEPTION_PROTOCOLS
from paragone.metrics.settings import (
    OF_TOOLS,
    InceptionScoreSettings,
    KernelSettings,
    checked,
    parse_settings,
    settings_for,
    told,
    with_settings,
)

RNG = np.random.default_rng(0)
REFERENCE, GENERATED = RNG.normal(size=(60, 5)) ** 2, RNG.normal(size=(47, 5)) ** 2 * 1.2
LOGITS = RNG.normal(size=(47, 7))
PICTURES, OTHERS = RNG.integers(0, 256, (2, 12, 32, 32, 3), dtype=np.uint8)


def side(features: Any, logits: Any = None) -> Side:
    return Side(FeatureStatistics.from_features(features), features, logits)


def estimate(metric: str, values: dict[str, object], **sides: Side) -> Any:
    row = with_settings(metric_named(metric), values)
    return row.estimate(**{"reference": side(REFERENCE), "generated": side(GENERATED, LOGITS)} | sides, seed=5)


# ---- The table -----------------------------------------------------------------------------------------------------


def test_every_tool_is_a_protocol_and_every_value_one_of_its_options() -> None:
    protocols = {row.name for row in (*INCEPTION_PROTOCOLS, *DINOV2_PROTOCOLS, *I3D_PROTOCOLS, *VIDEOMAE_PROTOCOLS)}
    for tool, metrics in OF_TOOLS.items():
        assert tool in protocols
        for metric, values in metrics.items():
            row = with_settings(ALL_METRICS[metric], values)
            assert told(row.settings) != "", (tool, metric)
            assert told(ALL_METRICS[metric].settings) == ""
    assert settings_for("paragone") == settings_for("another") == {}
    assert settings_for("adm", {"kid": {"subsets": 3}})["kid"] == {"subsets": 3}
    assert settings_for("torch-fidelity", {"kid": {"subset_size": 3}})["kid"]["subset_size"] == 3
    assert OF_TOOLS["torch-fidelity"]["kid"]["subset_size"] == 1000


def test_words_are_those_that_the_formulas_know() -> None:
    for draws in DRAWS:
        checked("kid", KernelSettings(), {"draws": draws})
    for splitting in SPLITTINGS:
        checked("inception_score", InceptionScoreSettings(), {"splitting": splitting})


# ---- What they mean ------------------------------------------------------------------------------------------------


def naive_kid(x: Any, y: Any) -> float:
    n, d = x.shape
    within = sum((a @ b / d + 1) ** 3 for s in (x, y) for i, a in enumerate(s) for j, b in enumerate(s) if i != j)
    return within / (n * (n - 1)) - 2 * np.mean([(a @ b / d + 1) ** 3 for a in x for b in y])


@pytest.mark.parametrize("draws", DRAWS)
def test_subsets_are_drawn_as_the_tool_says(draws: str) -> None:
    torch = pytest.importorskip("torch")
    sizes = {"reference": len(REFERENCE), "generated": len(GENERATED)}
    order = ["generated", "reference"] if draws in ("torch-fidelity", "stylegan3") else ["reference", "generated"]
    legacy = np.random.RandomState(TORCH_FIDELITY_SEED if draws == "torch-fidelity" else 5)
    modern, torchs = np.random.default_rng(5), torch.Generator().manual_seed(5)
    values = []
    for _ in range(3):
        drawn = {}
        for role in order:
            if draws == "torchmetrics":
                drawn[role] = torch.randperm(sizes[role], generator=torchs)[:6].numpy()
            else:
                drawn[role] = (modern if draws == "paragone" else legacy).choice(sizes[role], 6, replace=False)
        values.append(naive_kid(REFERENCE[drawn["reference"]], GENERATED[drawn["generated"]]))
    found = kernel_distance(REFERENCE, GENERATED, subsets=3, subset_size=6, seed=5, draws=draws)
    assert found.mean == pytest.approx(np.mean(values), rel=1e-10)
    assert found.standard_deviation == pytest.approx(np.std(values), rel=1e-8)


def test_a_draw_of_all_of_one_side_still_moves_the_generator_of_a_tool() -> None:
    found = kernel_distance(REFERENCE[:47], GENERATED[:20], subsets=2, subset_size=20, seed=5, draws="clean-fid")
    legacy = np.random.RandomState(5)
    values = [
        naive_kid(REFERENCE[:47][legacy.choice(47, 20, replace=False)], GENERATED[legacy.choice(20, 20, replace=False)])
        for _ in range(2)
    ]
    assert found.mean == pytest.approx(np.mean(values), rel=1e-10)


def naive_score(logits: Any) -> float:
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return float(np.exp(np.mean(np.sum(p * np.log(p / p.mean(axis=0)), axis=1))))


@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_splits_are_made_as_the_tool_says(splitting: str) -> None:
    torch = pytest.importorskip("torch")
    shuffled = np.random.RandomState(2020).permutation(47)
    even = [(47 * i // 6, 47 * (i + 1) // 6) for i in range(6)]
    order, edges, ddof = {
        "paragone": (np.random.default_rng(5).permutation(47), even, 0),
        "contiguous": (np.arange(47), even, 0),
        "torch-fidelity": (shuffled, even, 0),
        "torchmetrics": (
            torch.randperm(47, generator=torch.Generator().manual_seed(5)).numpy(),
            [(8 * i, min(8 * i + 8, 47)) for i in range(6)],
            1,
        ),
        "dgm-eval": (shuffled, [(7 * i, 7 * i + 7) for i in range(6)], 0),
    }[splitting]
    values = [naive_score(LOGITS[order[a:b]]) for a, b in edges]
    found = estimate("inception_score", {"splitting": splitting, "splits": 6})
    assert found.value == pytest.approx(np.mean(values), rel=1e-12)
    assert found.details["standard_deviation"] == pytest.approx(np.std(values, ddof=ddof), rel=1e-10)
    assert found.standard_error == pytest.approx(np.std(values, ddof=1) / np.sqrt(6), rel=1e-10)


def test_torchmetrics_may_make_fewer_splits_than_asked_for() -> None:
    found = inception_score(LOGITS[:12], splitting="torchmetrics", seed=0)  # of ⌈12 / 10⌉ = 2 samples each
    assert found.splits == 6


def test_guided_diffusion_splits_by_size_and_a_single_split_has_no_interval() -> None:
    sizes = {"split_size": 20, "splitting": "contiguous"}
    found = estimate("inception_score", sizes)
    assert found.value == pytest.approx(np.mean([naive_score(LOGITS[a : a + 20]) for a in (0, 20, 40)]), rel=1e-12)
    found = estimate("inception_score", sizes | {"split_size": 5000})
    assert found.value == pytest.approx(naive_score(LOGITS), rel=1e-12)
    assert (found.standard_error, found.ci_low, found.details["splits"]) == (None, None, 1)
    with pytest.raises(UsageError, match="splits=3 and split_size=20 exclude each other"):
        estimate("inception_score", sizes | {"splits": 3})


@pytest.mark.parametrize("n", [47, 4])  # more and fewer samples than dimensions
def test_ddof_0_divides_scatters_by_n(n: int) -> None:
    generated = GENERATED[:n]
    sigmas = [np.cov(x, rowvar=False, ddof=0) for x in (REFERENCE, generated)]
    root = scipy.linalg.sqrtm(sigmas[0])
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ sigmas[1] @ root), 0)).sum()
    expected = np.square(REFERENCE.mean(axis=0) - generated.mean(axis=0)).sum()
    expected += np.trace(sigmas[0]) + np.trace(sigmas[1]) - 2 * cross
    found = estimate("fd", {"ddof": 0}, generated=side(generated))
    assert found.value == pytest.approx(expected, rel=1e-7)
    assert found.value != pytest.approx(estimate("fd", {}, generated=side(generated)).value, rel=1e-3)


def test_a_foreign_covariance_is_taken_as_it_is() -> None:
    sigma = np.cov(REFERENCE, rowvar=False, ddof=0)
    foreign = Side(ForeignStatistics(REFERENCE.mean(axis=0), sigma))
    known = estimate("fd", {"ddof": 0})
    assert estimate("fd", {"ddof": 0}, reference=foreign).value == pytest.approx(known.value, rel=1e-10)


def test_points_of_the_line() -> None:
    assert len(estimate("fd_infinity", {"points": 4}).details["sample_sizes"]) == 4


# ---- The whole way -------------------------------------------------------------------------------------------------


def kid(**options: Any) -> Any:
    given = {"generated": OTHERS, "reference": PICTURES, "metrics": ["kid"], "device": "cpu", "workers": 0}
    return compute_metrics(**given | options)


def test_the_signature_says_what_is_not_the_default(tmp_path: Any) -> None:
    plain, set_ = kid(), kid(settings={"kid": {"subset_size": 5, "subsets": "7"}})
    assert "set:" not in plain.results[0].signature
    assert "|set:subset_size=5,subsets=7|n:12|" in set_.results[0].signature
    assert (set_.results[0].details["subset_size"], set_.results[0].details["subsets"]) == (5, 7)
    from paragone.cli.output import write_json
    from paragone.data.errors import NotComparable

    for name, report in (("a", plain), ("b", set_)):
        write_json(report.to_dict(), str(tmp_path / f"{name}.json"))
    assert compare_results(tmp_path / "b.json", tmp_path / "b.json").rows
    with pytest.raises(NotComparable, match="settings is the defaults in the one and subset_size=5,subsets=7"):
        compare_results(tmp_path / "a.json", tmp_path / "b.json")


def test_a_stated_size_of_a_subset_is_never_made_smaller() -> None:
    with pytest.raises(TooFewSamples, match="kid needs at least 13 pictures, there are 12"):
        kid(settings={"kid": {"subset_size": 13}})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kid": {"subset_sise": 5}}, r"kid\.subset_sise: did you mean 'subset_size'\? the options of kid are subsets"),
        ({"kid": {"subset_size": "many"}}, r"kid\.subset_size=many: a whole number of at least 2"),
        ({"kid": {"subset_size": 1}}, r"kid\.subset_size=1: a whole number of at least 2"),
        ({"kid": {"subset_size": True}}, r"kid\.subset_size=True: a whole number"),
        ({"kid": {"subset_size": 5.5}}, r"kid\.subset_size=5.5: a whole number"),
        ({"kid": {"draws": "mine"}}, r"kid\.draws=mine: use paragone or torch-fidelity or"),
        ({"fd": {"ddof": 0}}, r"fd\.ddof is set, but fd is not asked for: add --metric fd"),
        ({"fid": {"ddof": 2}}, r"fd\.ddof is set, but fd is not asked"),
        ({"psnr": {"window": 2}}, r"psnr\.window is set, but psnr is not asked for"),
    ],
)
def test_what_cannot_be_set_is_said_before_the_work(settings: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        kid(settings=settings)


def test_a_metric_without_options_says_so() -> None:
    with pytest.raises(UsageError, match=r"sharpness\.window: sharpness has no options"):
        kid(metrics=["sharpness"], settings={"sharpness": {"window": 3}})
    with pytest.raises(UsageError, match=r"recall\.k: recall has no options"):
        kid(metrics=["recall"], settings={"recall": {"k": 3}})
    with pytest.raises(UsageError, match=r"fd\.ddof=2: use 0 or 1"):
        kid(metrics=["fd"], settings={"fid": {"ddof": 2}})


def test_the_command_lines_form() -> None:
    texts = ["kid.subset_size=500", "kid.draws = clean-fid", "fd.ddof=0"]
    assert parse_settings(texts) == {"kid": {"subset_size": "500", "draws": "clean-fid"}, "fd": {"ddof": "0"}}
    for wrong in ("kid", "kid.subsets", "kid=3", "kid.subsets=", ".subsets=3", "kid.=3"):
        with pytest.raises(UsageError, match=r"write METRIC\.OPTION=VALUE"):
            parse_settings([wrong])
    with pytest.raises(UsageError, match=r"kid\.subsets is set twice"):
        parse_settings(["kid.subsets=3", "kid.subsets=4"])


# ---- Without a reference -------------------------------------------------------------------------------------------


def test_metrics_that_look_at_nothing_else_need_no_reference() -> None:
    asked = ["vendi", "colourfulness", "sharpness", "duplicates"]
    report = kid(reference=None, metrics=asked)
    assert [result.metric for result in report.results] == asked
    assert all("ref:" not in result.signature and result.n_reference is None for result in report.results)
    beside = kid(metrics=asked)
    assert [result.value for result in beside.results] == [result.value for result in report.results]
    assert "of_reference" in beside.results[0].details
    assert "of_reference" not in report.results[0].details
    alone = kid(reference=None, metrics=["authenticity"], training=PICTURES)
    assert alone.results[0].metric == "authenticity"


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["kid"], "kid: needs a reference; name it with --reference"),
        (["vendi", "psnr"], "psnr: is of pairs with a reference; name it with --reference"),
        (None, "the default metrics compare with a reference: name it with --reference, or a --metric that needs none"),
    ],
)
def test_others_say_that_they_need_one(metrics: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        kid(reference=None, metrics=metrics)


def test_defaults_leave_out_what_a_protocol_cannot_draw_from_so_few(monkeypatch: pytest.MonkeyPatch) -> None:
    from paragone.metrics import settings

    monkeypatch.setitem(settings.OF_TOOLS, "paragone", {"kid": {"subset_size": 1000}})
    report = kid(metrics=None)
    assert "kid" not in [result.metric for result in report.results]
    assert any(line.startswith("left out kid: needs at least 1000 pictures") for line in report.warnings)
