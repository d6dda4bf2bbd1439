"""Other tools' pickles: their arrays are read, and nothing in them is ever run."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paragone.data.errors import InputError, NotComparable
from paragone.metrics import FeatureStatistics, compute_metrics, frechet_distance, load_statistics
from paragone.metrics.pickles import read_numpy_pickle

RNG = np.random.default_rng(0)


def edm2(path: Path, features: dict[str, Any], *, protocol: int = 4) -> Path:
    entries = {
        key: {"mu": values.mean(axis=0), "sigma": np.cov(values, rowvar=False)} for key, values in features.items()
    }
    with path.open("wb") as file:
        pickle.dump({"num_images": len(next(iter(features.values()))), **entries}, file, protocol=protocol)
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_and_numbers_come_out_as_they_are(tmp_path: Path, protocol: int) -> None:
    written = {
        "n": np.int64(7),
        "f4": RNG.normal(size=(3, 4)).astype(np.float32),
        "f8": np.asfortranarray(RNG.normal(size=(3, 4))),
        "list": [1, 2.5, "text", None, (True,)],
    }
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(written, protocol=protocol))
    if protocol < 3:  # spells bytes by codecs.encode, which is one name too many
        with pytest.raises(InputError, match=r"it asks for _codecs\.encode"):
            read_numpy_pickle(tmp_path / "a.pkl")
        return
    found = read_numpy_pickle(tmp_path / "a.pkl")
    assert found["n"] == 7
    assert found["list"] == written["list"]
    for key in ("f4", "f8"):
        assert found[key].dtype == written[key].dtype
        np.testing.assert_array_equal(found[key], written[key])


def test_numpy_1_names_are_known(tmp_path: Path) -> None:
    content = pickle.dumps(np.arange(3.0), protocol=3)
    older = content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    assert older != content
    (tmp_path / "a.pkl").write_bytes(older)
    np.testing.assert_array_equal(read_numpy_pickle(tmp_path / "a.pkl"), [0, 1, 2])


def test_edm2_statistics_give_the_distance_of_their_features(tmp_path: Path) -> None:
    x, y = RNG.normal(size=(50, 6)), RNG.normal(0.3, 1.2, size=(40, 4))
    path = edm2(tmp_path / "img512.pkl", {"fid": x, "fd_dinov2": y})
    for name, features in (("inception", x), ("dinov2", y)):
        found = load_statistics(path, features=name)
        assert isinstance(found, FeatureStatistics)
        assert (found.n, found.extractor, found.protocol) == (len(x), None, None)
        other = RNG.normal(size=(60, features.shape[1]))
        sigma = np.cov(features, rowvar=False)
        np.testing.assert_allclose(found.covariance(), sigma, rtol=1e-12, atol=1e-15)
        whole = FeatureStatistics(50, features.mean(axis=0), sigma * 49)
        assert frechet_distance(found, other) == pytest.approx(frechet_distance(whole, other), rel=1e-12)
    with pytest.raises(InputError, match=r"img512\.pkl: no statistics for gist in it \(it has fid, fd_dinov2\)"):
        load_statistics(path, features="gist")


def test_edm2_statistics_as_a_reference(tmp_path: Path) -> None:
    pictures = RNG.integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    path = edm2(tmp_path / "gist.pkl", {"fid": RNG.normal(size=(800, 752))})
    report = compute_metrics(pictures, path, metrics=["fd"])
    assert report.results[0].n_reference == 800
    assert any("taken on trust" in line for line in report.warnings)
    with pytest.raises(NotComparable, match=r"other\.pkl: its dimension is 3"):
        compute_metrics(pictures, edm2(tmp_path / "other.pkl", {"fid": RNG.normal(size=(9, 3))}), metrics=["fd"])


# ---- Malice ----------------------------------------------------------------------------------------------------------


class Calls:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def payloads(marker: Path) -> dict[str, bytes]:
    touch = f"touch {marker}"
    return {
        "os.system": pickle.dumps({"num_images": 2, "fid": Calls(os.system, touch)}),
        "builtins.eval": pickle.dumps(Calls(eval, f"open({str(marker)!r}, 'w').close()")),
        "builtins.getattr": b"cbuiltins\ngetattr\n.",
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
        "through numpy": b"\x80\x04\x8c\x05numpy\x8c\x08__loader__\x93.",
        "numpy.load": b"cnumpy\nload\n(S'x'\ntR.",
        "in a list, after good arrays": pickle.dumps([np.ones(3), Calls(os.system, touch)], protocol=4),
        "in the state of an array": pickle.dumps(np.array([Calls(os.system, touch)], dtype=object), protocol=4),
        "array of objects": pickle.dumps(np.array([None], dtype=object), protocol=4),
        "persistent id": b"Px\n.",
        "extension": b"\x82\x01.",
    }


@pytest.mark.parametrize("name", payloads(Path("x")))
def test_a_malicious_pickle_is_refused_and_nothing_runs(tmp_path: Path, name: str) -> None:
    marker = tmp_path / "was-run"
    path = tmp_path / "evil.pkl"
    path.write_bytes(payloads(marker)[name])
    with pytest.raises(InputError, match=r"evil\.pkl: ") as caught:
        load_statistics(path, features="inception")
    assert "\n" not in str(caught.value)
    assert not marker.exists()


def test_the_payload_would_run_elsewhere(tmp_path: Path) -> None:
    marker = tmp_path / "was-run"
    pickle.loads(payloads(marker)["os.system"])
    assert marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        pickle.dumps([1, 2]),
        pickle.dumps({"num_images": 5, "fid": {"mu": 1, "sigma": 2}}),
        pickle.dumps({"num_images": 5, "fid": {"mu": np.ones(3)}}, protocol=4),
        pickle.dumps({"num_images": 5, "fid": {"mu": np.ones(3), "sigma": np.ones((2, 2))}}, protocol=4),
        pickle.dumps({"fid": {"mu": np.ones(2), "sigma": np.eye(2)}}, protocol=4),
        pickle.dumps({"num_images": 5, "fid": {"mu": np.ones(2), "sigma": np.eye(2)}}, protocol=4)[:-40],
    ],
)
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.pkl").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.pkl: "):
        load_statistics(tmp_path / "bad.pkl", features="inception")
