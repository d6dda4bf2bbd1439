"""How often `paragone check` is right: on real checkpoints of the digits, and in simulations whose truth is known.

    python benchmarks/check_calibration.py [--folder DIR] [--runs 200] [--json FILE]

The demo's flow model is trained once and sampled; everything is kept in DIR. Rows:

- re-seed: two sets of samples of one checkpoint with seeds of their own; "regressed" would be wrong;
- early: the checkpoint after a tenth of the training; it has to be caught;
- guided: guidance scale 3, which raises alignment and loses diversity; both have to be said;
- replay: training images handed out; authenticity has to catch it;
- covariance: Gaussian features, the candidate's covariance 10 % larger, n = 1000 pairs with correlation 0.8;
- unequal n: one law, 500 samples against 2,000; the bias of a plain FD would call it a regression.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paragone.metrics.catalogue import ALL_METRICS
from paragone.metrics.checks import Finding, Gate, Verdict, decide, overall
from paragone.metrics.checks_columns import Sides, column_of, mean_column
from paragone.metrics.checks_paired import Column, difference_of
from paragone.metrics.estimates import Side
from paragone.metrics.feature_statistics import FeatureStatistics
from paragone.metrics.run_items import Items, lay_out

GATES = ("fd", "kid", "precision", "recall", "authenticity", "alignment")
HIGHER = {name: ALL_METRICS[name].higher_is_better if name in ALL_METRICS else True for name in GATES}
SEEDS = 100  # of each prompt in one set of samples
N_OTHERS = 40  # sets of samples of each other model
Features = NDArray[np.float32]


# ---- One check, in memory ------------------------------------------------------------------------------------------


def side(features: NDArray[Any]) -> Side:
    """Features with their statistics."""
    return Side(FeatureStatistics.from_features(features), features)


def columns(
    made: NDArray[Any],
    reference: Side,
    items: Items,
    names: Sequence[str],
    *,
    training: Side | None = None,
    alignment: NDArray[Any] | None = None,
) -> dict[str, Column]:
    """The columns of one run."""
    sides = Sides(side(made), items, reference, training)
    found = {name: column_of(ALL_METRICS[name], sides) for name in names if name != "alignment"}
    if alignment is not None:
        found["alignment"] = mean_column(alignment.astype(np.float64))
    return found


def findings(
    baseline: dict[str, Column], candidate: dict[str, Column], items: tuple[Items, Items]
) -> tuple[Finding, ...]:
    """The verdicts with the default margins: 5 % of the baseline's value, one standard error at least."""
    layout = lay_out(*items)
    gates = [Gate(name, max(0.05 * abs(one.value), one.standard_error)) for name, one in baseline.items()]
    outcomes = [
        difference_of(
            baseline[gate.metric],
            candidate[gate.metric],
            layout,
            higher_is_better=HIGHER[gate.metric],
            margin=gate.margin,
            counts=(len(items[0]), len(items[1])),
        )
        for gate in gates
    ]
    return decide(gates, outcomes, [HIGHER[gate.metric] for gate in gates])


def named(n: int, prefix: str = "") -> Items:
    """Samples without prompts."""
    return Items(tuple(f"{prefix}{number}.png" for number in range(n)))


def prompted(seeds: range) -> Items:
    """The digits' prompts with some seeds, prompt by prompt."""
    keys = [(f"digit-{digit}", seed) for digit in range(10) for seed in seeds]
    prompts, numbers = zip(*keys, strict=True)
    return Items(tuple(f"{prompt}-{seed:06d}.png" for prompt, seed in keys), prompts, numbers)


# ---- The digits' checkpoints ---------------------------------------------------------------------------------------


def digit_features(folder: Path, *, runs: int, others: int) -> dict[str, NDArray[Any]]:
    """Features [sets, N, D] and alignments [sets, N] of every model, made once and kept in `folder`."""
    kept = folder / f"features-{runs}.npz"
    if not kept.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(kept, **_sampled(folder, runs=runs, others=others))
    with np.load(kept) as archive:
        return {name: archive[name] for name in archive.files}


