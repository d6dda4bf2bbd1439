"""Between values and rows: how each noun of paragone.data is written into its table and read back."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import Row

from paragone.data.errors import InputError
from paragone.data.records import (
    SPACES,
    Attempt,
    Battle,
    GeneratorCard,
    MetricResult,
    Price,
    PriceUnit,
    Prompt,
    Provenance,
    ProvenanceState,
    SafetyScore,
    Sample,
    Status,
    Task,
    WatermarkTest,
)

AnyRow = Row[*tuple[Any, ...]]
Values = dict[str, Any]


def generator_values(card: GeneratorCard) -> Values:
    """The row of a generator; raises `InputError` for a name that no vote could carry, and for facts that are none."""
    if not card.name or card.name != card.name.strip():
        raise InputError(f"generator {card.name!r}: a name is not empty and has no blanks around it")
    if card.parameters is not None and card.parameters <= 0:
        raise InputError(f"generator {card.name!r}: {card.parameters} is not a number of parameters")
    if card.space is not None and card.space not in SPACES:
        raise InputError(f"generator {card.name!r}: the space {card.space!r} is none of {', '.join(SPACES)}")
    return {
        "name": card.name,
        "description": card.description,
        "family": card.family,
        "open_weights": None if card.open_weights is None else int(card.open_weights),
        "licence": card.licence,
        "report_url": card.report_url,
        "released": card.released,
        "usd_per_image": _money(card.usd_per_image),
        "version": card.version,
        "provider": card.provider,
        "parameters": card.parameters,
        "space": card.space,
        "text_encoder": card.text_encoder,
    }


def read_generator(row: AnyRow) -> GeneratorCard:
    """The generator of a row."""
    return GeneratorCard(
        name=row.name,
        description=row.description,
        family=row.family,
        open_weights=None if row.open_weights is None else bool(row.open_weights),
        licence=row.licence,
        report_url=row.report_url,
        released=row.released,
        usd_per_image=_read_money(row.usd_per_image),
        version=row.version,
        provider=row.provider,
        parameters=row.parameters,
        space=row.space,
        text_encoder=row.text_encoder,
    )


def price_values(price: Price) -> Values:
    """The row of a price; raises `InputError` for an amount or a day that is none."""
    if not price.usd.is_finite() or price.usd < 0:
        raise InputError(f"price of {price.model}: {price.usd} USD is not an amount")
    try:
        day = date.fromisoformat(price.valid_from).isoformat()
    except ValueError:
        raise InputError(
            f"price of {price.model}: valid_from {price.valid_from!r} is not a day; write 2026-01-31"
        ) from None
    return {
        "model": price.model,
        "unit": str(price.unit),
        "valid_from": day,
        "usd": str(price.usd),
        "source": price.source,
    }


def read_price(row: AnyRow) -> Price:
    """The price of a row."""
    return Price(row.model, PriceUnit(row.unit), Decimal(row.usd), row.valid_from, row.source)


def prompt_values(prompt: Prompt) -> Values:
    """The row of a prompt."""
    return {
        "id": prompt.id,
        "text": prompt.text,
        "task": str(prompt.task),
        "tags": json.dumps(prompt.tags, ensure_ascii=False),
        "source": prompt.source,
        "mask": prompt.mask,
    }


def read_prompt(row: AnyRow) -> Prompt:
    """The prompt of a row."""
    return Prompt(row.id, row.text, Task(row.task), tuple(json.loads(row.tags)), row.source, row.mask)


def sample_values(sample: Sample) -> Values:
    """The row of a sample; raises `InputError` for a path that could lead out of the project folder."""
    parts = PurePosixPath(sample.path).parts
    if not parts or parts[0] == "/" or ".." in parts or "\\" in sample.path or ":" in parts[0]:
        raise InputError(f"sample {sample.id}: the path {sample.path!r} is not relative to the project folder")
    return {
        "id": sample.id,
        "sha256": sample.sha256,
        "path": sample.path,
        "prompt_id": sample.prompt_id,
        "model": sample.model,
        "seed": sample.seed,
        "width": sample.width,
        "height": sample.height,
        "latency_s": sample.latency_s,
        "cost_usd": _money(sample.cost_usd),
        "frames": sample.frames,
        "fps": sample.fps,
    }


def read_sample(row: AnyRow) -> Sample:
    """The sample of a row."""
    return Sample(
        id=row.id,
        sha256=row.sha256,
        path=row.path,
        prompt_id=row.prompt_id,
        model=row.model,
        seed=row.seed,
        width=row.width,
        height=row.height,
        latency_s=row.latency_s,
        cost_usd=_read_money(row.cost_usd),
        frames=row.frames,
        fps=row.fps,
    )


def attempt_values(attempt: Attempt) -> Values:
    """The row of an attempt; raises `InputError` for a time or a price that is none."""
    where = f"{attempt.model}: the attempt at prompt {attempt.prompt_id}, seed {attempt.seed}"
    if attempt.latency_s is not None and not 0 <= attempt.latency_s < math.inf:
        raise InputError(f"{where}: {attempt.latency_s} s is not a time")
    if attempt.cost_usd is not None and not (attempt.cost_usd.is_finite() and attempt.cost_usd >= 0):
        raise InputError(f"{where}: {attempt.cost_usd} USD is not an amount")
    return {
        "id": attempt.id,
        "model": attempt.model,
        "prompt_id": attempt.prompt_id,
        "seed": attempt.seed,
        "status": str(attempt.status),
        "message": attempt.message,
        "latency_s": attempt.latency_s,
        "cost_usd": _money(attempt.cost_usd),
        "sample_id": attempt.sample_id,
        "created_at": attempt.created_at,
    }


def read_attempt(row: AnyRow) -> Attempt:
    """The attempt of a row."""
    return Attempt(
        model=row.model,
        prompt_id=row.prompt_id,
        seed=row.seed,
        status=Status(row.status),
        message=row.message,
        latency_s=row.latency_s,
        cost_usd=_read_money(row.cost_usd),
        sample_id=row.sample_id,
        created_at=row.created_at,
    )


def provenance_values(found: Provenance) -> Values:
    """The row of what a file says of its origin."""
    document = {name: value for name, value in asdict(found).items() if name not in ("sha256", "state", "source_type")}
    return {
        "sha256": found.sha256,
        "state": str(found.state),
        "source_type": found.source_type,
        "document": json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False),
    }


def read_provenance(row: AnyRow) -> Provenance:
    """What the file of a row says of its origin."""
    document = json.loads(row.document)
    codes, marks = tuple(document.pop("codes")), document.pop("watermarks")
    watermarks = None if marks is None else tuple(WatermarkTest(**mark) for mark in marks)
    state = ProvenanceState(row.state)
    return Provenance(row.sha256, state, row.source_type, codes=codes, watermarks=watermarks, **document)


def safety_values(score: SafetyScore) -> Values:
    """The row of a safety score; raises `InputError` for a score or a threshold that is no number."""
    for name in ("score", "threshold"):
        if not math.isfinite(getattr(score, name)):
            raise InputError(f"{score.classifier}: sample {score.sample_id}: {name} is {getattr(score, name)}")
    return {
        "sample_id": score.sample_id,
        "classifier": score.classifier,
        "score": float(score.score),
        "threshold": float(score.threshold),
        "label": score.label,
    }


def read_safety(row: AnyRow) -> SafetyScore:
    """The safety score of a row."""
    return SafetyScore(row.sample_id, row.classifier, row.score, row.threshold, row.label)


def battle_values(battle: Battle) -> Values:
    """What a battle is; who saw it and when comes on top."""
    return {
        "id": battle.id,
        "prompt_id": battle.prompt_id,
        "model_a": battle.model_a,
        "model_b": battle.model_b,
        "sample_a": battle.sample_a,
        "sample_b": battle.sample_b,
    }


def read_battle(row: AnyRow) -> Battle:
    """The battle of a row."""
    return Battle(row.id, row.prompt_id, row.model_a, row.model_b, row.sample_a, row.sample_b)


def metric_values(model: str, result: MetricResult) -> Values:
    """The row of a metric result; raises `InputError` when a number in it is not finite: missing is None, not NaN."""
    where = f"{model}: {result.metric}"
    for name in ("value", "standard_error", "ci_low", "ci_high"):
        number = getattr(result, name)
        if number is not None and not math.isfinite(number):
            raise InputError(f"{where}: {name} is {number}; a number that does not exist is left out, not stored")
    try:
        document = json.dumps(result.to_dict(), sort_keys=True, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: its details cannot be written as JSON: {error}") from error
    return {
        "model": model,
        "metric": result.metric,
        "signature": result.signature,
        "value": float(result.value),
        "standard_error": result.standard_error,
        "ci_low": result.ci_low,
        "ci_high": result.ci_high,
        "higher_is_better": int(result.higher_is_better),
        "n_generated": result.n_generated,
        "n_reference": result.n_reference,
        "extractor": result.extractor,
        "protocol": result.protocol,
        "seed": result.seed,
        "version": result.version,
        "document": document,
    }


def _money(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)


def _read_money(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
