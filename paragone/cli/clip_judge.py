"""CLIPScore as a judge: where metrics and judges meet, for neither imports the other.

`--judge clip_score --model ViT-L-14` decides by OpenAI's weights from the cache; `--model ViT-H-14=FILE` by a file of
one's own, such as a preference model that was fine-tuned from CLIP (HPS v2, Wu et al. 2023, arXiv:2306.09341).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paragone.data.decoding import decode_picture
from paragone.data.errors import InputError, UsageError
from paragone.data.records import Prompt
from paragone.judges.scorers import ScoreJudge

if TYPE_CHECKING:
    from paragone.judges.table import JudgeOptions
    from paragone.metrics.extractors.clip import Clip

DEFAULT_MODEL = "ViT-L-14"
AT_ONCE = 32


class ClipScorer:
    """CLIPScore (Hessel et al. 2021) of each picture with its prompt, 0..2.5."""

    def __init__(self, clip: Clip) -> None:
        self._clip = clip

    def __call__(self, pictures: Sequence[tuple[Prompt, Path]]) -> list[float]:
        """One score a picture; raises `UnreadableImage`, and `InputError` for an empty prompt."""
        import numpy as np
        import torch

        from paragone.metrics.alignment import CLIP_SCORE_VARIANTS, DEFAULT_VARIANT, clip_score, embed_captions

        captions = list(dict.fromkeys(prompt.text for prompt, _ in pictures))
        if any(not caption.strip() for caption in captions):
            raise InputError("clip_score: a prompt is empty; every picture needs one")
        embedded = embed_captions(self._clip, captions, prefix=CLIP_SCORE_VARIANTS[DEFAULT_VARIANT].prefix).embeddings
        rows = []
        for start in range(0, len(pictures), AT_ONCE):
            paths = [path for _, path in pictures[start : start + AT_ONCE]]
            prepared = [self._clip.prepare(decode_picture(path.read_bytes(), str(path)).pixels) for path in paths]
            with torch.inference_mode():
                rows.append(self._clip(torch.stack(prepared))[0].double().numpy())
        of_caption = {caption: index for index, caption in enumerate(captions)}
        chosen = embedded[[of_caption[prompt.text] for prompt, _ in pictures]]
        return [float(value) for value in clip_score(np.concatenate(rows), chosen).values]


class ClipJudge(ScoreJudge):
    """The picture with the higher CLIPScore wins."""

    @classmethod
    def from_options(cls, options: JudgeOptions) -> ClipJudge:
        """The judge of `model`, ARCHITECTURE or ARCHITECTURE=FILE.

        Raises `UsageError` for options of a model behind an endpoint, and what the extractor `clip` raises.
        """
        from paragone.metrics.alignment import DEFAULT_VARIANT
        from paragone.metrics.extractors.clip import load

        if others := [name for name in options.given() if name != "model"]:
            raise UsageError(f"the judge 'clip_score' asks nobody; leave out {', '.join(others)}")
        architecture, _, file = (options.model or DEFAULT_MODEL).partition("=")
        clip = load(weights=Path(file) if file else None, protocol="paragone", variant=architecture)
        return cls(ClipScorer(clip), name=f"clip_score-{DEFAULT_VARIANT} {clip.name}")
