"""CLIPScore on the whole way: files of prompts, pictures that have none, clusters, the command; random weights."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paragone.data.errors import InputError, MissingWeights, UsageError
from paragone.data.images import read_images
from paragone.metrics import compute_metrics
from paragone.metrics.alignment import clip_score
from paragone.metrics.captions import captions_of

open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed")
torch = pytest.importorskip("torch")

NAMES = ["a/1.png", "a/2.png", "a/10.png", "b.png"]
PROMPTS = ["a red cat", "a dog", "a red cat", "a house, seen from the sea"]
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    (folder / "captioned-clip.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = open_clip.CLIP(**CONFIG)
        for parameter in network.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    torch.save(network.state_dict(), folder / "clip.pt")
    return folder / "clip.pt"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        path = tmp_path / "made" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    return tmp_path / "made"


def written(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        if path.suffix == ".csv":
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def pairs(names: list[str] = NAMES, prompts: list[str] = PROMPTS) -> list[dict[str, str]]:
    return [{"file": name, "prompt": prompt} for name, prompt in zip(names, prompts, strict=True)]


# ---- Files of prompts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".txt"])
def test_every_form_gives_the_captions_in_the_order_of_the_pictures(folder: Path, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"prompts{suffix}"
    if suffix == ".txt":
        file.write_text("\n".join(PROMPTS) + "\n")
    else:
        written(file, pairs()[::-1])
    assert captions_of(file, read_images(folder)) == tuple(PROMPTS)


def test_prompt_ids_lead_through_the_manifest(folder: Path, tmp_path: Path) -> None:
    ids = {"a red cat": "cat", "a dog": "dog", "a house, seen from the sea": "house"}
    entries = [
        {"prompt_id": ids[prompt], "seed": seed, "status": "ok", "file": name}
        for seed, (name, prompt) in enumerate(zip(NAMES, PROMPTS, strict=True))
    ]
    entries.append({"prompt_id": "gun", "seed": 0, "status": "refused"})
    lines = [json.dumps(line) for line in [{"schema": "paragone.samples/1", "recipe": "x"}, *entries]]
    rows = [{"prompt_id": id_, "prompt": prompt} for prompt, id_ in [*ids.items(), ("a gun", "gun")]]
    file = written(tmp_path / "prompts.csv", rows)
    with pytest.raises(InputError, match=r"names prompts by prompt_id, but .*made has no manifest\.jsonl"):
        captions_of(file, read_images(folder))
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    assert captions_of(file, read_images(folder)) == tuple(PROMPTS)
    with pytest.raises(InputError, match=r"1 prompts are not in .*manifest\.jsonl, first zebra"):
        captions_of(written(file, [*rows, {"prompt_id": "zebra", "prompt": "a zebra"}]), read_images(folder))


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("p.csv", pairs(NAMES[:2], PROMPTS[:2]), r"2 of 4 pictures of .*made have no prompt there, first a/10\.png"),
        ("p.csv", pairs([*NAMES, "z.png"], [*PROMPTS, "z"]), r"1 prompts are of no picture of .*made, first z\.png"),
        ("p.jsonl", pairs(NAMES, [*PROMPTS[:3], "  "]), r"line 4: the prompt is empty or missing"),
        ("p.csv", pairs([*NAMES, NAMES[0]], [*PROMPTS, "x"]), r"line 6: file a/1\.png occurs twice"),
        ("p.csv", [{"picture": "b.png", "prompt": "x"}], r"its rows need the columns prompt and file or prompt_id"),
        ("p.jsonl", [{"file": "b.png"}], r"line 1: the prompt is empty or missing"),
        ("p.yaml", pairs(), r"prompts are read from \.csv, \.jsonl and \.txt"),
    ],
)
def test_what_does_not_fit_is_named(folder: Path, tmp_path: Path, name: str, rows: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        captions_of(written(tmp_path / name, rows), read_images(folder))
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", "one\ntwo\n", "2 lines for the 4 pictures of"),
        ("p.txt", "one\n\nthree\nfour\n", "line 2: the prompt is empty"),
        ("p.jsonl", "[]\n", "line 1: a list, not an object"),
        ("p.jsonl", "{\n", "line 1: not JSON"),
        ("p.csv", 'file,prompt\nb.png,"x\n', "not CSV"),
        ("p.csv", "", "its rows need the columns"),
        ("p.csv", b"file,prompt\nb.png,\xff\n", "cannot be read as UTF-8"),
    ],
)
def test_damaged_files_are_named(folder: Path, tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        captions_of(tmp_path / name, read_images(folder))
    with pytest.raises(InputError, match="no such file of prompts"):
        captions_of(tmp_path / "nowhere.csv", read_images(folder))


# ---- The standard error --------------------------------------------------------------------------------------------


def test_the_error_is_that_of_prompts_and_not_of_pictures() -> None:
    rng = np.random.default_rng(0)
    images, captions = rng.normal(size=(2, 40, 6))
    single = clip_score(images, captions)
    alone = clip_score(images, captions, groups=[str(index) for index in range(40)])
    assert alone.standard_error == pytest.approx(single.standard_error)
    # Ten copies of each pair know nothing new: the error by groups is that of the pairs, up to (G - 1) / G.
    tenfold = [np.repeat(x, 10, axis=0) for x in (images, captions)]
    groups = [str(index) for index in range(40) for _ in range(10)]
    assert clip_score(*tenfold, groups=groups).standard_error == pytest.approx(single.standard_error)
    assert clip_score(*tenfold).standard_error < 0.4 * single.standard_error
    assert clip_score(images, captions, groups=["one"] * 40).standard_error is None
    with pytest.raises(InputError, match="2 groups of 40 values"):
        clip_score(images, captions, groups=["a", "b"])


def test_the_error_by_groups_covers() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        level = np.repeat(rng.uniform(0.2, 0.8, 30), 4) + rng.normal(0, 0.05, 120)
        images = np.stack([level, np.sqrt(1 - level**2)], axis=1)
        found = clip_score(
            images,
            np.tile([1.0, 0.0], (120, 1)),
            variant="torchmetrics",
            groups=[str(index // 4) for index in range(120)],
        )
        assert found.standard_error is not None
        hits += abs(found.mean - 50) < 1.96 * found.standard_error
    assert 0.89 < hits / 200 < 0.99


# ---- The metric ----------------------------------------------------------------------------------------------------


def score(folder: Path, weights: Path | None, prompts: Path | None, **options: Any) -> Any:
    given = {"metrics": ["clip_score"], "features": "clip:captioned-clip", "weights": weights, "device": "cpu"}
    return compute_metrics(folder, **given | {"prompts": prompts, "workers": 0} | options)


def by_hand(folder: Path, weights: Path, prefix: str = "A photo depicts ") -> np.ndarray:
    network = open_clip.CLIP(**CONFIG).eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    transform, tokenizer = open_clip.image_transform(32, is_train=False), open_clip.get_tokenizer("captioned-clip")
    with torch.inference_mode():
        images = network.encode_image(torch.stack([transform(Image.open(folder / name)) for name in NAMES]))
        texts = network.encode_text(tokenizer([prefix + prompt for prompt in PROMPTS]))
    cosines = torch.nn.functional.cosine_similarity(images.double(), texts.double())
    return cosines.clamp(min=0).numpy()


def test_the_whole_way_is_open_clips_own(folder: Path, weights: Path, tmp_path: Path) -> None:
    prompts = written(tmp_path / "p.csv", pairs())
    report = score(folder, weights, prompts, per_image=True)
    expected = 2.5 * by_hand(folder, weights)
    [result] = report.results
    assert result.value == pytest.approx(expected.mean(), rel=1e-5)
    assert (result.metric, result.n_generated, result.n_reference) == ("clip_score", 4, None)
    residuals = expected - expected.mean()
    clusters = np.array([residuals[0] + residuals[2], residuals[1], residuals[3]])
    assert result.standard_error == pytest.approx(np.sqrt(1.5 * np.square(clusters).sum()) / 4, rel=1e-4)
    assert result.ci_low < result.value < result.ci_high
    assert (result.details["prompts"], result.details["cut"], result.details["weight"]) == (3, 0, 2.5)
    assert "clip_score|ext:clip:captioned-clip@" in result.signature
    assert "|prompts:" in result.signature
    assert "ref:" not in result.signature
    found = {row.name: row for row in report.caption_scores}
    assert [found[name].prompt for name in NAMES] == PROMPTS
    np.testing.assert_allclose([found[name].clip_score for name in NAMES], expected, rtol=1e-5)
    assert [row.clip_score for row in report.caption_scores] == sorted(row.clip_score for row in found.values())
    other = score(folder, weights, prompts, settings={"clip_score": {"variant": "torchmetrics"}}).results[0]
    assert other.value == pytest.approx(100 * by_hand(folder, weights, "").mean(), rel=1e-5)
    assert "|set:variant=torchmetrics|" in other.signature


def test_captions_that_do_not_fit_are_counted_and_told(folder: Path, weights: Path, tmp_path: Path) -> None:
    long = ["word " * 30, *PROMPTS[1:]]
    report = score(folder, weights, written(tmp_path / "p.csv", pairs(prompts=long)))
    assert report.results[0].details["cut"] == 1
    assert any("1 of 4 prompts are longer than the context" in line and "a/1.png" in line for line in report.warnings)


def test_unreadable_pictures_take_their_captions_with_them(folder: Path, weights: Path, tmp_path: Path) -> None:
    prompts = written(tmp_path / "p.csv", pairs())
    whole = {row.name: row for row in score(folder, weights, prompts, per_image=True).caption_scores}
    (folder / "a/2.png").write_bytes(b"broken")
    report = score(folder, weights, prompts, per_image=True, on_error="skip")
    assert {row.name: row for row in report.caption_scores} == {
        name: row for name, row in whole.items() if name != "a/2.png"
    }
    assert report.results[0].n_generated == 3


def test_beside_other_metrics_in_clip_features_and_in_others(
    folder: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARAGONE_HOME", str(tmp_path / "empty"))
    prompts = written(tmp_path / "p.csv", pairs())
    alone = score(folder, weights, prompts).results[0]
    metrics = ["vendi", "clip_score", "sharpness"]
    both = score(folder, weights, prompts, metrics=metrics)
    assert [result.metric for result in both.results] == ["vendi", "sharpness", "clip_score"]
    assert both.results[-1] == alone
    assert both.results[0].extractor == alone.extractor
    with pytest.raises(MissingWeights):  # the features are gist, so the weights are not those of CLIP
        score(folder, None, prompts, metrics=metrics, features="gist")


def test_one_prompt_has_no_interval(folder: Path, weights: Path, tmp_path: Path) -> None:
    report = score(folder, weights, written(tmp_path / "p.csv", pairs(prompts=["a cat"] * 4)))
    assert report.results[0].standard_error is None
    assert "no_interval" in report.results[0].details


def test_requests_that_make_no_sense(folder: Path, weights: Path, tmp_path: Path) -> None:
    prompts = written(tmp_path / "p.csv", pairs())
    with pytest.raises(UsageError, match="clip_score: needs the prompts of the pictures; name their file with --prom"):
        score(folder, weights, None)
    with pytest.raises(UsageError, match="no metric asked for uses them; add --metric clip_score"):
        score(folder, weights, prompts, metrics=["sharpness"])
    with pytest.raises(UsageError, match="by which of clip:captioned-clip, clip"):
        score(folder, None, prompts, features=["clip:captioned-clip", "clip"])
    with pytest.raises(UsageError, match=r"clip_score\.variant=mine: use hessel-2021 or torchmetrics"):
        score(folder, weights, prompts, settings={"clip_score": {"variant": "mine"}})


def test_the_command(folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from paragone.__main__ import main

    prompts = written(tmp_path / "p.csv", pairs())
    table = tmp_path / "scores.csv"
    arguments = ["metrics", folder, "--metric", "clip_score", "--prompts", prompts, "--weights", weights]
    arguments += ["--features", "clip:captioned-clip", "--set", "clip_score.variant=torchmetrics"]
    arguments += ["--per-image", table, "--json", "-", "--device", "cpu", "--no-cache"]
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 0
    [result] = json.loads(capsys.readouterr().out)["results"]
    assert result["details"]["variant"] == "torchmetrics"
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["name"] for row in rows) == sorted(NAMES)
    assert np.mean([float(row["clip_score"]) for row in rows]) == pytest.approx(result["value"])
