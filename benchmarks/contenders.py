"""Ours and the peers', each under its public functions, for every case of `benchmarks/metrics.py`.

Run as a program (`contenders.py CASE TOOL FOLDER`) it is one contender, waiting to be told to run; see `measure.py`.
Peers get what costs them least CPU: no worker processes, batches of 16 (the fastest here), NCHW tensors as they
document them.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import Contender, Numbers, serve
from numpy.typing import NDArray

BATCH = 16
CHECKED_PICTURES = "pictures-16-256"  # what must agree under the peer's own protocol; no peer's is ours by default


class Same:
    """A contender whose numbers are compared as they come out of the timed run."""

    def __init__(self, work: Callable[[], Numbers]) -> None:
        self._work = work
        self._numbers: Numbers = {}

    def run(self) -> Numbers:
        """The timed work."""
        self._numbers = self._work()
        return self._numbers

    def check(self, peer: str) -> Numbers:
        """The numbers of the last run."""
        return self._numbers


# ---- Fréchet distance ------------------------------------------------------------------------------------------------


def fd_paragone(folder: Path) -> Contender:
    """Statistics given, as values."""
    from paragone.metrics import FeatureStatistics, frechet_distance

    one, two = (FeatureStatistics.load(folder / f"statistics-10000-{seed}.npz") for seed in (0, 1))
    return Same(lambda: {"fd": frechet_distance(one, two)})


def _mu_sigma(folder: Path) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    found = []
    for seed in (0, 1):
        with np.load(folder / f"statistics-10000-{seed}.npz") as file:
            found.append((file["mu"], file["sigma"]))
    return found


def fd_torch_fidelity(folder: Path) -> Contender:
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    one, two = ({"mu": mu, "sigma": sigma} for mu, sigma in _mu_sigma(folder))
    return Same(lambda: {"fd": fid_statistics_to_metric(one, two, False)[KEY_METRIC_FID]})


def fd_torchmetrics(folder: Path) -> Contender:
    import torch
    from torchmetrics.image.fid import _compute_fid

    torch.set_num_threads(1)
    arrays = [torch.from_numpy(array) for pair in _mu_sigma(folder) for array in pair]
    return Same(lambda: {"fd": float(_compute_fid(*arrays))})


def fd_pytorch_fid(folder: Path) -> Contender:
    from pytorch_fid.fid_score import calculate_frechet_distance

    (mu_one, sigma_one), (mu_two, sigma_two) = _mu_sigma(folder)
    return Same(lambda: {"fd": float(calculate_frechet_distance(mu_one, sigma_one, mu_two, sigma_two))})


def fd_clean_fid(folder: Path) -> Contender:
    from cleanfid.fid import frechet_distance

    (mu_one, sigma_one), (mu_two, sigma_two) = _mu_sigma(folder)
    return Same(lambda: {"fd": float(frechet_distance(mu_one, sigma_one, mu_two, sigma_two))})


def _features(folder: Path, n: int) -> list[NDArray[np.float32]]:
    loaded = [np.load(folder / f"features-10000-{seed}.npy") for seed in (0, 1)]
    return [rows if len(rows) == n else rows[:n].copy() for rows in loaded]


def few_paragone(folder: Path, n: int) -> Contender:
    """From features of `n` samples a side to the distance."""
    from paragone.metrics import frechet_distance

    one, two = _features(folder, n)
    return Same(lambda: {"fd": frechet_distance(one, two)})


def few_torch_fidelity(folder: Path, n: int) -> Contender:
    import torch
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    torch.set_num_threads(1)
    tensors = [torch.from_numpy(array) for array in _features(folder, n)]
    return Same(
        lambda: {"fd": fid_statistics_to_metric(*map(fid_features_to_statistics, tensors), False)[KEY_METRIC_FID]}
    )


def few_torchmetrics(folder: Path, n: int) -> Contender:
    import torch
    from torch import nn
    from torchmetrics.image.fid import FrechetInceptionDistance

    torch.set_num_threads(1)

    class Given(nn.Module):
        """Stands for the network: the features are given."""

        num_features = 2048

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    tensors = [torch.from_numpy(array) for array in _features(folder, n)]

    def work() -> Numbers:
        metric = FrechetInceptionDistance(feature=Given())
        for real, rows in zip((True, False), tensors, strict=True):
            metric.update(rows, real=real)
        return {"fd": float(metric.compute())}

    return Same(work)


def few_pytorch_fid(folder: Path, n: int) -> Contender:
    from pytorch_fid.fid_score import calculate_frechet_distance

    arrays = [array.astype(np.float64) for array in _features(folder, n)]

    def work() -> Numbers:
        moments = [part for rows in arrays for part in (rows.mean(axis=0), np.cov(rows, rowvar=False))]
        return {"fd": float(calculate_frechet_distance(*moments))}

    return Same(work)


def few_clean_fid(folder: Path, n: int) -> Contender:
    from cleanfid.fid import fid_from_feats

    one, two = _features(folder, n)
    return Same(lambda: {"fd": float(fid_from_feats(one, two))})


# ---- From a folder of pictures to mean and covariance ----------------------------------------------------------------

Statistics = Callable[[Path], tuple[NDArray[Any], NDArray[Any]]]


class Folder:
    """Statistics of `pictures`, compared on a few pictures under the protocol of the peer."""

    def __init__(self, folder: Path, pictures: str, statistics: Callable[[str], Statistics]) -> None:
        self._checked, self._timed = folder / f"{CHECKED_PICTURES}-0", folder / pictures
        self._statistics = statistics

    def run(self) -> Numbers:
        """The timed work."""
        return _summary(*self._statistics("")(self._timed))

    def check(self, peer: str) -> Numbers:
        """Statistics as `peer` resizes and normalises pictures."""
        return _summary(*self._statistics(peer)(self._checked))


def _summary(mean: NDArray[Any], covariance: NDArray[Any]) -> Numbers:
    return {"mean": float(np.sum(mean)), "trace": float(np.trace(covariance)), "sum": float(np.sum(covariance))}


def fid_paragone(folder: Path, pictures: str) -> Contender:
    """Default protocol, one thread that decodes ahead (the default)."""
    import torch

    from paragone.data import read_images
    from paragone.metrics.features import ExtractionOptions, extract_statistics, open_extractor

    torch.set_num_threads(1)
    extractor = open_extractor("inception", weights=folder / "weights.pth")
    extractor.to(torch.device("cpu"))  # reads the weights, as the peers' set-up does

    def statistics(peer: str) -> Statistics:
        chosen = open_extractor("inception", weights=folder / "weights.pth", protocol=peer) if peer else extractor

        def work(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
            found = extract_statistics(read_images(path), chosen, ExtractionOptions("cpu"), task="")
            return found.mean, found.covariance()

        return work

    return Folder(folder, pictures, statistics)


def fid_torchmetrics(folder: Path, pictures: str) -> Contender:
    """A loop as its documentation has it: decode, stack uint8 [N, 3, H, W], update."""
    import torch
    from PIL import Image
    from torchmetrics.image.fid import FrechetInceptionDistance

    torch.set_num_threads(1)
    metric = FrechetInceptionDistance(feature=2048, feature_extractor_weights_path=str(folder / "weights.pth"))

    def work(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
        metric.reset()
        files = sorted(path.iterdir())
        for start in range(0, len(files), BATCH):
            arrays = [np.array(Image.open(file).convert("RGB")) for file in files[start : start + BATCH]]
            batch = torch.stack([torch.from_numpy(array).permute(2, 0, 1).contiguous() for array in arrays])
            metric.update(batch, real=True)
        n = int(metric.real_features_num_samples)
        mean = metric.real_features_sum / n
        covariance = (metric.real_features_cov_sum - n * torch.outer(mean, mean)) / (n - 1)
        return mean.numpy(), covariance.numpy()

    return Folder(folder, pictures, lambda peer: work)


def fid_torch_fidelity(folder: Path, pictures: str) -> Contender:
    import torch
    from torch_fidelity.metric_fid import fid_input_id_to_statistics
    from torch_fidelity.utils import create_feature_extractor

    torch.set_num_threads(1)
    weights = str(folder / "weights.pth")
    options = {"cuda": False, "verbose": False, "save_cpu_ram": True, "batch_size": BATCH, "cache": False}
    extractor = create_feature_extractor(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=weights, **options
    )

    def work(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
        found = fid_input_id_to_statistics(1, extractor, "2048", input1=str(path), **options)
        return found["mu"], found["sigma"]

    return Folder(folder, pictures, lambda peer: work)


def _pytorch_fid_network(folder: Path) -> Any:
    import torch
    from pytorch_fid import inception

    inception.load_state_dict_from_url = lambda *_, **__: torch.load(folder / "weights.pth", weights_only=True)
    return inception


def fid_pytorch_fid(folder: Path, pictures: str) -> Contender:
    import torch
    from pytorch_fid.fid_score import compute_statistics_of_path

    torch.set_num_threads(1)
    network = _pytorch_fid_network(folder).InceptionV3([3]).eval()

    def work(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
        return compute_statistics_of_path(str(path), network, BATCH, 2048, "cpu", num_workers=0)

    return Folder(folder, pictures, lambda peer: work)


def fid_clean_fid(folder: Path, pictures: str) -> Contender:
    """Its network is a TorchScript file that cannot be had with other weights; a trace of the same graph stands in."""
    import torch
    from cleanfid.fid import get_folder_features

    torch.set_num_threads(1)
    blocks = _pytorch_fid_network(folder).InceptionV3([3], resize_input=False, normalize_input=False).eval()
    blocks.requires_grad_(False)

    class Normalised(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = blocks

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.blocks((x - 128) / 128)[0].flatten(1)

    network = torch.jit.trace(Normalised(), torch.zeros(1, 3, 299, 299))

    def work(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
        rows = get_folder_features(
            str(path), network, num_workers=0, batch_size=BATCH, device=torch.device("cpu"), verbose=False
        )
        return rows.mean(axis=0), np.cov(rows, rowvar=False)

    return Folder(folder, pictures, lambda peer: work)


# ---- Four metrics at once, and again from the cache ------------------------------------------------------------------

COMBINED = ("fid", "kid", "inception_score", "precision", "recall")


class Pairs:
    """Metrics of two folders, compared on a few pictures under the protocol of the peer."""

    def __init__(self, folder: Path, n: int, work: Callable[[Path, Path, str], Numbers]) -> None:
        self._folder, self._n, self._work = folder, n, work

    def run(self) -> Numbers:
        """The timed work."""
        timed = self._folder / f"pictures-{self._n}-256"
        return self._work(Path(f"{timed}-1"), Path(f"{timed}-0"), "paragone")

    def check(self, peer: str) -> Numbers:
        """The metrics on the small set."""
        checked = self._folder / CHECKED_PICTURES
        return self._work(Path(f"{checked}-1"), Path(f"{checked}-0"), peer)


def combined_paragone(folder: Path, n: int) -> Contender:
    """`compute_metrics`, density and coverage included, which the peer has not."""
    import torch

    from paragone.metrics import compute_metrics

    torch.set_num_threads(1)

    def work(generated: Path, reference: Path, protocol: str) -> Numbers:
        report = compute_metrics(
            generated,
            reference,
            metrics=(*COMBINED, "density", "coverage"),
            features="inception",
            weights=folder / "weights.pth",
            protocol=protocol,
            settings={"kid.subset_size": len(list(reference.iterdir()))},  # as the peer is told below
        )
        return {result.metric: result.value for result in report.results}

    return Pairs(folder, n, work)


def combined_torch_fidelity(folder: Path, n: int) -> Contender:
    import torch
    from torch_fidelity import calculate_metrics

    torch.set_num_threads(1)

    def work(generated: Path, reference: Path, protocol: str) -> Numbers:
        found = calculate_metrics(
            input1=str(generated),
            input2=str(reference),
            fid=True,
            kid=True,
            isc=True,
            prc=True,
            kid_subset_size=len(list(reference.iterdir())),
            feature_extractor="inception-v3-compat",
            feature_extractor_weights_path=str(folder / "weights.pth"),
            cuda=False,
            save_cpu_ram=True,
            batch_size=BATCH,
            cache=False,
            verbose=False,
        )
        return {
            "fd": found["frechet_inception_distance"],
            "kid": found["kernel_inception_distance_mean"],
            "precision": found["precision"],
            "recall": found["recall"],
        }

    return Pairs(folder, n, work)


def cache_paragone(folder: Path, n: int, *, emptied: bool) -> Contender:
    """`compute_metrics` with a cache, which is emptied before every run or filled once before the first."""
    import torch

    from paragone.metrics import compute_metrics

    torch.set_num_threads(1)
    cache = folder / f"cache-{'first' if emptied else 'second'}"
    shutil.rmtree(cache, ignore_errors=True)

    def work() -> Numbers:
        if emptied:
            shutil.rmtree(cache, ignore_errors=True)
        report = compute_metrics(
            folder / f"pictures-{n}-256-1",
            folder / f"pictures-{n}-256-0",
            metrics=("fid",),
            features="inception",
            weights=folder / "weights.pth",
            cache=cache,
        )
        return {result.metric: result.value for result in report.results}

    if not emptied:
        work()
    return Same(work)


# ---- Precision and recall --------------------------------------------------------------------------------------------


def prdc_paragone(folder: Path, n: int) -> Contender:
    """float32 features, as a network gives them, to float64 distances."""
    from paragone.metrics import precision_recall

    one, two = _features(folder, n)

    def work() -> Numbers:
        found = precision_recall(one, two, k=5)
        return {name: getattr(found, name) for name in ("precision", "recall", "density", "coverage")}

    return Same(work)


def prdc_prdc(folder: Path, n: int) -> Contender:
    from prdc import compute_prdc

    one, two = _features(folder, n)
    return Same(lambda: {name: float(value) for name, value in compute_prdc(one, two, 5).items()})


def build(case: str, tool: str, folder: Path) -> Contender:
    """The contender `tool` of `case`; a number in the case's name is that of samples a side."""
    kind, *rest = case.split("-")
    n = int(rest[0]) if rest else 0
    name = tool.replace("-", "_")
    if kind == "fid":
        return globals()[f"fid_{name}"](folder, f"pictures-{n}-256-0")
    if kind == "cache":
        return cache_paragone(folder, n, emptied=tool == "first")
    if kind == "fd" and n == 10_000:
        return globals()[f"fd_{name}"](folder)
    if kind == "fd":
        return globals()[f"few_{name}"](folder, n)
    return globals()[f"{kind}_{name}"](folder, n)


if __name__ == "__main__":
    serve(lambda: build(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