def _sampled(folder: Path, *, runs: int, others: int) -> dict[str, NDArray[Any]]:
    import torch
    from safetensors.torch import load_file

    from paragone.data.digits import PROMPTS, load_digits_split
    from paragone.data.generators.reference.cautionary import Replay
    from paragone.data.generators.reference.flow_matching import FlowMatching
    from paragone.data.generators.runner import requests_for
    from paragone.data.images import read_images
    from paragone.demo.contestants import DemoSettings
    from paragone.demo.training import EXTRACTOR, RUNS, train
    from paragone.judges.digits import DigitsJudge
    from paragone.metrics.features import ExtractionOptions, extract_side, open_extractor

    torch.set_num_threads(1)
    models, settings = folder / "models", DemoSettings()
    for run in ("flow-matching", EXTRACTOR):
        if not list(models.glob(f"{run}*.safetensors")):
            print(f"training {run}", flush=True)
            train(RUNS[run], models, settings)
    training, reference = load_digits_split(seed=0)
    extractor = open_extractor("digits", weights=models / f"{EXTRACTOR}.safetensors")
    judge, digits = DigitsJudge(reference), np.repeat(np.arange(10), SEEDS)

    def features(images: NDArray[np.uint8]) -> NDArray[Any]:
        options = ExtractionOptions(device="cpu", workers=0)
        found = extract_side(read_images(images), extractor, options, task="features").side.features
        assert found is not None
        return np.asarray(found)

    full = load_file(models / f"flow-matching-{settings.checkpoints[2]}.safetensors")
    early = load_file(models / f"flow-matching-{settings.checkpoints[0]}.safetensors")
    sampled: dict[str, NDArray[Any]] = {"reference": features(reference.images), "training": features(training.images)}
    for name, model, sets in (
        ("flow", FlowMatching("flow", full), 2 * runs),
        ("early", FlowMatching("early", early), others),
        ("guided", FlowMatching("guided", full, guidance=3.0), others),
        ("replay", Replay("replay", training), 1),
    ):
        made, aligned = [], []
        for number in range(sets):
            requests = requests_for(PROMPTS, seeds=range(SEEDS * number, SEEDS * (number + 1)))
            answers = {one.request: one.image for one in model.generate(requests)}
            images = np.stack([image for request in requests if (image := answers[request]) is not None])
            made.append(features(images))
            aligned.append(judge.alignment(images, digits))
            if number % 50 == 49:
                print(f"{name}: {number + 1} of {sets} sets", flush=True)
        sampled[name], sampled[f"{name}.alignment"] = np.stack(made), np.stack(aligned)
    return sampled


def digits_rows(folder: Path, *, runs: int, others: int = N_OTHERS) -> list[dict[str, Any]]:
    """The rows of real checkpoints."""
    known = digit_features(folder, runs=runs, others=others)
    reference, training = side(known["reference"]), side(known["training"])

    def of(name: str, number: int) -> tuple[dict[str, Column], Items]:
        items = prompted(range(SEEDS * number, SEEDS * (number + 1)))
        made, alignment = known[name][number], known[f"{name}.alignment"][number]
        return columns(made, reference, items, GATES, training=training, alignment=alignment), items

    flow = [of("flow", number) for number in range(2 * runs)]
    return [
        _row("re-seed", [_checked(flow[2 * run], flow[2 * run + 1]) for run in range(runs)]),
        _row("early", [_checked(flow[run], of("early", run)) for run in range(min(others, 2 * runs))]),
        _row("guided", [_checked(flow[run], of("guided", run)) for run in range(min(others, 2 * runs))]),
        _row("replay", [_checked(flow[0], of("replay", 0))]),
    ]


def _checked(
    baseline: tuple[dict[str, Column], Items], candidate: tuple[dict[str, Column], Items]
) -> tuple[Finding, ...]:
    return findings(baseline[0], candidate[0], (baseline[1], candidate[1]))


# ---- Simulations ---------------------------------------------------------------------------------------------------


