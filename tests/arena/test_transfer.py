"""Exported and imported, an arena is the same to the byte; what was tampered with is named, and nothing of it kept."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from paragone.arena.chain import EventKind
from paragone.arena.exporting import export_arena, export_votes
from paragone.arena.importing import import_arena
from paragone.arena.snapshots import check_snapshots, take_snapshot
from paragone.arena.store import Store, VoteEvent
from paragone.arena.vote_files import read_votes
from paragone.data import (
    Attempt,
    Battle,
    GeneratorCard,
    InputError,
    Judgement,
    MetricResult,
    Prompt,
    Sample,
    Status,
    Verdict,
    VoterKind,
    Winner,
    sample_id,
)
from paragone.data.progress import silent
from paragone.data.records import Price, PriceUnit, Provenance, ProvenanceState, SafetyScore, WatermarkTest

NewDatabase = Callable[[], str]

ODD = 'a, "quoted"\nline; É\u202e NA \\N'  # all that a csv, a COPY or a page could trip over
MODELS = ("anna", ODD.replace("\n", " "), "NULL")


def fill(store: Store, project: Path, *, n: int = 12, seed: int = 0) -> None:
    """A little of everything, some of it missing, some of it empty."""
    store.add_generators(
        [
            GeneratorCard(MODELS[0], licence="", open_weights=True),
            GeneratorCard(
                MODELS[1], usd_per_image=Decimal("0.040"), parameters=12 * 10**9, space="latent", text_encoder=ODD
            ),
        ]
    )
    store.add_generators([GeneratorCard(MODELS[2], version="2", provider="null")])
    store.add_prices([Price(MODELS[0], PriceUnit.MEGAPIXEL, Decimal("0.0100"), "2026-01-01", source="")])
    store.add_prompts([Prompt("p", ODD, tags=("text", "x,y")), Prompt("q", "", source="s.png", mask="m.png")])
    samples = []
    for model in MODELS:
        for prompt in "pq":
            content = f"{model}{prompt}".encode()
            digest = hashlib.sha256(content).hexdigest()
            path = f"samples/{digest[:8]}.png"
            (project / path).parent.mkdir(parents=True, exist_ok=True)
            (project / path).write_bytes(content)
            name = sample_id(model, prompt, 0, digest)
            samples.append(Sample(name, digest, path, prompt, model, 0, 8, 9, latency_s=0.1 + 0.2))
    samples[0] = replace(samples[0], frames=16, fps=30000 / 1001)
    store.add_samples(samples)
    about_samples(store, samples)
    more(store, n, seed)
    a, b, _ = (sample for sample in samples if sample.prompt_id == "p")
    fought = Battle("judged", "p", a.model, b.model, a.id, b.id)
    words = (Verdict(Winner.TIE, reason="", scores=(1 / 3, 1e-17)), Verdict(None, Status.TIMEOUT, ODD))
    store.record_judgements([Judgement(fought, words[:1], Winner.TIE, None)], judge="ruler")
    store.record_judgements([Judgement(fought, words, None, None)], judge="other")
    store.add_metric_results("anna", [MetricResult("fid", 1.5, False, 10, signature="s", details={"k": ODD})])
    store.add_events(
        [
            VoteEvent(1, EventKind.EXCLUDE, "burst", ODD, "admin"),
            VoteEvent(2, EventKind.CORRECT, winner=Winner.TIE, actor="admin"),
            VoteEvent(1, EventKind.FLAG),
        ]
    )
    take_snapshot(store, voters="all")


def about_samples(store: Store, samples: list[Sample]) -> None:
    store.add_attempts(
        Attempt(s.model, s.prompt_id, s.seed, Status.OK, latency_s=s.latency_s, sample_id=s.id) for s in samples
    )
    store.add_attempts([Attempt(ODD.replace("\n", " "), "p", 1, Status.REFUSED, ODD, None, Decimal("0.0400"))])
    mark = WatermarkTest("sdxl", "dwtDct", 48, 47, 1e-12)
    store.add_provenance(
        [
            Provenance(samples[0].sha256, ProvenanceState.ABSENT, watermarks=(mark,)),
            Provenance(
                samples[1].sha256, ProvenanceState.INVALID, "trainedAlgorithmicMedia", "c2pa", ODD, codes=("x",)
            ),
        ]
    )
    store.add_safety_scores(
        [SafetyScore(samples[0].id, "mean", 1 / 3, 0.25), SafetyScore(samples[1].id, "m", 0, 1, ODD)]
    )


def more(store: Store, n: int, seed: int) -> None:
    rng = random.Random(seed)
    for number in range(n):
        voter = f"person-{number % 4}"
        issued = store.issue_battle(voter, rng)
        if number % 5:
            store.record_vote(issued.token, rng.choice(list(Winner)), voter=voter, dwell_ms=rng.choice([None, 900]))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    with Store(folder / "arena.db", create=True) as store:
        fill(store, folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def exported(store: Store, target: Path, **options: object) -> dict[str, bytes]:
    export_arena(store, target, **options)  # type: ignore[arg-type]
    return contents(target)


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_there_and_back_is_the_same_to_the_byte(
    project: Path, tmp_path: Path, new_database: NewDatabase, file_format: str
) -> None:
    """From SQLite by way of either database to SQLite again."""
    with Store(project / "arena.db") as store:
        first = exported(store, tmp_path / "1", file_format=file_format, media=project)
    assert sum(name.startswith("media/") for name in first) == 6
    between = tmp_path / "between"
    with Store(new_database(), create=True) as store:
        done = import_arena(store, tmp_path / "1", project=between)
        assert (done.new["votes"], done.new["samples"], done.notes) == (10, 6, [])
        assert store.verify() == []
        assert list(check_snapshots(store)) == []
        assert exported(store, tmp_path / "2", file_format=file_format, media=between) == first
        again = import_arena(store, tmp_path / "1", project=between)  # and again: nothing is new
        assert not +again.new
        assert again.present["votes"] == 10
        assert again.present["vote_events"] == 3
        assert exported(store, tmp_path / "3", file_format=file_format, media=between) == first
        store.add_metric_results("anna", [MetricResult("kid", 1.0, False, 3)])  # numbering goes on
        more(store, 3, 7)
        assert store.verify() == []
    with Store(tmp_path / "back" / "arena.db", create=True) as store:
        import_arena(store, tmp_path / "2", project=tmp_path / "back")
        assert exported(store, tmp_path / "4", file_format=file_format, media=tmp_path / "back") == first


def test_a_zip_is_the_same_and_deterministic(project: Path, tmp_path: Path) -> None:
    with Store(project / "arena.db") as store:
        plain = exported(store, tmp_path / "folder", media=project)
        for name in ("a.zip", "b.zip"):
            export_arena(store, tmp_path / name, media=project)
        with pytest.raises(InputError, match=r"a\.zip: is there already"):
            export_arena(store, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with Store(tmp_path / "new" / "arena.db", create=True) as store:
        import_arena(store, tmp_path / "a.zip", project=tmp_path / "new")
        assert exported(store, tmp_path / "again", media=tmp_path / "new") == plain
    assert not list(tmp_path.glob(".*"))


def test_every_changed_byte_is_found(project: Path, tmp_path: Path) -> None:
    """One byte of each file, anywhere; then one row left out, doubled, or moved. Nothing is imported."""
    with Store(project / "arena.db") as store:
        export_arena(store, tmp_path / "good", media=project)
    rng = random.Random(0)
    with Store(tmp_path / "new.db", create=True) as store:
        for path in sorted((tmp_path / "good").rglob("*.csv")):
            for how in ("byte", "less", "twice", "moved"):
                bad = tmp_path / f"{path.stem}-{how}"
                shutil.copytree(tmp_path / "good", bad)
                lines = path.read_bytes().splitlines(keepends=True)
                if how == "byte":
                    content = bytearray(path.read_bytes())
                    content[rng.randrange(len(lines[0]), len(content))] ^= 1
                    (bad / path.name).write_bytes(content)
                else:
                    head, *rows = lines
                    changed = {"less": rows[1:], "twice": [*rows, rows[-1]], "moved": rows[1:] + rows[:1]}[how]
                    (bad / path.name).write_bytes(b"".join([head, *changed]))
                    if changed == rows:
                        continue
                with pytest.raises(InputError, match=path.name):
                    import_arena(store, bad)
        assert not any(store.counts().values())


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("votes.csv", "person-2", "person-9", r"votes\.csv row \d+: does not follow"),
        ("votes.csv", '"human"', '"robot"', r"votes\.csv row \d+: does not follow"),
        ("battles.csv", "p", "q", "row 1|fails|refers|FOREIGN|battle"),
        ("samples.csv", "samples/", "../../", r"samples\.csv row 1: .*not relative"),
        ("generators.csv", "0.040", "cheap", r"generators\.csv row \d: "),
        ("prompts.csv", "text-to-image", "text-to-smell", r"prompts\.csv row 1: "),
        ("generators.csv", "12000000000", "-12", r"generators\.csv row \d: .*parameters"),
        ("generators.csv", "latent", "mental", r"generators\.csv row \d: .*space"),
        ("samples.csv", ",16,", ",-16,", r"samples\.csv row \d: .*frames"),
        ("attempts.csv", '"refused"', '"ok"', r"attempts\.csv row \d: id .* is not as paragone writes it"),
        ("provenance.csv", '"invalid"', '"fine"', r"provenance\.csv row \d: 'fine'"),
        ("safety_scores.csv", "0.25", "inf", r"safety_scores\.csv row \d: .*threshold is inf"),
        ("vote_events.csv", '"exclude"', '"restore"', r"vote_events\.csv row 1: does not follow"),
        ("judge_calls.csv", '"ok"', '"error"', r"judge_calls\.csv row \d: .*winner_when_ok"),
        ("metric_results.csv", "1.5", "nan", r"metric_results\.csv row 1: is not a measurement"),
    ],
)
def test_an_export_that_was_forged_with_its_manifest_is_refused(
    project: Path, tmp_path: Path, database_url: str, name: str, old: str, new: str, message: str
) -> None:
    with Store(project / "arena.db") as store:
        export_arena(store, tmp_path / "bad")
    path, manifest = tmp_path / "bad" / name, tmp_path / "bad" / "manifest.json"
    text = path.read_text()
    head, body = text.split("\n", 1)
    assert old in body
    path.write_text(f"{head}\n{body.replace(old, new)}")
    said = json.loads(manifest.read_text())
    said["tables"][path.stem]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(said))
    with Store(database_url, create=True) as store:
        with pytest.raises(InputError, match=message):
            import_arena(store, tmp_path / "bad")
        assert not any(store.counts().values())
        assert store.verify() == []


def test_an_arena_that_went_on_takes_what_it_lacks(project: Path, tmp_path: Path, database_url: str) -> None:
    with Store(project / "arena.db") as store, Store(database_url, create=True) as other:
        export_arena(store, tmp_path / "old", media=project)
        import_arena(other, tmp_path / "old")
        more(store, 6, seed=1)
        store.add_events([VoteEvent(3, EventKind.EXCLUDE)])
        export_arena(store, tmp_path / "new")
        more(other, 4, seed=2)  # meanwhile, elsewhere
        other.add_generators([GeneratorCard(MODELS[0], licence="MIT")])
        done = import_arena(other, tmp_path / "new")
        assert (done.new["votes"], done.new["vote_events"], done.new["battles"]) == (4, 1, 6)
        assert "kept boards were left out" in done.notes[0]
        assert other.verify() == []
        assert other.generators()[2].licence == "MIT"  # what may change stays as it is here
        mine, theirs = (set(s.votes()["battle"]) for s in (store, other))
        assert mine < theirs
        assert not +import_arena(other, tmp_path / "new").new
        next(iter((project / "samples").iterdir())).write_bytes(b"x")
        with pytest.raises(InputError, match=r"is there already, with another content"):
            import_arena(other, tmp_path / "old", project=project)


def test_contradictions_are_named(project: Path, tmp_path: Path) -> None:
    with Store(project / "arena.db") as store:
        export_arena(store, tmp_path / "out")
    with Store(tmp_path / "other.db", create=True) as store:
        store.add_prompts([Prompt("p", "something else")])
        with pytest.raises(InputError, match=r"prompts\.csv row 1: p is stored with another text"):
            import_arena(store, tmp_path / "out")
        assert store.counts()["generators"] == 0


def test_pseudonyms_hide_people_and_leave_a_whole_chain(project: Path, tmp_path: Path) -> None:
    with Store(project / "arena.db") as store:
        export_arena(store, tmp_path / "one", pseudonymise=True)
        export_arena(store, tmp_path / "two", pseudonymise=True)
        digests = set(store.votes(excluded=True)["battle"].index)
        everything = b"".join(contents(tmp_path / "one").values()) + b"".join(contents(tmp_path / "two").values())
        assert b"person-" not in everything
        assert b'"admin"' not in everything
        assert b"ruler" in everything
        names = [set(read_names(tmp_path / name)) for name in ("one", "two")]
        assert len(names[0]) == len(names[1])
        assert not names[0] & names[1]  # not the same in two exports
        with Store(tmp_path / "copy.db", create=True) as copy:
            import_arena(copy, tmp_path / "one")
            assert copy.verify() == []
            assert list(check_snapshots(copy)) == []
            assert copy.pair_counts().equals(store.pair_counts())
            by_voter = [sorted(s.votes()["voter"].value_counts()) for s in (store, copy)]
            assert by_voter[0] == by_voter[1]
        assert digests


def read_names(folder: Path) -> list[str]:
    return list(read_votes(folder / "votes.csv")["voter"].loc[lambda names: names.str.startswith("voter-")])


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", ".json"])
def test_votes_alone_are_read_back(project: Path, tmp_path: Path, suffix: str) -> None:
    with Store(project / "arena.db") as store:
        target = tmp_path / f"votes{suffix}"
        stored = store.votes()
        assert export_votes(store, target) == len(stored)
    found = read_votes(target)
    for column in ("model_a", "model_b", "winner", "voter"):
        assert list(found[column]) == list(stored[column])
    if suffix != ".json":
        assert list(found["kind"]) == list(stored["voter_kind"])
        assert list(found["battle"]) == list(stored["battle"])


def test_what_is_no_export_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("no zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("manifest.json", '{"schema": "something"}')
    with Store(tmp_path / "arena.db", create=True) as store:
        for name, message in [
            ("empty", "has no manifest.json"),
            ("text.zip", "is not a zip"),
            ("other.zip", "not of an arena that paragone exported"),
            ("gone", "no such file or folder"),
        ]:
            with pytest.raises(InputError, match=message):
                import_arena(store, tmp_path / name, progress=silent)
    assert VoterKind.HUMAN == "human"
