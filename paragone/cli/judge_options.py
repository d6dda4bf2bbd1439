"""The options that say which judge is asked, and how; of `paragone judge` and `paragone judge audit`."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from paragone.data.errors import UsageError

if TYPE_CHECKING:
    from paragone.data.records import Status
    from paragone.judges.base import Judge
    from paragone.judges.budget import TokenPrice
    from paragone.judges.cache import Exchange, Memory, ReplyCache
    from paragone.judges.pace import Pace
    from paragone.judges.runner import AsyncJudge

C = TypeVar("C", bound=Callable[..., Any])


class Dollars(click.ParamType[Decimal, Decimal | str]):
    """An amount of money, exactly as it is written."""

    name = "USD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """The amount; fails on what is none, or negative."""
        try:
            amount = Decimal(value)
        except (InvalidOperation, TypeError):
            self.fail(f"{value!r} is no amount of US dollars", param, ctx)
        if not amount.is_finite() or amount < 0:
            self.fail(f"{value!r} is no amount of US dollars", param, ctx)
        return amount


class Statuses(click.ParamType["frozenset[Status]", "frozenset[Status] | str"]):
    """Ways in which a call can end without an answer, with commas between them."""

    name = "STATUS,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> frozenset[Status]:
        """The statuses; fails on another word."""
        from paragone.data.records import Status

        if isinstance(value, frozenset):
            return value
        known = {str(status): status for status in Status if status is not Status.OK}
        words = [word.strip() for word in str(value).split(",") if word.strip()]
        for word in words or [""]:
            if word not in known:
                self.fail(f"{word!r} is none of {', '.join(known)}", param, ctx)
        return frozenset(known[word] for word in words)


# Judges made of what only the command line may bring together: neither judges nor metrics import the other.
COMPOSED = {"clip_score": "paragone.cli.clip_judge:ClipJudge"}
_FILE = click.Path(dir_okay=False, path_type=Path)
_OPTIONS = (
    click.option(
        "--judge",
        "names",
        multiple=True,
        required=True,
        metavar="NAME",
        help="Who decides: a judge that `paragone plugins` lists, clip_score, or module:attribute. Several times for a "
        "jury.",
    ),
    click.option("--model", "models", multiple=True, help="The model to ask. Several times for a jury of models."),
    click.option("--base-url", metavar="URL", help="An OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1."),
    click.option(
        "--api-key-env",
        metavar="VARIABLE",
        help="The environment variable that holds the endpoint's key; the key itself is never an option.",
    ),
    click.option("--protocol", metavar="NAME", help="What a model is asked: pairwise (default), pointwise or yes-no."),
    click.option("--template", type=_FILE, metavar="FILE", help="The words put to a model, instead of the built-in."),
    click.option(
        "--clips",
        metavar="FORM",
        help="How clips are shown: native (the file, where the endpoint takes video_url), frames (default), sheet (one "
        "picture a clip) or single (all in one picture). What the endpoint refuses is shown in the next weaker form.",
    ),
    click.option("--temperature", type=click.FloatRange(min=0), help="Sampling temperature."),
    click.option("--max-tokens", type=click.IntRange(min=1), help="The longest reply of a model."),
    click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="For one call."),
    click.option(
        "--samples",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Answers to each question, the commonest counts; more than one needs a temperature above 0.",
    ),
    click.option("--soft", is_flag=True, help="Ask for log-probabilities, and keep how sure the model was."),
    click.option(
        "--family",
        "families",
        multiple=True,
        metavar="[MODEL=]FAMILY",
        help="The family of the judge's model; without it, a family of the arena's models whose name is in the "
        "judge's model's.",
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Draws the battles; sent to models, too."),
    click.option(
        "--max-concurrency",
        type=click.IntRange(min=1),
        default=8,
        show_default=True,
        help="Most calls at once; fewer when the endpoint says it is overloaded.",
    ),
    click.option("--rpm", type=click.IntRange(min=1), help="Most calls in a minute."),
    click.option("--budget", type=Dollars(), help="Stop before a call that could cost more than is left of this."),
    click.option("--prices", type=_FILE, metavar="FILE", help="TOML with input and output prices of each model."),
    click.option("--price-in", type=Dollars(), help="US dollars for a million tokens read."),
    click.option("--price-out", type=Dollars(), help="US dollars for a million tokens written."),
    click.option(
        "--cache",
        "cache_file",
        type=_FILE,
        metavar="FILE",
        help="Where replies are kept, by default $PARAGONE_HOME/judge-replies.db.",
    ),
    click.option("--no-cache", is_flag=True, help="Neither look for known replies nor keep new ones."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeSettings:
    """What the options of `judge_options` say."""

    names: tuple[str, ...]
    models: tuple[str, ...]
    base_url: str | None
    api_key_env: str | None
    protocol: str | None
    template: Path | None
    clips: str | None
    temperature: float | None
    max_tokens: int | None
    timeout: float | None
    samples: int
    soft: bool
    families: tuple[str, ...]
    seed: int
    max_concurrency: int
    rpm: int | None
    budget: Decimal | None
    prices: Path | None
    price_in: Decimal | None
    price_out: Decimal | None
    cache_file: Path | None
    no_cache: bool

    def reply_cache(self) -> ReplyCache | None:
        """The cache of replies that --cache and --no-cache ask for."""
        from paragone.data.project import paragone_home
        from paragone.judges.cache import ReplyCache

        if self.no_cache:
            if self.cache_file is not None:
                raise UsageError("--cache names a file and --no-cache wants none; leave out one")
            return None
        return ReplyCache(self.cache_file or paragone_home() / "judge-replies.db")

    def price(self, model: str | None) -> TokenPrice | None:
        """What tokens of a model cost, by --price-in and --price-out or by the table; None where nobody said."""
        from paragone.judges.budget import TokenPrice, read_prices

        if (self.price_in is None) != (self.price_out is None):
            raise UsageError("--price-in and --price-out go together; give 0 for what is free")
        if self.price_in is not None and self.price_out is not None:
            return TokenPrice(self.price_in, self.price_out)
        return None if self.prices is None else read_prices(self.prices).get(model or "")

    def family(self, model: str | None) -> str:
        """What --family says of a model; "" where it says nothing."""
        said = dict(text.rpartition("=")[::2] for text in self.families)
        unknown = [name for name in said if name and name not in self.models]
        if unknown:
            raise UsageError(f"--family {unknown[0]}=…: no --model is called {unknown[0]!r}")
        if "" in said and len(self.models) > 1:
            raise UsageError("--family without a model's name needs one --model; write --family MODEL=FAMILY")
        return said.get(model or "", said.get("", "") if model else "")

    def pace(self) -> Pace:
        """How fast the endpoint may be asked."""
        from paragone.judges.pace import Pace

        return Pace(max_concurrency=self.max_concurrency, rpm=self.rpm)

    def load(
        self,
        name: str,
        model: str | None,
        *,
        exchange: Exchange,
        pace: Pace | None,
        memory: Memory | None = None,
        retried: Collection[Status] = (),
    ) -> Judge | AsyncJudge:
        """One judge; raises `UsageError` when the environment lacks the key's variable."""
        from paragone.judges.table import JudgeOptions, load_judge, takes_model

        if self.api_key_env is not None and not os.environ.get(self.api_key_env):
            raise UsageError(f"--api-key-env {self.api_key_env}: this environment variable is not set")
        options = JudgeOptions(
            model=model,
            base_url=self.base_url,
            api_key_env=self.api_key_env,
            protocol=self.protocol,
            template=self.template,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            timeout_s=self.timeout,
            samples=self.samples,
            soft=self.soft,
            family=self.family(model),
            seed=self.seed,
            exchange=exchange,
            pace=pace,
            clips=self.clips,
            retried=frozenset(retried),
            memory=memory,
        )
        target = COMPOSED.get(name, name)
        if len(self.names) > 1 and not takes_model(target):  # in a jury, the options are for the others
            options = options.without_model()
        return load_judge(target, options)

    def seats(self) -> list[tuple[str, str | None]]:
        """The (judge, model) pairs that the options ask for: each judge that asks a model, with each model."""
        from paragone.judges.table import takes_model

        models: Sequence[str | None] = self.models or (None,)
        alone = len(self.names) == 1
        pairs = [
            (name, model)
            for name in self.names
            for model in (models if alone or takes_model(COMPOSED.get(name, name)) else (None,))
        ]
        return list(dict.fromkeys(pairs))


def judge_options(command: C) -> C:
    """Add the options; their values are the fields of `JudgeSettings`, by name."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
