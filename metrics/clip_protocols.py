"""How each tool turns a clip into a network's input, and with which network: the table behind `--protocol` for clips.

Four things differ between tools that all say FVD, and every one of them moves the number: whether frames are squashed
to a square or cut out of the middle, the file of weights, the divisor of the covariances and what is added to them. The
first two are here and in the extractor, the other two in `paragone.metrics.settings` under the same names. Every row
was read from the tool's source at the version named; nothing here imports torch.
"""

from __future__ import annotations

from paragone.data.clip_sampling import ClipRule
from paragone.data.errors import UsageError
from paragone.metrics.protocols import IMAGENET, PARAGONE, UNIT, Protocol

BYTES = ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))  # a grey level v enters as v / 255
AS_IT_IS = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

I3D_PROTOCOLS = (
    Protocol(PARAGONE, "clean", *UNIT, "bicubic with antialiasing in floating point, squashed to a square"),
    Protocol("google", "tf1", *UNIT, "google-research, frechet_video_distance.py: TensorFlow 1's bilinear, squashed"),
    Protocol("styleganv", "inside", *AS_IT_IS, "stylegan-v 3fecd69: the TorchScript graph resizes and scales"),
    Protocol("junyaohu", "bilinear-crop", *UNIT, "common_metrics_on_video_quality 5f75173: both its networks"),
    Protocol("cd-i3d", "bilinear", *UNIT, "cd-fvd 0.1.1, model i3d: third_party/i3d/utils.py"),
    Protocol("fastvideo", "bilinear", *UNIT, "fastvideo.eval 2026, fvd with i3d"),
)
VIDEOMAE_PROTOCOLS = (
    Protocol(PARAGONE, "clean", *IMAGENET, "bicubic with antialiasing in floating point, squashed; ImageNet's scale"),
    Protocol("cd-videomae", "bilinear", *BYTES, "cd-fvd 0.1.1, model videomae: only divided by 255"),
)
VJEPA_PROTOCOLS = (
    Protocol(PARAGONE, "clean", *IMAGENET, "bicubic with antialiasing in floating point, squashed; ImageNet's scale"),
    Protocol("jedi", "bilinear", *IMAGENET, "videojedi 1.1.0 wants clips of the network's size and resizes nothing"),
)
# The extractor that a tool's protocol is of, where none is named.
EXTRACTOR_OF = {
    "google": "i3d",
    "styleganv": "i3d",
    "junyaohu": "i3d",
    "cd-i3d": "i3d",
    "fastvideo": "i3d",
    "cd-videomae": "videomae",
    "jedi": "vjepa",
}
WITHOUT_WEIGHTS = {"pictures": "gist", "clips": "gist3d"}
RULE_MARK = "/"  # between a protocol and the rule by which frames were chosen, in tags of features of clips


def default_features(rule: ClipRule | None, protocol: str) -> str:
    """The extractor where none is named: that of a tool's protocol for clips, otherwise one without weights."""
    if rule is None:
        return WITHOUT_WEIGHTS["pictures"]
    return EXTRACTOR_OF.get(protocol, WITHOUT_WEIGHTS["clips"])


def with_rule(protocol: str, rule: ClipRule) -> str:
    """The tag of features of clips: `junyaohu/16-first`. Only numbers under one tag are compared."""
    return f"{protocol}{RULE_MARK}{rule.name}"


def is_of_clips(protocol: str | None) -> bool:
    """Whether features under that tag are of clips."""
    return protocol is not None and RULE_MARK in protocol


def check_frames(rule: ClipRule, least: int, most: int | None, step: int, *, extractor: str) -> None:
    """Raise `UsageError` when the network cannot take as many frames as `rule` chooses."""
    frames = rule.frames
    if frames is None:
        raise UsageError(f"{extractor}: sampling all gives clips of different lengths; choose another --sampling")
    if frames < least or (most is not None and frames > most) or frames % step:
        wanted = f"{least}" if least == most else f"at least {least}" if most is None else f"{least} to {most}"
        steps = f", a multiple of {step}," if step > 1 and least != most else ""
        raise UsageError(
            f"{extractor} takes {wanted} frames{steps} of a clip, and {frames} are asked for; change --clip-frames"
        )
