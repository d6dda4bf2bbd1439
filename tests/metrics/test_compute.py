"""From two sets to a report: results that explain themselves, checks before the work, warnings that are due."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from paragone import __version__
from paragone.data import images
from paragone.data.errors import (
    InputError,
    MissingWeights,
    NotComparable,
    PluginError,
    TooFewSamples,
    UnreadableImage,
    UsageError,
)
from paragone.data.files import file_digest
from paragone.data.images import read_images
from paragone.metrics import (
    FeatureStatistics,
    compute_metrics,
    frechet_distance,
    inception_score,
    kernel_distance,
    precision_recall,
)
from paragone.metrics import compute as module
from paragone.metrics.extractors.digits import DigitsNetwork
from paragone.metrics.features import ExtractionOptions, extract_side, open_extractor

RNG = np.random.default_rng(0)
KEYS = {
    *("metric", "value", "standard_error", "ci_low", "ci_high", "higher_is_better", "n_generated", "n_reference"),
    *("extractor", "protocol", "signature", "seed", "version", "details"),
}


def textures(n: int, contrast: float, seed: int) -> NDArray[np.uint8]:
    """[n, 12, 12, 3] blocky random pictures."""
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.normal(128, contrast, (n, 4, 4, 3)), np.ones((1, 3, 3, 1)))
    return np.clip(blocks + rng.normal(0, 5, blocks.shape), 0, 255).astype(np.uint8)


REFERENCE, GENERATED = textures(24, 40, seed=1), textures(20, 40, seed=2)


def write(folder: Path, images: NDArray[np.uint8], suffix: str = "png") -> Path:
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index}.{suffix}")
    return folder


class Counting:
    """Stands for any extractor: mean and spread of each channel, logits of three classes."""

    protocol = "paragone"
    resize = "none"
    fingerprint = "1"
    dim = 6
    has_logits = True

    def __init__(self, name: str = "counting-1", warnings: tuple[str, ...] = ()) -> None:
        self.name = name
        self.warnings = warnings
        self.n_prepared = 0

    def prepare(self, image: NDArray[np.uint8]) -> Tensor:
        self.n_prepared += 1
        flat = torch.from_numpy(image.reshape(-1, 3).astype(np.float32))
        return torch.cat([flat.mean(0), flat.std(0)])[:, None, None]

    def to(self, device: torch.device) -> None:
        pass

    def __call__(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        features = batch.flatten(1)
        return features, features[:, :3] / 20


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Counting], Counting]:
    def replace(extractor: Counting) -> Counting:
        monkeypatch.setattr(module, "open_extractor", lambda *args, **options: extractor)
        return extractor

    return replace


# ---- Results ---------------------------------------------------------------------------------------------------------


def test_results_are_those_of_the_formulas_on_the_same_features(use: Callable[[Counting], Counting]) -> None:
    extractor = use(Counting())
    report = compute_metrics(
        GENERATED,
        REFERENCE,
        metrics=["precision", "recall", "density", "coverage", "kid", "fd", "inception_score"],
        seed=3,
    )
    options = ExtractionOptions("cpu")
    x, y = (extract_side(read_images(side), extractor, options, task="").side for side in (REFERENCE, GENERATED))
    assert x.features is not None
    assert y.features is not None
    assert y.logits is not None
    balls = precision_recall(x.features, y.features, k=3)
    expected = {
        "precision": balls.precision,
        "recall": balls.recall,
        "density": balls.density,
        "coverage": balls.coverage,
        "kid": kernel_distance(x.features, y.features, subset_size=20, seed=3).mean,
        "fd": frechet_distance(x.features, y.features),
        "inception_score": inception_score(y.logits, splits=10, seed=3).mean,
    }
    assert [result.metric for result in report.results] == list(expected)
    for result in report.results:
        assert result.value == pytest.approx(expected[result.metric], rel=1e-12)
        assert result.n_generated == 20
        assert result.n_reference == (None if result.metric == "inception_score" else 24)
        assert (result.extractor, result.protocol, result.seed) == ("counting-1", "paragone", 3)
        assert result.version == __version__
        assert result.higher_is_better == (result.metric not in ("fd", "kid"))


def test_document_has_the_keys_of_its_schema(use: Callable[[Counting], Counting]) -> None:
    use(Counting())
    report = compute_metrics(GENERATED, REFERENCE, metrics=["fd", "precision"])
    document = report.to_dict()
    assert document["schema"] == "paragone.metrics/1"
    assert list(document) == ["schema", "results", "warnings"]
    assert all(set(result) == KEYS for result in document["results"])


def test_signature_says_what_must_agree(use: Callable[[Counting], Counting]) -> None:
    use(Counting())
    digest = read_images(REFERENCE).digest()[:12]
    [result] = compute_metrics(GENERATED, REFERENCE, metrics=["fd"]).results
    assert result.signature == (f"fd|ext:counting-1|protocol:paragone|resize:none|n:20|ref:{digest}|v:{__version__}")
    [other] = compute_metrics(GENERATED, REFERENCE[::-1], metrics=["fd"]).results
    assert other.signature != result.signature


def test_fd_of_the_known_inception_is_called_fid(use: Callable[[Counting], Counting]) -> None:
    use(Counting("inception-2015-12-05"))
    report = compute_metrics(GENERATED, REFERENCE, metrics=["fid", "kid"])
    assert [result.metric for result in report.results] == ["fid", "kid"]
    assert report.results[0].signature.startswith("fid|ext:inception-2015-12-05|")
    assert any("published values are of 10,000" in line for line in report.warnings)
    use(Counting("inception@0123456789ab", ("its sha256 is …",)))
    report = compute_metrics(GENERATED, REFERENCE, metrics=["fid"])
    assert report.results[0].metric == "fd"
    assert "inception@0123456789ab" in report.results[0].signature
    assert "its sha256 is …" in report.warnings
    assert any("reported as fd" in line for line in report.warnings)


def test_order_of_the_files_does_not_matter_but_for_the_reference_digest(tmp_path: Path) -> None:
    shuffled = RNG.permutation(20)
    one = compute_metrics(GENERATED, REFERENCE, metrics=["fd", "precision"])
    two = compute_metrics(GENERATED[shuffled], REFERENCE, metrics=["fd", "precision"])
    for a, b in zip(one.results, two.results, strict=True):
        assert a.value == pytest.approx(b.value, rel=1e-6)
        assert a.signature == b.signature


def test_default_metrics_follow_from_what_is_given(use: Callable[[Counting], Counting]) -> None:
    use(Counting())
    usual = ["fd", "kid", "precision", "recall", "density", "coverage"]
    assert [result.metric for result in compute_metrics(GENERATED, REFERENCE).results] == usual
    report = compute_metrics(GENERATED, REFERENCE, training=textures(9, 40, seed=5))
    assert [result.metric for result in report.results] == [*usual, "authenticity"]
    assert report.results[-1].n_reference is None
    assert report.results[-1].details["n_training"] == 9
    assert "|train:" in report.results[-1].signature


def test_training_pictures_that_are_replayed_are_found(use: Callable[[Counting], Counting]) -> None:
    use(Counting())
    training = textures(15, 40, seed=5)
    copied = compute_metrics(training, REFERENCE, metrics=["authenticity"], training=training).results[0]
    fresh = compute_metrics(GENERATED, REFERENCE, metrics=["authenticity"], training=training).results[0]
    assert copied.value == 0
    assert fresh.value > 0.2


def test_digits_weights_reach_the_extractor(tmp_path: Path) -> None:
    network = DigitsNetwork()
    network.save(tmp_path / "digits.safetensors")
    digest = file_digest(tmp_path / "digits.safetensors")
    report = compute_metrics(
        GENERATED, REFERENCE, metrics=["fd"], features="digits", weights=tmp_path / "digits.safetensors"
    )
    assert report.results[0].extractor == f"digits@{digest[:12]}"


def test_a_missing_cache_folder_is_made_and_used(tmp_path: Path) -> None:
    first = compute_metrics(GENERATED, REFERENCE, metrics=["fd"], cache=tmp_path / "a" / "b")
    assert len(list((tmp_path / "a" / "b").iterdir())) == 2
    assert compute_metrics(GENERATED, REFERENCE, metrics=["fd"], cache=tmp_path / "a" / "b") == first


def test_several_extractors_share_one_decoding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known = {name: Counting(f"{name}-1") for name in ("one", "two")}
    monkeypatch.setattr(module, "open_extractor", lambda name, **options: known[name])
    decoded: list[str] = []
    decode = images.decode_picture
    monkeypatch.setattr(
        images, "decode_picture", lambda content, name: (decoded.append(name), decode(content, name))[1]
    )
    folders = [write(tmp_path / name, pictures) for name, pictures in (("gen", GENERATED), ("ref", REFERENCE))]
    report = compute_metrics(*folders, metrics=["fd", "kid"], features=["one", "two", "one"])
    assert [(result.metric, result.extractor) for result in report.results] == [
        ("fd", "one-1"),
        ("kid", "one-1"),
        ("fd", "two-1"),
        ("kid", "two-1"),
    ]
    assert len(decoded) == len(GENERATED) + len(REFERENCE)
    assert report.results[0].value == report.results[2].value
    assert report.results[0].signature != report.results[2].signature
    for options, message in (
        ({"weights": "x.pth"}, "--weights x.pth: of which of one, two"),
        ({"per_image": True}, "choose one of one, two"),
        ({"features": ()}, "no features are asked for"),
    ):
        with pytest.raises(UsageError, match=message):
            compute_metrics(GENERATED, REFERENCE, **{"metrics": ["fd"], "features": ["one", "two"], **options})  # type: ignore[arg-type]


# ---- Contributions of pictures ---------------------------------------------------------------------------------------


def test_contributions_are_those_of_leaving_one_out(tmp_path: Path, use: Callable[[Counting], Counting]) -> None:
    use(Counting())
    many, outlier = textures(400, 40, seed=7), np.zeros((1, 12, 12, 3), np.uint8)
    outlier[..., 0] = 255
    folder = write(tmp_path / "generated", np.concatenate([many[:200], outlier, many[200:]]))
    report = compute_metrics(folder, textures(300, 40, seed=8), metrics=["fd"], per_image=True)
    assert len(report.contributions) == 401
    values = [row.contribution for row in report.contributions]
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(0, abs=1e-9 * values[0])
    assert report.contributions[0].name == "200.png"
    whole = report.results[0].value
    for row in (report.contributions[1], report.contributions[-1]):
        (folder / row.name).rename(tmp_path / "aside.png")
        without = compute_metrics(folder, textures(300, 40, seed=8), metrics=["fd"]).results[0].value
        (tmp_path / "aside.png").rename(folder / row.name)
        assert whole - without == pytest.approx(row.contribution, rel=0.1, abs=1e-3 * whole)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"metrics": ["kid"]}, UsageError, "add --metric fd"),
        ({"generated": GENERATED[:6]}, TooFewSamples, "there are 6 for the 6 of counting-1"),
        ({"reference": REFERENCE[:5]}, TooFewSamples, "more pictures than dimensions"),
        ({"generated": FeatureStatistics.from_features(RNG.normal(size=(9, 6)))}, UsageError, "only pictures have"),
    ],
)
def test_contributions_that_are_not_defined_fail_early(
    use: Callable[[Counting], Counting], options: dict[str, object], error: type[Exception], message: str
) -> None:
    extractor = use(Counting())
    request = {"generated": GENERATED, "reference": REFERENCE, "metrics": ["fd"], "per_image": True, **options}
    with pytest.raises(error, match=message):
        compute_metrics(**request)  # type: ignore[arg-type]
    assert extractor.n_prepared == 0


# ---- Statistics in the place of pictures -----------------------------------------------------------------------------


@pytest.fixture
def reference_file(tmp_path: Path) -> Path:
    extractor = open_extractor("gist")
    options = ExtractionOptions("cpu")
    path = tmp_path / "reference.npz"
    extract_side(read_images(REFERENCE), extractor, options, task="").side.statistics.save(path)
    return path


def test_a_statistics_file_can_stand_for_its_pictures(reference_file: Path) -> None:
    [of_pictures] = compute_metrics(GENERATED, REFERENCE, metrics=["fd"]).results
    report = compute_metrics(GENERATED, reference_file)
    [of_file] = report.results
    assert of_file.metric == "fd"
    assert of_file.value == pytest.approx(of_pictures.value, rel=1e-9)
    assert of_file.n_reference == 24
    assert f"ref:{file_digest(reference_file)[:12]}" in of_file.signature
    assert report.warnings[0].startswith("left out kid, precision, recall, density, coverage: needs pictures")
    loaded = FeatureStatistics.load(reference_file)
    assert compute_metrics(GENERATED, loaded, metrics=["fd"]).results[0].value == of_file.value


def test_two_files_need_no_extractor(reference_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_extractor", None)
    report = compute_metrics(reference_file, reference_file, metrics=["fd"], features="inception")
    assert report.results[0].value == pytest.approx(0, abs=1e-9)
    assert report.results[0].extractor == "gist-1"
    assert any("the same, byte for byte" in line for line in report.warnings)


def test_statistics_of_other_features_are_not_comparable(tmp_path: Path, use: Callable[[Counting], Counting]) -> None:
    extractor = use(Counting())
    for name, tags, message in (
        ("extractor", {"extractor": "gist-1", "protocol": "paragone"}, "its extractor is gist-1, that of the pictures"),
        ("protocol", {"extractor": "counting-1", "protocol": "pytorch-fid"}, "its protocol is pytorch-fid"),
    ):
        FeatureStatistics.from_features(RNG.normal(size=(9, 6)), **tags).save(tmp_path / f"{name}.npz")
        with pytest.raises(NotComparable, match=rf"{name}\.npz: {message}"):
            compute_metrics(GENERATED, tmp_path / f"{name}.npz", metrics=["fd"])
    np.savez(tmp_path / "foreign.npz", mu=np.zeros(5), sigma=np.eye(5))
    with pytest.raises(NotComparable, match="its dimension is 5, that of the pictures is 6"):
        compute_metrics(GENERATED, tmp_path / "foreign.npz", metrics=["fd"])
    assert extractor.n_prepared == 0


def test_another_tools_file_is_taken_on_trust_as_reference_only(
    tmp_path: Path, use: Callable[[Counting], Counting]
) -> None:
    use(Counting())
    np.savez(tmp_path / "foreign.npz", mu=np.zeros(6), sigma=np.eye(6))
    report = compute_metrics(GENERATED, tmp_path / "foreign.npz", metrics=["fd"])
    assert report.results[0].n_reference is None
    assert any("taken on trust" in line for line in report.warnings)
    with pytest.raises(UsageError, match="does not say of how many pictures"):
        compute_metrics(tmp_path / "foreign.npz", REFERENCE, metrics=["fd"])


def test_an_npz_with_images_and_moments_counts_as_images(tmp_path: Path, use: Callable[[Counting], Counting]) -> None:
    use(Counting())
    np.savez(tmp_path / "adm.npz", REFERENCE, mu=np.zeros(3), sigma=np.eye(3))
    report = compute_metrics(GENERATED, tmp_path / "adm.npz", metrics=["kid"])
    assert report.results[0].n_reference == 24


# ---- Checks that come before the work --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"metrics": ["fd", "kidd"]}, PluginError, "did you mean 'kid'"),
        ({"metrics": []}, UsageError, "no metric is asked for"),
        ({"metrics": ["authenticity"]}, UsageError, "--training"),
        ({"metrics": ["fd"], "training": REFERENCE}, UsageError, "--metric authenticity"),
        ({"reference": "nowhere"}, InputError, "nowhere: no such file or folder"),
        ({"generated": "nowhere"}, InputError, "nowhere: no such file or folder"),
        ({"training": "nowhere"}, InputError, "nowhere: no such file or folder"),
        ({"generated": GENERATED[:1]}, TooFewSamples, "fd needs at least 2 pictures, there are 1"),
        ({"reference": REFERENCE[:3], "metrics": ["recall"]}, TooFewSamples, "recall needs at least 4"),
        ({"generated": GENERATED[:9], "metrics": ["inception_score"]}, TooFewSamples, "at least 10"),
        ({"generated": np.zeros((20, 6))}, UsageError, "frechet_distance"),
        ({"device": "tpu"}, UsageError, "device 'tpu'"),
        ({"on_error": "ignore"}, UsageError, "raise or skip"),
    ],
)
def test_a_wrong_request_fails_before_a_picture_is_decoded(
    use: Callable[[Counting], Counting], options: dict[str, object], error: type[Exception], message: str
) -> None:
    extractor = use(Counting())
    with pytest.raises(error, match=message):
        compute_metrics(**{"generated": GENERATED, "reference": REFERENCE, **options})  # type: ignore[arg-type]
    assert extractor.n_prepared == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"features": "gits"}, PluginError, "no extractor is called 'gits'"),
        ({"features": "inception"}, MissingWeights, "pt_inception-2015-12-05"),
        ({"features": "digits"}, MissingWeights, "--weights FILE"),
        ({"protocol": "clean-fid"}, UsageError, "gist knows paragone"),
        ({"weights": "x.pth"}, UsageError, "has no weights"),
        ({"metrics": ["inception_score"]}, UsageError, "class logits"),
    ],
)
def test_an_extractor_that_does_not_do_fails_before_a_picture_is_decoded(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, object], error: type[Exception], message: str
) -> None:
    monkeypatch.setattr(module, "pass_through", None)
    with pytest.raises(error, match=message):
        compute_metrics(GENERATED, REFERENCE, **options)  # type: ignore[arg-type]


def test_the_reference_is_left_alone_where_no_metric_looks_at_it(use: Callable[[Counting], Counting]) -> None:
    extractor = use(Counting())
    compute_metrics(GENERATED, REFERENCE, metrics=["inception_score"])
    assert extractor.n_prepared == len(GENERATED)


# ---- Pictures that are left out, and other warnings ------------------------------------------------------------------


def test_unreadable_pictures_are_counted_and_may_leave_too_few(
    tmp_path: Path, use: Callable[[Counting], Counting]
) -> None:
    use(Counting())
    folder = write(tmp_path / "generated", GENERATED[:6])
    for name in ("2.png", "4.png"):
        (folder / name).write_bytes(b"")
    with pytest.raises(UnreadableImage, match=r"2\.png"):
        compute_metrics(folder, REFERENCE, metrics=["precision"])
    report = compute_metrics(folder, REFERENCE, metrics=["precision"], on_error="skip")
    assert report.results[0].n_generated == 4
    assert "|n:4|" in report.results[0].signature
    assert any("2 of 6 pictures were unreadable" in line for line in report.warnings)
    (folder / "0.png").write_bytes(b"")
    with pytest.raises(TooFewSamples, match="there are 3"):
        compute_metrics(folder, REFERENCE, metrics=["precision"], on_error="skip")


def test_compression_on_one_side_is_remarked(tmp_path: Path, use: Callable[[Counting], Counting]) -> None:
    use(Counting())
    lossless, lossy = write(tmp_path / "png", REFERENCE), write(tmp_path / "jpg", GENERATED, "jpg")

    def remarked(generated: Path, reference: Path) -> bool:
        report = compute_metrics(generated, reference, metrics=["kid"])
        return any("lossy" in line for line in report.warnings)

    assert remarked(lossy, lossless)
    assert remarked(lossless, lossy)
    assert not remarked(lossless, lossless)
    assert not remarked(lossy, lossy)


def test_small_numbers_are_remarked(use: Callable[[Counting], Counting]) -> None:
    use(Counting())
    report = compute_metrics(GENERATED[:6], REFERENCE, metrics=["fd"])
    assert any("6 pictures for 6 dimensions" in line for line in report.warnings)
    assert compute_metrics(GENERATED, REFERENCE, metrics=["fd", "kid"]).warnings == ()
