"""A multimodal language model as a judge, over any endpoint that speaks OpenAI's chat completions.

Pairwise comparison is the default, as models are better at it than at grading (Chen et al. 2024, arXiv:2402.04788);
`pointwise` grades each side on a worded scale, and `yes-no` asks whether the prompt is met (VQAScore, Lin et al. 2024).
One question is one order of the sides: who asks both, or draws one, is `paragone.judges.plan` and `combine`.
"""

from __future__ import annotations

import asyncio
import copy
import threading
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from paragone.data.errors import InputError, UsageError
from paragone.data.records import Prompt, Status, Verdict
from paragone.judges.cache import Exchange, Memory, send_directly
from paragone.judges.calls import JudgeCall, Judged
from paragone.judges.chat import USUAL, ChatModel
from paragone.judges.client import ATTEMPT_S, ChatClient, RetryPolicy
from paragone.judges.clips import NotNative
from paragone.judges.endpoint import Wish
from paragone.judges.limits import Limits, Showing, TooMuch, ways
from paragone.judges.media import FORMS, Form, MediaPreparer, Shown
from paragone.judges.messages import MOVING, WITH_SOURCE, Question, panel_names, question
from paragone.judges.outcomes import pairwise_verdict, pointwise_verdict, yes_no_verdict
from paragone.judges.pace import DEFAULT_CONCURRENCY, Pace
from paragone.judges.schema import answer_schema, labels
from paragone.judges.templates import PROTOCOLS, Protocol, load_template

if TYPE_CHECKING:
    import httpx2

    from paragone.judges.table import JudgeOptions

MAX_TOKENS = {"pairwise": 2048, "pointwise": 2048, "yes-no": 16}
_T = TypeVar("_T")


