"""The admin's page: models and their prices, prompts, samples, copies of the database.

What can be corrected is corrected; what votes depend on (a prompt's text, a sample's picture) is added only, and the
store refuses to change it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path, PurePosixPath

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from paragone.arena.doctor import examine
from paragone.arena.ui import address
from paragone.arena.ui.access import require_admin
from paragone.arena.ui.reading import OpenProject
from paragone.arena.upload_pictures import SUFFIXES
from paragone.arena.upload_sources import MANIFEST, Limits, Source, open_source
from paragone.arena.uploads import Row, Upload, amount, check_upload, read_prompts, split_tags, store_upload
from paragone.data.errors import InputError, ParagoneError
from paragone.data.image_containers import natural_key
from paragone.data.records import SPACES, GeneratorCard, Price, PriceUnit, Prompt, Task

SECTIONS = ("Models", "Prices", "Prompts", "Samples", "Database")
NEW = "a new model"
NAME_LENGTH = 300
UPLOAD_MB = 256
KNOWN = {None: "unknown", True: "yes", False: "no"}


def show(project: OpenProject) -> None:
    """Draw the page."""
    require_admin()
    if (told := st.session_state.pop("admin-told", None)) is not None:
        st.success("Stored.", icon=":material/check:")
        st.text(told)
    section = address.segments("Manage", SECTIONS, name="manage", page="admin")
    draw = {"Models": _models, "Prices": _prices, "Prompts": _prompts, "Samples": _samples, "Database": _database}
    draw[section](project)


def _done(told: str) -> None:
    """Say what was stored on the page as it is then."""
    st.session_state["admin-told"] = told
    st.rerun()


def _models(project: OpenProject) -> None:
    cards = {card.name: card for card in project.store.generators()}
    chosen = address.select(st.container(), "Model", (NEW, *cards), name="model", page="admin")
    old = cards.get(chosen)
    if old is not None:
        st.caption("A name stays: votes are on it. A new checkpoint is a new model.")
    with st.form(f"model-{chosen}", border=False):
        left, right = st.columns(2)
        card = _draw_card(old, left, right)
        if st.form_submit_button("Save" if old else "Add", type="primary"):
            try:
                checked = check_card(card())
                if old is None and checked.name in cards:
                    raise InputError(f"there is a model {checked.name!r} already; choose it above to change its card")
                project.store.add_generators([checked])
            except ParagoneError as error:
                _refuse(error)
            else:
                _done(f"Model: {checked.name}")


def _draw_card(old: GeneratorCard | None, left: DeltaGenerator, right: DeltaGenerator) -> Callable[[], GeneratorCard]:
    """The fields of a card as they are; what is given back reads what was typed, and raises `InputError`."""
    was = old or GeneratorCard("")
    words: dict[str, str] = {}
    fields = (
        ("name", left, was.name, ""),
        ("provider", right, was.provider, ""),
        ("family", left, was.family, "models of one family share it"),
        ("version", right, was.version, ""),
        ("licence", left, was.licence, "as its owner calls it: Apache-2.0, proprietary"),
        ("released", right, was.released, "a day: 2026-01-31"),
        ("report_url", left, was.report_url, "https://…"),
        ("text_encoder", right, was.text_encoder, "what reads the prompt: T5-XXL, CLIP ViT-L/14"),
        ("parameters", left, str(was.parameters or ""), "how many: 12000000000 or 12e9"),
    )
    for name, side, value, hint in fields:
        label = name.replace("_url", "").replace("_", " ").capitalize()
        disabled = name == "name" and old is not None
        typed = side.text_input(label, value or "", max_chars=NAME_LENGTH, help=hint or None, disabled=disabled)
        words[name] = typed or ""
    at = list(KNOWN).index(was.open_weights)
    opened = right.selectbox("Open weights", list(KNOWN), at, format_func=KNOWN.__getitem__)
    places = (None, *SPACES)
    space = left.selectbox("Space", places, places.index(was.space), format_func=lambda word: word or "unknown")
    description = st.text_area("Description", was.description, max_chars=2000)
    return lambda: GeneratorCard(
        name=words["name"].strip() if old is None else was.name,
        description=(description or "").strip(),
        family=words["family"].strip(),
        open_weights=opened,
        licence=words["licence"].strip() or None,
        report_url=words["report_url"].strip() or None,
        released=words["released"].strip() or None,
        usd_per_image=was.usd_per_image,
        version=words["version"].strip() or None,
        provider=words["provider"].strip() or None,
        parameters=whole_number(words["parameters"], "parameters"),
        space=space,
        text_encoder=words["text_encoder"].strip() or None,
    )


def whole_number(text: str, what: str) -> int | None:
    """A number as 12000000000, 12e9 or 12 000 000 000; None for an empty text; raises `InputError`."""
    plain = re.sub(r"[\s,_]", "", text)
    if not plain:
        return None
    try:
        number = Decimal(plain)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number != number.to_integral_value() or not 0 < number < 10**18:
        raise InputError(f"{what} {text!r} is not a whole number above 0")
    return int(number)


def check_card(card: GeneratorCard) -> GeneratorCard:
    """The card; raises `InputError` for an empty name, an address that is none of the web, a day that is none."""
    if not card.name:
        raise InputError("a model needs a name")
    if card.report_url and not re.fullmatch(r"https?://[^\s<>\"']{1,500}", card.report_url):
        raise InputError(f"report {card.report_url!r} is not an address that begins with https://")
    if card.released:
        try:
            date.fromisoformat(card.released)
        except ValueError:
            raise InputError(f"released {card.released!r} is not a day; write 2026-01-31") from None
    return card


def _refuse(error: ParagoneError) -> None:
    """Say why something was not stored; the message may quote what was typed, so it is text."""
    st.error("Nothing was stored.", icon=":material/block:")
    st.text(str(error))


def _prices(project: OpenProject) -> None:
    models = [card.name for card in project.store.generators()]
    if not models:
        st.info("Add a model first.", icon=":material/settings:")
        return
    st.caption("A price holds from its day until the next one. Old prices stay: they say what results cost then.")
    with st.form("price", border=False):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            model = st.selectbox("Model", models, width=220)
            unit = st.selectbox("For one", list(PriceUnit), width=140) or PriceUnit.IMAGE
            usd = st.text_input("USD", placeholder="0.04", width=120)
            day = st.date_input("From", value="today", width=150)
            source = st.text_input("Where it stands", max_chars=NAME_LENGTH, width=220)
            stored = st.form_submit_button("Save", type="primary")
        if stored:
            try:
                if (paid := amount(usd or "", "USD")) is None:
                    raise InputError("USD: write an amount, such as 0.04")
                start = day.isoformat() if isinstance(day, date) else ""
                project.store.add_prices([Price(model, PriceUnit(unit), paid, start, (source or "").strip() or None)])
            except ParagoneError as error:
                _refuse(error)
            else:
                _done(f"Price of {model}: {paid} USD for one {unit} from {start}")
    prices = project.store.prices()
    if not prices:
        st.text("No prices yet.")
        return
    rows = [(p.model, str(p.unit), float(p.usd), p.valid_from, p.source) for p in reversed(prices)]
    table = pd.DataFrame(rows, columns=["model", "unit", "USD", "from", "source"])
    money = st.column_config.NumberColumn(format="%.4g")
    st.dataframe(table, hide_index=True, placeholder="–", column_config={"USD": money})


def _prompts(project: OpenProject) -> None:
    known = {prompt.id for prompt in project.store.prompts()}
    st.caption(f"{len(known):,} prompts. Only the tags of a prompt can be changed.")
    with st.form("prompt", border=False):
        left, right = st.columns(2)
        name = left.text_input("Id", max_chars=NAME_LENGTH, help="short and lasting: votes and samples name it")
        task = right.selectbox("Task", list(Task)) or Task.TEXT_TO_IMAGE
        text = st.text_area("Prompt", max_chars=20_000)
        tags = left.text_input("Tags", help="with ; between them", max_chars=NAME_LENGTH)
        about = "the input picture's path, for editing and image-to-video"
        source = right.text_input("Source", help=about, max_chars=NAME_LENGTH)
        about = "the path of a picture of which white may change, for editing"
        mask = right.text_input("Mask", help=about, max_chars=NAME_LENGTH)
        if st.form_submit_button("Save", type="primary"):
            name, text, source, mask = ((typed or "").strip() for typed in (name, text, source, mask))
            asked = Prompt(name, text, Task(task), split_tags(tags or ""), source or None, mask or None)
            _store_prompts(project, [asked])
    st.subheader("Many at once", anchor=False)
    st.caption(
        "A CSV in UTF-8 with the columns id and text; where wanted task, tags (with ; between them), source, mask."
    )
    table = st.file_uploader("Table of prompts", type="csv", max_upload_size=UPLOAD_MB, key="prompt-table")
    if table is not None and st.button("Store these prompts", type="primary"):
        try:
            prompts = read_prompts(table.getvalue())
        except ParagoneError as error:
            _refuse(error)
        else:
            _store_prompts(project, prompts)


def _store_prompts(project: OpenProject, prompts: list[Prompt]) -> None:
    try:
        if bad := next((prompt for prompt in prompts if not (prompt.id and prompt.text)), None):
            raise InputError(f"prompt {bad.id!r}: an id and a text are needed")
        project.store.add_prompts(prompts)
    except ParagoneError as error:
        _refuse(error)
    else:
        _done(f"{len(prompts):,} prompts" if len(prompts) > 1 else f"Prompt: {prompts[0].id}")


def _samples(project: OpenProject) -> None:
    models, prompts = [card.name for card in project.store.generators()], [p.id for p in project.store.prompts()]
    if not (models and prompts):
        st.info("Add models and prompts first: a sample is a model's answer to a prompt.", icon=":material/settings:")
        return
    st.caption(
        f"PNG, JPEG or WebP pictures with {MANIFEST} (columns file, model, prompt_id, seed; where known latency_s and "
        f"cost_usd), as one zip of up to {UPLOAD_MB} MB or one by one. All of it is checked before any of it is "
        "stored. Originals are kept as they come, metadata too; voters see neither name nor metadata."
    )
    files = st.file_uploader(
        "Pictures and table, or one zip",
        type=[*(ending.removeprefix(".") for ending in SUFFIXES), "csv", "zip"],
        accept_multiple_files=True,
        max_upload_size=UPLOAD_MB,
        key=f"samples-{st.session_state.get('admin-uploads', 0)}",
    )
    if not files:
        return
    rows = None
    names = [file.name for file in files]
    if not any(name == MANIFEST or name.lower().endswith(".zip") for name in names):
        rows = _draw_rows(names, models, prompts)
    if not st.button("Check and store", type="primary"):
        return
    try:
        with _source([(file.name, file.getvalue()) for file in files]) as source:
            _check_and_store(project, source, rows)
    except ParagoneError as error:
        _refuse(error)


def _draw_rows(names: list[str], models: list[str], prompts: list[str]) -> list[Row]:
    """Without a table: pictures of one model for one prompt, seeds counting up in the order of their names."""
    st.caption(f"Without {MANIFEST}, these are pictures of one model for one prompt, in the order of their names.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        model = st.selectbox("Model", models, key="rows-model", width=260)
        prompt = st.selectbox("Prompt", prompts, key="rows-prompt", width=260)
        first = int(st.number_input("First seed", min_value=0, max_value=2**31, step=1, key="rows-seed", width=140))
    ordered = sorted(names, key=lambda name: (natural_key(name), name))
    return [Row(name, model, prompt, first + n) for n, name in enumerate(ordered)]


def _source(files: list[tuple[str, bytes]]) -> Source:
    """The one zip, or the files; raises `InputError` for a mixture and for two files of one name."""
    zips = [content for name, content in files if PurePosixPath(name).suffix.lower() == ".zip"]
    if zips and len(files) > 1:
        raise InputError("a zip comes alone: put all pictures and the table into it")
    if zips:
        return open_source(zips[0], limits=Limits())
    by_name: Mapping[str, bytes] = dict(files)
    if len(by_name) < len(files):
        raise InputError("two of the files have the same name; rename one, or send a zip with folders")
    return open_source(by_name, limits=Limits())


def _check_and_store(project: OpenProject, source: Source, rows: list[Row] | None) -> None:
    bar = st.progress(0.0)

    def tell(task: str, done: int, total: int, /) -> None:
        bar.progress(done / max(total, 1), text=f"{task}: {done:,} of {total:,}")

    upload: Upload = check_upload(project.store, source, manifest=rows, progress=tell)
    if upload.problems:
        bar.empty()
        st.error(f"Nothing was stored: {len(upload.problems)} problems.", icon=":material/block:")
        for problem in upload.problems:
            st.text(problem)
        return
    store_upload(project.store, project.folder, source, upload, progress=tell)
    st.session_state["admin-uploads"] = st.session_state.get("admin-uploads", 0) + 1  # an empty uploader comes next
    known = f"; {upload.n_known:,} were there already" if upload.n_known else ""
    _done(f"{len(upload.new):,} samples, {upload.n_bytes / 1e6:,.1f} MB{known}")


def _database(project: OpenProject) -> None:
    counts = project.store.counts()
    rows = {"what": [name.replace("_", " ") for name in counts], "rows": list(counts.values())}
    st.dataframe(pd.DataFrame(rows), hide_index=True)
    st.subheader("Copy", anchor=False)
    if project.store.path is None:
        st.text("This database is on a server; it is copied with the server's own tools, such as pg_dump.")
    else:
        st.caption("The whole database as it is when you click, also while others vote. Pictures are not in it.")
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        st.download_button(
            "Download a copy",
            lambda: _copy(project),
            f"arena-{stamp}.db",
            "application/vnd.sqlite3",
            on_click="ignore",
            icon=":material/download:",
        )
    st.caption("The whole arena, or its votes, in open formats:")
    st.code("paragone export --help", language="bash")
    st.subheader("Is all well?", anchor=False)
    if st.button("Check database and files", help="Every row and every picture is read."):
        _draw_findings(project)


def _copy(project: OpenProject) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "arena.db"
        project.store.backup(target)
        return target.read_bytes()


def _draw_findings(project: OpenProject) -> None:
    with st.spinner("Reading everything"):
        findings = list(examine(project.store, project.folder))
    for finding in findings:
        sound = not finding.problems
        (st.success if sound else st.error)(
            finding.check.capitalize(), icon=":material/check:" if sound else ":material/error:"
        )
        for line in (*finding.problems, *finding.notes):
            st.text(line)
