"""Where extractors run; and that a run whose features are all cached does without torch."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paragone.data.errors import UsageError
from paragone.metrics import devices
from paragone.metrics.devices import choose_device, device_kind

SECOND_RUN = """
import sys
from pathlib import Path
from paragone.metrics.compute import compute_metrics
report = compute_metrics(
    *sys.argv[1:3], metrics=("fd", "kid", "precision"), features="gist", device="cpu", cache=Path(sys.argv[3])
)
print(*(result.value for result in report.results))
heavy = {"torch", "torchvision", "pandas", "sklearn", "scipy.stats"} & sys.modules.keys()
sys.exit(f"imported {heavy}" if heavy and sys.argv[4] == "second" else 0)
"""


def test_features_from_the_cache_need_no_torch(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        for index in range(8):
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(tmp_path / side / f"{index}.png")
    said = []
    for run in ("first", "second"):
        arguments = [*(str(tmp_path / name) for name in ("a", "b", "cache")), run]
        done = subprocess.run(
            [sys.executable, "-c", SECOND_RUN, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0] == said[1] != ""


def test_auto_is_what_torch_says_where_there_may_be_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_kind("cpu") == "cpu"
    assert device_kind("auto") == choose_device("auto").type
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(UsageError, match="no MPS device"):
        device_kind("mps")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert device_kind("auto") == "cuda"


@pytest.mark.skipif(sys.platform != "linux", reason="asks for Linux's driver")
def test_without_a_driver_torch_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def loaded(name: str) -> None:
        asked.append(name)
        raise OSError(name)

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(ctypes, "CDLL", loaded)
    if not Path("/dev/kfd").exists():
        assert device_kind("auto") == "cpu"
        assert asked == ["libcuda.so.1"]
    monkeypatch.setattr(ctypes, "CDLL", lambda name: None)
    assert devices._may_have_cuda()