class MLLMJudge:
    """Asks the model `model` at `base_url` (…/v1). `api_key_env` names the environment variable that holds the key.

    `clips` says how clips are shown (`native`, `frames`, `sheet`, or `single`: all of a question in one picture); what
    the endpoint refuses is shown in the next weaker way, which `Verdict.details["shown"]` tells with the reason.
    `samples` answers are asked for each question (temperature above 0), the commonest counts; `soft` asks for
    log-probabilities as well, and `Verdict.details["score_mode"]` says whether they could be used. `sample` is the
    first repetition's number. Raises `UsageError` for options that cannot work, before any call.
    """

    reads_clips = True
    takes_model = True

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        api_key_env: str | None = None,
        protocol: Protocol = "pairwise",
        template: Path | str | None = None,
        samples: int = 1,
        soft: bool = False,
        temperature: float = 0.0,
        max_tokens: int | None = None,
        seed: int | None = None,
        family: str = "",
        clips: Form = "frames",
        retried: Collection[Status] = (),
        exchange: Exchange = send_directly,
        pace: Pace | None = None,
        retry: RetryPolicy | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        memory: Memory | None = None,
    ) -> None:
        _check(model, samples, temperature, max_tokens)
        self.model, self.protocol, self.family = model, protocol, family
        self.template = load_template(protocol, template)
        self.samples, self.soft, self.temperature, self.seed = samples, soft, temperature, seed
        self.max_tokens = max_tokens or MAX_TOKENS[protocol]
        self._first_sample = 0
        self._at_once = pace.max_concurrency if pace is not None else DEFAULT_CONCURRENCY
        client = ChatClient(base_url, api_key_env=api_key_env, retry=retry, pace=pace, transport=transport)
        known = memory.known_limits(client.base_url, model) if memory is not None else None
        limits = Limits() if known is None else Limits.from_dict(known)
        self._chat = ChatModel(client, exchange, limits=limits, memory=memory, retried=frozenset(retried))
        self._media = MediaPreparer(index=memory)
        self.clips = checked_form(clips)
        self._background = _Background()

    @classmethod
    def from_options(cls, options: JudgeOptions) -> Self:
        """The judge that the command line's options describe; raises `UsageError` for missing ones."""
        if not options.model or not options.base_url:
            raise UsageError(
                "the judge 'mllm' needs a model and the address of its endpoint: --model NAME --base-url "
                "http://127.0.0.1:8000/v1"
            )
        attempt_s = options.timeout_s if options.timeout_s is not None else ATTEMPT_S
        return cls(
            options.model,
            base_url=options.base_url,
            api_key_env=options.api_key_env,
            protocol=checked_protocol(options.protocol or "pairwise"),
            template=options.template,
            samples=options.samples,
            soft=options.soft,
            temperature=options.temperature if options.temperature is not None else 0.0,
            max_tokens=options.max_tokens,
            seed=options.seed,
            family=options.family,
            clips=checked_form(options.clips or "frames"),
            retried=options.retried,
            exchange=options.exchange,
            pace=options.pace,
            retry=RetryPolicy(attempt_s=attempt_s, deadline_s=5 * attempt_s),
            memory=options.memory,
        )

    @property
    def name(self) -> str:
        """Model, template and digest: another wording is another judge."""
        repeated = f"+{self.samples}-samples" if self.samples > 1 else ""
        protocol = "" if self.template.name.startswith(self.protocol) else f"{self.protocol}-"
        return f"{self.model}+{protocol}{self.template.name}-{self.template.sha256[:8]}{repeated}"

    async def ask(self, prompt: Prompt, a: Path, b: Path, /) -> Verdict:
        """Judge `a`, shown first, against `b`. A call without an answer is a verdict without a winner.

        Raises `UnreadableImage` for a broken file, `JudgeUnavailable` when the endpoint answers nothing at all, and
        whatever the exchange stops with.
        """
        return (await self.acompare(prompt, a, b)).verdict

    async def acompare(self, prompt: Prompt, a: Path, b: Path, /) -> Judged:
        """As `ask`, with the record of every call."""
        made = None
        while made is None:  # each refusal leaves less to try
            fitting = self._at_hand(prompt, a, b)
            if fitting is None:
                fitting = await asyncio.to_thread(self._fitting, prompt, a, b)
            made = await self._made(fitting, prompt)
        every = tuple(call for side in made for calls in side for call in calls)
        counting = [[calls[-1] for calls in side] for side in made]
        if self.protocol == "pairwise":
            return Judged(pairwise_verdict(counting[0], judge=self.name, every=every), every)
        decide = pointwise_verdict if self.protocol == "pointwise" else yes_no_verdict
        return Judged(decide(counting[0], counting[1], judge=self.name, every=every), every)

    def compare(self, prompt: Prompt, a: Path, b: Path, /) -> Verdict:
        """As `ask`, for code that is not asynchronous; `close` ends the thread that this starts."""
        return self._background.run(self.ask(prompt, a, b)).result()

    def compare_many(self, questions: Sequence[tuple[Prompt, Path, Path]]) -> Iterator[Verdict]:
        """Verdicts in the order of the questions, as many asked at once as the pace allows."""
        waiting: deque[Future[Verdict]] = deque()
        try:
            for prompt, a, b in questions:
                if len(waiting) >= self._at_once:
                    yield waiting.popleft().result()
                waiting.append(self._background.run(self.ask(prompt, a, b)))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def with_sample(self, index: int) -> Self:
        """The same judge whose answers are other draws: a kept reply of one index does not answer another."""
        other = copy.copy(self)
        other._first_sample = index * self.samples
        return other

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        await self._chat.client.aclose()

    def close(self) -> None:
        """End what `compare` started, for judges made by `with_sample` too; the next `compare` starts anew."""
        self._background.stop(self.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def questions(self, prompt: Prompt, a: Path, b: Path, showing: Showing = USUAL) -> list[Question]:
        """What is asked about two files, `a` shown first: one question about both sides, or one about each.

        Raises `NotNative` when clips are to be sent as they are and one cannot be.
        """
        source, sides = self._files(prompt, a, b)
        if showing.form == "single":
            groups = [sides] if self.protocol == "pairwise" else [[side] for side in sides]
            names = panel_names(source=bool(source), n_sides=len(groups[0]))
            named = [[(name, *file) for name, file in zip(names, (*source, *group), strict=True)] for group in groups]
            canvases = self._media.prepare_single(named, showing.scale)
            return [self._question(prompt, [canvas], single=names) for canvas in canvases]
        return self._asked(prompt, self._media.prepare([*sides, *source], showing.form, showing.scale))

    def _asked(self, prompt: Prompt, shown: Sequence[Shown]) -> list[Question]:
        first, second, *sources = shown
        source = sources[0] if sources else None
        sides: list[list[Shown]] = [[first, second]] if self.protocol == "pairwise" else [[first], [second]]
        return [self._question(prompt, side, source) for side in sides]

    def _question(
        self, prompt: Prompt, sides: Sequence[Shown], source: Shown | None = None, single: tuple[str, ...] = ()
    ) -> Question:
        return question(prompt, self.template, protocol=self.protocol, source=source, sides=sides, single=single)

    def _files(self, prompt: Prompt, a: Path, b: Path) -> tuple[list[tuple[Path, bool]], list[tuple[Path, bool]]]:
        """The source picture, if any, and the two sides, each with whether it is a clip."""
        moving = prompt.task in MOVING
        if prompt.task not in WITH_SOURCE:
            return [], [(a, moving), (b, moving)]
        if prompt.source is None:
            raise InputError(f"prompt {prompt.id}: {prompt.task} needs the path of its source picture")
        return [(Path(prompt.source), False)], [(a, moving), (b, moving)]

    def _at_hand(self, prompt: Prompt, a: Path, b: Path) -> _Fitting | None:
        """The question as it usually is, when that takes no reading of files and nothing was ever refused."""
        moving = prompt.task in MOVING
        if self._chat.limits != Limits() or (moving and self.clips != "frames"):
            return None
        source, sides = self._files(prompt, a, b)
        shown = self._media.at_hand([*sides, *source])
        return None if shown is None else _Fitting(USUAL, self._asked(prompt, shown), weakest=False)

    def _fitting(self, prompt: Prompt, a: Path, b: Path) -> _Fitting:
        """The question in the first way that the endpoint is not known to refuse; at last, in the weakest."""
        limits = self._chat.limits
        every = ways(self.clips, moving=prompt.task in MOVING)
        reasons: dict[str, None] = {}
        asked: list[Question] = []
        for form, scale in every:
            showing = Showing(form, scale, tuple(reasons))
            try:
                asked = self.questions(prompt, a, b, showing)
            except NotNative as error:
                reasons[str(error)] = None
                continue
            objections = limits.objections(asked)
            if not objections:
                break
            reasons |= dict.fromkeys(objections)
        return _Fitting(showing, asked, weakest=(form, scale) == every[-1])

    async def _made(self, fitting: _Fitting, prompt: Prompt) -> list[list[tuple[JudgeCall, ...]]] | None:
        """The calls of each question, repetition by repetition; None when it has to be shown in another way."""
        tasks = (self._repetitions(one, fitting, prompt) for one in fitting.asked)
        made = await asyncio.gather(*tasks, return_exceptions=True)
        failed = [one for one in made if isinstance(one, BaseException)]
        if failed and all(isinstance(one, TooMuch) for one in failed):
            return None
        for one in failed:
            if not isinstance(one, TooMuch):
                raise one
        return [one for one in made if not isinstance(one, BaseException)]

    async def _repetitions(self, asked: Question, fitting: _Fitting, prompt: Prompt) -> list[tuple[JudgeCall, ...]]:
        criteria = self.template.rubric(prompt.task).criteria
        schema = answer_schema(self.protocol, criteria)
        numbers = range(self._first_sample, self._first_sample + self.samples)
        calls = (
            self._chat.ask(
                asked,
                Wish(self.model, self.max_tokens, self.temperature, self._seed(number), schema, self.soft),
                template=self.template,
                protocol=self.protocol,
                labels=labels(self.protocol),
                sample=number,
                showing=fitting.showing,
                weakest=fitting.weakest,
            )
            for number in numbers
        )
        return list(await asyncio.gather(*calls))

    def _seed(self, number: int) -> int | None:
        return None if self.seed is None else self.seed + number


@dataclass(frozen=True, slots=True)
class _Fitting:
    """A comparison as it is asked."""

    showing: Showing
    asked: list[Question]
    weakest: bool  # there is no other way to show it


class _Background:
    """An event loop in a thread of its own, begun when first used, which does not keep the program alive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None

    def run(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        with self._lock:
            if self._running is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=loop.run_forever, name="judge", daemon=True)
                thread.start()
                self._running = loop, thread
            return asyncio.run_coroutine_threadsafe(work, self._running[0])

    def stop(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            loop, thread = running
            asyncio.run_coroutine_threadsafe(last(), loop).result()
            asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


def checked_form(text: str) -> Form:
    """One of the forms in which clips are shown; raises `UsageError`."""
    for form in FORMS:
        if text == form:
            return form
    raise UsageError(f"clips {text!r}: use one of {', '.join(FORMS)}")


def checked_protocol(text: str) -> Protocol:
    """One of the protocols; raises `UsageError`."""
    for protocol in PROTOCOLS:
        if text == protocol:
            return protocol
    raise UsageError(f"protocol {text!r}: use one of pairwise, pointwise, yes-no")


def _check(model: str, samples: int, temperature: float, max_tokens: int | None) -> None:
    if not model.strip():
        raise UsageError("a judge needs the name of a model")
    if samples < 1 or (max_tokens is not None and max_tokens < 1):
        raise UsageError("samples and max_tokens are 1 or more")
    if not 0.0 <= temperature <= 2.0:
        raise UsageError(f"temperature {temperature} is not within 0 and 2")
    if samples > 1 and temperature == 0.0:
        raise UsageError("several samples at temperature 0 are one sample several times; set a temperature, e.g. 0.7")
