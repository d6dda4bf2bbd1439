"""Clips to FVD statistics beside cd-fvd: `python benchmarks/video.py [--clips N] [--json FILE]`.

One state dict of I3D with random weights, one folder of H.264 clips that is encoded here. Each tool has a process of
its own and one thread, they take turns, and what counts is CPU seconds from files to mean and covariance. Numbers must
agree before a time is believed. cd-fvd's reader of folders does not run on today's libraries, so it gets the first
frames of each clip as arrays, from the plainest loop over PyAV, and its own resizing of a data set is spared it.

The second table is the memory of our statistics for few clips and for many, which should be the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from measure import Measured, Numbers, Worker, disagreement, machine, serve

FRAMES, LENGTH, SIZE_PX, RATE = 16, 48, 256, 24
ROUNDS = 3
WANTED = 1.3
TOLERANCE = 1e-3  # relative, of sums over mean and covariance
FEW, MANY = 32, 512  # clips whose memory is compared
WEIGHTS = "i3d_pretrained_400.pt"


def write_clips(folder: Path, n: int, *, size: int = SIZE_PX, length: int = LENGTH) -> None:
    """Photographs under a moving camera, as H.264 with B-frames."""
    import av
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    photographs = load_sample_images().images
    folder.mkdir()
    for clip in range(n):
        photograph = photographs[clip % 2]
        start, end = rng.uniform(0, 1, (2, 2)) * (photograph.shape[0] - size, photograph.shape[1] - size)
        with av.open(str(folder / f"{clip}.mp4"), "w") as output:
            stream = output.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "bf": "3"})
            stream.height = stream.width = size
            stream.pix_fmt = "yuv420p"
            for step in range(length):
                top, left = (start + (end - start) * step / length).astype(int)
                picture = np.ascontiguousarray(photograph[top : top + size, left : left + size])
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            output.mux(stream.encode())


def write_weights(path: Path) -> None:
    """Random ones whose activations neither vanish nor explode."""
    import torch
    from torch import nn

    from paragone.metrics.extractors.i3d_network import I3DNetwork

    torch.manual_seed(0)
    network = I3DNetwork()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm3d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
        elif isinstance(layer, nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight)
    torch.save(network.state_dict(), path)


# ---- Contenders ------------------------------------------------------------------------------------------------------


class Ours:
    """Files to statistics through the loop that the commands use."""

    def __init__(self, folder: Path, features: str, clips: str) -> None:
        import torch

        from paragone.data import ClipRule
        from paragone.metrics.features import open_extractor

        torch.set_num_threads(1)
        weights, protocol = (folder / WEIGHTS, "cd-i3d") if features == "i3d" else (None, "paragone")
        self._rule = ClipRule(FRAMES)
        self._extractor = open_extractor(features, weights=weights, protocol=protocol, rule=self._rule)
        self._extractor.to(torch.device("cpu"))
        self._clips = folder / clips

    def run(self) -> Numbers:
        from paragone.data import read_videos
        from paragone.metrics.features import ExtractionOptions, extract_statistics

        source = read_videos(self._clips, rule=self._rule)
        found = extract_statistics(source, self._extractor, ExtractionOptions("cpu", workers=0), task="")
        return summary(found.mean, found.covariance(ddof=0))

    def check(self, peer: str) -> Numbers:
        return self.run()


class CdFvd:
    """Arrays of the first frames, in batches of its own size."""

    def __init__(self, folder: Path) -> None:
        import torch
        from cdfvd import fvd

        torch.set_num_threads(1)
        self._tool = fvd.cdfvd("i3d", ckpt_path=str(folder / WEIGHTS), n_fake="full", device="cpu")
        self._files = sorted((folder / "clips").iterdir(), key=lambda path: int(path.stem))

    def run(self) -> Numbers:
        import av

        self._tool.empty_fake_stats()
        for start in range(0, len(self._files), 16):
            batch = np.empty((len(self._files[start : start + 16]), FRAMES, SIZE_PX, SIZE_PX, 3), np.uint8)
            for place, path in enumerate(self._files[start : start + 16]):
                with av.open(str(path)) as source:
                    for number, frame in zip(range(FRAMES), source.decode(video=0), strict=False):
                        batch[place, number] = frame.to_ndarray(format="rgb24")
            self._tool.add_fake_stats(batch)
        return summary(*self._tool.fake_stats.get_mean_cov())

    def check(self, peer: str) -> Numbers:
        return self.run()


def summary(mean: np.ndarray, covariance: np.ndarray) -> Numbers:
    """Numbers of mean and covariance that must agree."""
    return {
        "mean": float(np.abs(mean).sum()),
        "trace": float(np.trace(covariance)),
        "norm": float(np.linalg.norm(covariance)),
    }


def build(case: str, tool: str, folder: Path) -> Ours | CdFvd:
    """The contender called `tool`."""
    if case == "memory":
        return Ours(folder, "gist3d", f"tiny-{tool}")
    return Ours(folder, "i3d", "clips") if tool == "paragone" else CdFvd(folder)


# ---- The comparison --------------------------------------------------------------------------------------------------


def compared(folder: Path) -> list[Measured]:
    """Ours and cd-fvd in turns; a peer whose numbers differ is given no ratio."""
    workers = [Worker("i3d", tool, folder, program="video.py") for tool in ("paragone", "cd-fvd")]
    numbers: list[Numbers] = [{}, {}]
    for _ in range(ROUNDS):
        for place, worker in enumerate(workers):
            numbers[place] = worker.run() or numbers[place]
            print(f"  {worker.measured.tool}: {worker.measured.seconds}", file=sys.stderr)
    ours, theirs = workers
    if not theirs.measured.failure and (far := disagreement(*numbers, TOLERANCE)):
        theirs.measured.failure = f"other numbers: {far}"
    for worker in workers:
        worker.close()
    return [ours.measured, theirs.measured]


def memory(folder: Path) -> list[Measured]:
    """Peak memory of statistics of few and of many clips."""
    found = []
    for n in (FEW, MANY):
        worker = Worker("memory", str(n), folder, program="video.py")
        worker.run()
        worker.close()
        found.append(worker.measured)
    return found


def told(measured: list[Measured], of_memory: list[Measured], n: int) -> str:
    """The two tables."""
    ours = measured[0]
    lines = [
        f"**i3d-{n}**: {n} clips of {LENGTH} frames, {SIZE_PX}² px, the first {FRAMES} to mean and covariance",
        "",
        "| | CPU s | ours is faster by | wanted | peak MiB (set up) | clips per CPU s |",
        "|---|---|---|---|---|---|",
    ]
    for one in measured:
        if one.failure:
            lines.append(f"| {one.tool} | dead: {one.failure} | | | | |")
            continue
        low, high = min(one.seconds), max(one.seconds)
        ratio, wanted = ("", "") if one is ours else (f"**{one.median / ours.median:.2f}×**", f"{WANTED}×")
        lines.append(
            f"| {one.tool} | {low:.1f}–**{one.median:.1f}**–{high:.1f} | {ratio} | {wanted} | "
            f"{one.peak_mib:.0f} ({one.setup_mib:.0f}) | {n / one.median:.2f} |"
        )
    lines += ["", "| clips | peak MiB (set up) |", "|---|---|"]
    lines += [f"| {one.tool} | {one.peak_mib:.0f} ({one.setup_mib:.0f}) |" for one in of_memory]
    return "\n".join(lines)


def main() -> None:
    """Run everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=24, help="clips that both tools go through")
    parser.add_argument("--json", type=Path, help="also write what was measured here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_clips(folder / "clips", arguments.clips)
        write_weights(folder / WEIGHTS)
        for n in (FEW, MANY):
            write_clips(folder / f"tiny-{n}", n, size=64, length=FRAMES)
        measured, of_memory = compared(folder), memory(folder)
    about = machine(("numpy", "torch", "av", "cd-fvd"))
    print(about, told(measured, of_memory, arguments.clips), sep="\n\n")
    if arguments.json:
        document: dict[str, Any] = {"machine": about, "i3d": [asdict(one) for one in measured]}
        arguments.json.write_text(json.dumps(document | {"memory": [asdict(one) for one in of_memory]}, indent=1))


if __name__ == "__main__":
    if len(sys.argv) == 4 and not sys.argv[1].startswith("-"):
        serve(lambda: build(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
    else:
        main()
