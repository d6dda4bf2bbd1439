"""`paragone judge show`: how one vote of a judge came about: exact messages, raw reply, and how it was read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from paragone.arena.store import Store
    from paragone.arena.store_judges import StoredCall
    from paragone.data.records import Battle, Prompt
    from paragone.judges.rerender import Rendered


@click.command()
@click.argument("name", metavar="VOTE|BATTLE")
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    show_default="here",
    help="Project folder.",
)
@click.option("--db", "url", metavar="URL", help="Database, a path or URL, instead of the project's arena.db.")
@click.option("--judge", metavar="NAME", help="Only the calls of this judge.")
@click.option(
    "--template",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The template that was used, where it is not the built-in one.",
)
@click.option(
    "--media",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the pictures as they were sent here, named by their sha256.",
)
@click.option("--json", "json_target", metavar="FILE|-", help="Write all of it as JSON; with - only that is on stdout.")
def show(
    name: str,
    folder: Path,
    url: str | None,
    judge: str | None,
    template: Path | None,
    media: Path | None,
    json_target: str | None,
) -> None:
    """Show how a judge's vote came about: what it was asked, word for word, what it replied, and how that was read.

    VOTE|BATTLE is a vote's number, or a battle's id or the beginning of one. The messages are made again from prompt,
    template and files, and held against the digest that is on record; a difference is told.
    """
    from paragone.arena.store import Store
    from paragone.arena.store_judges import judged_battle
    from paragone.cli.output import check_writable, write_json
    from paragone.data.errors import InputError
    from paragone.data.project import Project

    check_writable(json_target)
    with Store(url or Project.open(folder).database) as store:
        battle, calls = judged_battle(store, name)
        calls = tuple(call for call in calls if judge is None or call.judge == judge)
        if not calls:
            raise InputError(f"battle {battle.id}: the judge {judge!r} was not asked about it")
        room = _Room.of(store, battle, folder, template, media)
    shown = [(stored, list(room.calls(stored))) for stored in calls]
    if json_target:
        document = {"schema": "paragone.judge-show/1", "battle": battle.id, "prompt": room.prompt.text}
        write_json(document | {"calls": [_document(stored, made) for stored, made in shown]}, json_target)
    if json_target != "-":
        _print(battle, room.prompt, shown)


@dataclass(frozen=True, slots=True)
class Made:
    """One call to a model, with its messages as far as they can be made again."""

    call: Mapping[str, Any]
    messages: list[dict[str, Any]]  # each part a text, or a picture by its digest
    doubt: str  # why these may not be the messages that were sent; "" when their digest is the one on record


@dataclass(frozen=True, slots=True)
class _Room:
    """What the messages are made of."""

    prompt: Prompt
    a: Path
    b: Path
    template: Path | None
    media: Path | None

    @classmethod
    def of(cls, store: Store, battle: Battle, folder: Path, template: Path | None, media: Path | None) -> _Room:
        prompt = next(prompt for prompt in store.prompts() if prompt.id == battle.prompt_id)
        if prompt.source is not None:
            prompt = replace(prompt, source=str(folder / prompt.source))
        files = {sample.id: folder / sample.path for sample in store.samples(prompt=prompt.id)}
        missing = Path()
        return cls(prompt, files.get(battle.sample_a, missing), files.get(battle.sample_b, missing), template, media)

    def calls(self, stored: StoredCall) -> Iterator[Made]:
        """Every call to a model beneath one verdict, repairs and repetitions included."""
        from paragone.data.errors import ParagoneError
        from paragone.judges.rerender import rendered

        first, second = (self.b, self.a) if stored.exchanged else (self.a, self.b)
        before = ""
        for call in stored.details.get("calls", ()):
            try:
                made = rendered(call, self.prompt, first, second, template=self.template, before=before)
            except ParagoneError as error:
                yield Made(call, [], str(error))
            else:
                self._write_media(made)
                yield Made(call, made.question.canonical(), made.doubt)
            before = call.get("raw", "")

    def _write_media(self, made: Rendered) -> None:
        if self.media is None:
            return
        import base64

        self.media.mkdir(parents=True, exist_ok=True)
        for one in made.question.media:
            suffix = one.facts.mime.rpartition("/")[2]
            (self.media / f"{one.sha256}.{suffix}").write_bytes(base64.b64decode(one.encoded))


def _document(stored: StoredCall, made: list[Made]) -> dict[str, Any]:
    return {
        "judge": stored.judge,
        "attempt": stored.attempt,
        "exchanged": stored.exchanged,
        "status": str(stored.status),
        "winner": None if stored.winner is None else str(stored.winner),
        "reason": stored.reason,
        "created_at": stored.created_at,
        "cost_usd": None if stored.cost_usd is None else f"{stored.cost_usd:f}",
        "details": {name: value for name, value in stored.details.items() if name != "calls"},
        "calls": [{"messages": one.messages, "doubt": one.doubt, "record": dict(one.call)} for one in made],
    }


def _print(battle: Battle, prompt: Prompt, shown: list[tuple[StoredCall, list[Made]]]) -> None:
    _line(f"battle {battle.id}: {battle.model_a} (A) against {battle.model_b} (B)")
    _line(f"prompt {prompt.id}: {prompt.text}")
    for stored, made in shown:
        said = stored.winner if stored.winner is not None else stored.status
        order = "B shown first" if stored.exchanged else "A shown first"
        _line("")
        _line(f"== {stored.judge}, attempt {stored.attempt}, {order}: {said}")
        for name in ("created_at", "cost_usd", "reason"):
            if getattr(stored, name) not in (None, ""):
                _line(f"{name}: {getattr(stored, name)}")
        for number, one in enumerate(made, start=1):
            _line("")
            _line(f"-- call {number} of {len(made)}")
            _print_call(one)


def _print_call(made: Made) -> None:
    call = made.call
    names = (
        "model", "served_model", "base_url", "protocol", "template", "template_sha256", "request_sha256", "parameters",
        "shown", "status", "reason", "parse_stage", "label", "score_mode", "soft_reason", "mass", "probabilities",
        "input_tokens", "output_tokens", "latency_s", "n_attempts", "cached", "sample", "repair",
    )  # fmt: skip
    for name in names:
        if call.get(name) not in (None, "", {}):
            _line(f"{name}: {call[name]}")
    _line(f"messages: {made.doubt or 'as they were sent (same digest)'}")
    for message in made.messages:
        parts = message["content"]
        for part in [{"type": "text", "text": parts}] if isinstance(parts, str) else parts:
            words = part["text"] if part["type"] == "text" else f"[{part['type']} {part['sha256']}, {part['mime']}]"
            _line(f"{message['role']}> {words}")
    _line(f"raw reply: {call.get('raw') or '(none)'}")


def _line(text: str) -> None:
    from paragone.cli.output import stdout
    from paragone.cli.tables import printable

    for line in text.split("\n") or [""]:
        stdout.print(printable(line), markup=False, soft_wrap=True)
