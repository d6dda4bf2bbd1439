"""Networks of one's own as extractors: declared preprocessing, names by content, clear refusals."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paragone.data.errors import InputError, PluginError, UsageError
from paragone.metrics import compute_metrics
from paragone.metrics.extractors.module import Preprocessing, from_module
from paragone.metrics.extractors.table import EXTRACTORS

RNG = np.random.default_rng(0)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)


class Pooling(nn.Module):
    """Means of 4 areas a channel, times a weight: 12 features."""

    def __init__(self, weight: float = 2.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight * nn.functional.avg_pool2d(x, 4)).flatten(1)


def expected(image: np.ndarray, weight: float = 2.0) -> np.ndarray:
    scaled = (image / 255 - MEAN) / STD
    return weight * scaled.reshape(2, 4, 2, 4, 3).mean(axis=(1, 3)).transpose(2, 0, 1).ravel()


def described(path: Path, **changes: object) -> None:
    fields = {"size": 8, "mean": MEAN, "std": STD} | changes
    path.with_name(f"{path.name}.json").write_text(json.dumps(fields))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        torch.jit.save(torch.jit.script(Pooling().eval()), tmp_path / "pooling.pt")
    described(tmp_path / "pooling.pt")
    return tmp_path / "pooling.pt"


build = from_module(Pooling, name="pooling", preprocessing=Preprocessing(8, MEAN, STD))


def test_a_module_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "own_network", sys.modules[__name__])
    extractor = EXTRACTORS.load("own_network:build")(weights=None, protocol="paragone")
    image = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    features, logits = extractor(extractor.prepare(image)[None])
    np.testing.assert_allclose(features[0], expected(image), atol=1e-5)
    assert (logits, extractor.dim, extractor.resize) == (None, 12, "clean-8")
    torch.save(Pooling(3.0).state_dict(), tmp_path / "three.pth")
    other = build(weights=tmp_path / "three.pth", protocol="paragone")
    np.testing.assert_allclose(other(other.prepare(image)[None])[0][0], expected(image, 3.0), atol=1e-5)
    assert other.name != extractor.name
    again = build(weights=None, protocol="paragone")
    assert (again.name, again.fingerprint) == (extractor.name, extractor.fingerprint)


def test_the_whole_way_from_pictures_to_a_distance(archive: Path) -> None:
    one, other = RNG.integers(0, 256, (2, 40, 11, 9, 3), dtype=np.uint8)
    report = compute_metrics(other, one, metrics=["fd"], features=str(archive), device="cpu", workers=0)
    assert report.results[0].extractor is not None
    assert report.results[0].extractor.startswith("pooling@")
    assert report.results[0].value > 0


def test_an_archive_and_what_changes_its_name(archive: Path) -> None:
    extractor = EXTRACTORS.load(str(archive))(weights=None, protocol="paragone")
    image = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_allclose(extractor(extractor.prepare(image)[None])[0][0], expected(image), atol=1e-5)
    described(archive, resize="bilinear")
    assert EXTRACTORS.load(str(archive))(weights=None, protocol="paragone").name != extractor.name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 0}, "size is 0"),
        ({"size": "8"}, "size is '8'"),
        ({"resize": "nearest"}, "resize is 'nearest'; use one of clean"),
        ({"mean": [0.5]}, r"mean is \[0.5\], not three numbers"),
        ({"std": [0, 1, 1]}, "must be positive"),
        ({"colour": "bgr"}, "unexpected keyword argument 'colour'"),
    ],
)
def test_wrong_declarations_name_the_file(archive: Path, changes: dict[str, object], message: str) -> None:
    described(archive, **changes)
    with pytest.raises(InputError, match=rf"pooling\.pt\.json: declares no preprocessing \(.*{message}"):
        EXTRACTORS.load(str(archive))(weights=None, protocol="paragone")


def test_what_cannot_be_an_extractor(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no weights"):
        EXTRACTORS.load(str(archive))(weights=archive, protocol="paragone")
    with pytest.raises(UsageError, match="knows paragone"):
        EXTRACTORS.load(str(archive))(weights=None, protocol="adm")
    with pytest.raises(InputError, match=r"none\.pt: no such file"):
        EXTRACTORS.load(str(tmp_path / "none.pt"))(weights=None, protocol="paragone")
    archive.with_name("pooling.pt.json").unlink()
    with pytest.raises(InputError, match=r"pooling\.pt\.json: no such file; it has to declare"):
        EXTRACTORS.load(str(archive))(weights=None, protocol="paragone")
    torch.save(Pooling().state_dict(), tmp_path / "state.pt")
    described(tmp_path / "state.pt")
    with pytest.raises(InputError, match=r"state\.pt: not a TorchScript archive"):
        EXTRACTORS.load(str(tmp_path / "state.pt"))(weights=None, protocol="paragone")
    maps = from_module(lambda: nn.Conv2d(3, 4, 3), name="maps", preprocessing=Preprocessing(8))
    with pytest.raises(PluginError, match=r"maps@.* gives \(2, 4, 6, 6\) for two pictures, not \[2, D\]"):
        maps(weights=None, protocol="paragone")
    narrow = from_module(lambda: nn.Conv2d(1, 4, 3), name="narrow", preprocessing=Preprocessing(8))
    with pytest.raises(PluginError, match=r"narrow@.*: fails on pictures of 8×8 pixels: .*channels"):
        narrow(weights=None, protocol="paragone")


def test_an_onnx_file_without_its_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.onnx").write_bytes(b"x")
    described(tmp_path / "x.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(PluginError, match="ONNX files need the package onnxruntime"):
        EXTRACTORS.load(str(tmp_path / "x.onnx"))(weights=None, protocol="paragone")


def test_an_onnx_file(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pooled = onnx.helper.make_node("AveragePool", ["x"], ["areas"], kernel_shape=[4, 4], strides=[4, 4])
    flat = onnx.helper.make_node("Flatten", ["areas"], ["features"])
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", ["n", 3, 8, 8]), ("features", ["n", 12]))
    ]
    graph = onnx.helper.make_graph([pooled, flat], "pooling", ends[:1], ends[1:])
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "pooling.onnx")
    described(tmp_path / "pooling.onnx")
    extractor = EXTRACTORS.load(str(tmp_path / "pooling.onnx"))(weights=None, protocol="paragone")
    image = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_allclose(extractor(extractor.prepare(image)[None])[0][0], expected(image, 1.0), atol=1e-5)
    (tmp_path / "pooling.onnx").write_bytes(b"x")
    with pytest.raises(InputError, match=r"pooling\.onnx: not an ONNX network"):
        EXTRACTORS.load(str(tmp_path / "pooling.onnx"))(weights=None, protocol="paragone")