def covariance_row(*, runs: int, dim: int = 128, n: int = 1000, inflation: float = 1.1) -> dict[str, Any]:
    """Candidate covariance `inflation` times the baseline's, samples paired with correlation 0.8; gate fd alone."""
    spectrum = np.arange(1, dim + 1) ** -0.4
    reference = side(np.random.default_rng(0).standard_normal((5000, dim)) * spectrum)
    checks = []
    for run in range(runs):
        rng = np.random.default_rng(1000 + run)
        common = np.sqrt(0.8) * rng.standard_normal((n, dim))
        pair = [(common + np.sqrt(0.2) * rng.standard_normal((n, dim))) * spectrum * 1.1 for _ in "ab"]
        pair[1] = pair[1] * np.sqrt(inflation)
        items = named(n)
        one, two = (columns(features, reference, items, ("fd",)) for features in pair)
        checks.append(findings(one, two, (items, items)))
    return _row(f"covariance × {inflation:g}", checks)


def unequal_row(*, runs: int, dim: int = 64) -> dict[str, Any]:
    """One law, 500 samples against a baseline of 2,000; gates fd and kid."""
    spectrum = np.arange(1, dim + 1) ** -0.4
    reference = side(np.random.default_rng(0).standard_normal((5000, dim)) * spectrum)
    checks = []
    for run in range(runs):
        rng = np.random.default_rng(5000 + run)
        items = named(2000), named(500, "other-")
        one, two = (
            columns(rng.standard_normal((len(each), dim)) * spectrum * 1.2, reference, each, ("fd", "kid"))
            for each in items
        )
        checks.append(findings(one, two, items))
    return _row("500 against 2,000", checks)


# ---- Rows ----------------------------------------------------------------------------------------------------------


def _row(name: str, checks: Sequence[tuple[Finding, ...]]) -> dict[str, Any]:
    """Shares of verdicts, over all gates together and of each."""
    verdicts = Counter(str(overall([one.verdict for one in found])) for found in checks)
    gates = {}
    for place, gate in enumerate(checks[0]):
        all_of = [found[place] for found in checks]
        differences = [one.worsening for one in all_of if one.worsening is not None]
        errors = [one.standard_error for one in all_of if one.standard_error is not None]
        gates[gate.metric] = {
            "verdicts": {str(v): sum(one.verdict is v for one in all_of) / len(all_of) for v in Verdict},
            "mean_worsening": float(np.mean(differences)),
            "deviation": float(np.std(differences, ddof=1)) if len(differences) > 1 else None,
            "mean_standard_error": float(np.mean(errors)),
            "p_worse_below_0.05": float(np.mean([(one.p_worse or 1) <= 0.05 for one in all_of])),
        }
    return {
        "case": name,
        "runs": len(checks),
        "verdicts": {verdict: count / len(checks) for verdict, count in verdicts.items()},
        "gates": gates,
    }


def _print(row: dict[str, Any]) -> None:
    told = ", ".join(f"{share:.1%} {verdict}" for verdict, share in row["verdicts"].items())
    print(f"\n{row['case']} ({row['runs']} runs): {told}")
    print("  gate          regressed  improved    pass  D mean      D sd        SE mean     p<.05 one-sided")
    for name, gate in row["gates"].items():
        shares = [f"{gate['verdicts'][verdict]:9.1%}" for verdict in ("regressed", "improved", "pass")]
        spread = "-" if gate["deviation"] is None else f"{gate['deviation']:.4g}"
        print(
            f"  {name:13} {' '.join(shares)}  {gate['mean_worsening']:<10.4g}  {spread:<10}  "
            f"{gate['mean_standard_error']:<10.4g}  {gate['p_worse_below_0.05']:.1%}"
        )


def main() -> None:
    """Run all rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("check-calibration"))
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = digits_rows(options.folder, runs=options.runs)
    rows += [covariance_row(runs=options.runs // 2), unequal_row(runs=options.runs // 2)]
    for row in rows:
        _print(row)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
