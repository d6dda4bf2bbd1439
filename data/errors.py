"""Every error that paragone raises on purpose.

    ParagoneError                 one line for the user: what, where, and what to do
    ├── UsageError                an option or a combination of options that cannot work
    ├── InputError                a file, folder or row that cannot be used as it is
    │   ├── UnreadableImage       a corrupt, truncated or unsupported picture
    │   ├── UnreadableVideo       a corrupt, truncated or unsupported clip
    │   │   └── ClipTooShort      a clip with fewer frames than are wanted, or none
    │   ├── UnknownOutcome        a `winner` that is none of model_a, model_b, tie, both_bad
    │   ├── TooFewSamples         a statistic was asked of fewer samples than it is defined for
    │   └── VoteRefused           a vote that cannot be counted: its battle is decided, unknown or another voter's
    ├── MissingWeights            pretrained weights that are not on this machine
    ├── NotComparable             two numbers whose protocols differ                     (exit 3)
    ├── InfrastructureError       a generator, judge or service that did not do its part (exit 5)
    ├── NotIdentifiable           votes that do not determine the ratings asked for
    └── PluginError               a plug-in that is unknown, ambiguous or broken

The message is the whole interface: the command line prints it on one line of stderr and exits with `exit_code`.
"""

from __future__ import annotations


class ParagoneError(Exception):
    """Base of all errors for the user; `exit_code` is what the command line exits with."""

    exit_code = 2


class UsageError(ParagoneError):
    """An option, or a combination of options, that cannot work."""


class InputError(ParagoneError):
    """A file, folder or row that cannot be used as it is."""


class UnreadableImage(InputError):
    """A corrupt, truncated or unsupported picture; the message names the file."""


class UnreadableVideo(InputError):
    """A corrupt, truncated or unsupported clip; the message names the file."""


class ClipTooShort(UnreadableVideo):
    """A clip with fewer frames than are wanted of it, or with none."""


class UnknownOutcome(InputError):
    """A `winner` outside model_a, model_b, tie and both_bad; it is never read as a tie."""


class TooFewSamples(InputError):
    """A statistic was asked of fewer samples than it is defined for."""


class VoteRefused(InputError):
    """A vote that cannot be counted: its token is unknown, was issued to somebody else, or was used before."""


class MissingWeights(ParagoneError):
    """Pretrained weights that are not on this machine; the message says which file is wanted and where."""


class NotComparable(ParagoneError):
    """Two numbers, or two sets of statistics, that were computed under different protocols."""

    exit_code = 3


class InfrastructureError(ParagoneError):
    """A generator, judge or service that did not do its part, which says nothing of the quality of a model."""

    exit_code = 5


class NotIdentifiable(ParagoneError):
    """Votes that do not determine the ratings asked for (disconnected or undefeated models)."""


class PluginError(ParagoneError):
    """A plug-in that is unknown, ambiguous or broken."""
