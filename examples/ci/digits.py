"""Two checkpoints of a small model of handwritten digits, as generators that `paragone check` can name.

    python examples/ci/digits.py WORK     train them once (some 50 s of one core), and lay out the reference

`digits:early` is the checkpoint after 300 steps, `digits:full` that after 3,000, and `digits:reseeded` the same with
noise of its own: as good, but no picture is alike. WORK is $DIGITS_WORK, by default the folder `work` here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from paragone.data.digits import load_digits_split
from paragone.data.files import file_digest
from paragone.data.generators.base import Generation, GenerationRequest
from paragone.data.generators.runner import encode_png
from paragone.data.records import Task

WORK = Path(os.environ.get("DIGITS_WORK", Path(__file__).parent / "work"))
RESEED = 1_000_000  # added to every seed


class Digits:
    """A checkpoint: the weights' digest is its fingerprint, so that samples on disk are never another's."""

    task = Task.TEXT_TO_IMAGE

    def __init__(self, *, name: str, steps: int, reseed: int = 0) -> None:
        from safetensors.torch import load_file

        from paragone.data.generators.reference.flow_matching import FlowMatching

        file = WORK / "models" / f"flow-matching-{steps}.safetensors"
        self.name, self.reseed = name, reseed
        self.fingerprint = f"{file_digest(file)}-{reseed}"
        self._model = FlowMatching(name, load_file(file))

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """The model's answers, under the requests that were asked."""
        asked = {replace(one, seed=one.seed + self.reseed): one for one in requests}
        for answer in self._model.generate(list(asked)):
            yield replace(answer, request=asked[answer.request])


def __getattr__(name: str) -> Digits:
    if name == "early":
        return Digits(name="early", steps=300)
    if name == "full":
        return Digits(name="full", steps=3000)
    if name == "reseeded":
        return Digits(name="reseeded", steps=3000, reseed=RESEED)
    raise AttributeError(name)


def main() -> None:
    """Train what is missing, and write the reference half as pictures."""
    from paragone.demo.contestants import DemoSettings
    from paragone.demo.training import EXTRACTOR, RUNS, train

    for run in ("flow-matching", EXTRACTOR):
        if not list((WORK / "models").glob(f"{run}*.safetensors")):
            print(f"training {run}", flush=True)
            train(RUNS[run], WORK / "models", DemoSettings())
    training, reference = load_digits_split(seed=0)
    for folder, digits in (("training", training), ("reference", reference)):
        (WORK / folder).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(digits.images):
            (WORK / folder / f"{number:04d}.png").write_bytes(encode_png(image))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        WORK = Path(sys.argv[1])
    main()
