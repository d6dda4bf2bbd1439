"""Which sample is which: the key under which a sample of one run meets that of another, and the clusters they form.

Samples of a manifest are known by prompt and seed; others by their names. What is random in a run decides what may vary
in a test. With many prompts they stand for all prompts, and a prompt with all of its seeds is one cluster: four
seeds of a prompt are not four independent pieces of evidence. With few prompts (the classes of a data set, say) they
are all there is: each is then a stratum, and the seeds are what varies.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import InputError, NotComparable
from paragone.data.records import fingerprint

Indices = NDArray[np.intp]
MANY_PROMPTS = 20  # from here on prompts are a sample of all prompts
SHARED = 0.95  # of the smaller run's samples that must be in the other for pairs by sample
GROUPS = 20  # of the jackknife


@dataclass(frozen=True, eq=False)
class Items:
    """The samples of a run, in the order of its rows. `prompts` and `seeds` are None where no manifest tells them."""

    names: tuple[str, ...]
    prompts: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if (self.prompts is None) != (self.seeds is None):
            raise InputError("samples are known by prompt and seed, or by neither")
        for other in (self.prompts, self.seeds):
            if other is not None and len(other) != len(self.names):
                raise InputError(f"{len(self.names)} samples, but {len(other)} prompts or seeds of them")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """What each sample is known by; raises `InputError` when two are the same."""
        if self.prompts is not None and self.seeds is not None:
            keys = tuple(f"{prompt}#{seed}" for prompt, seed in zip(self.prompts, self.seeds, strict=True))
        else:
            keys = _name_keys(self.names)
        if len(set(keys)) < len(keys):
            twice = next(key for place, key in enumerate(keys) if key in keys[:place])
            raise InputError(f"two samples are known as {twice!r}; give each prompt and seed once")
        return keys

    @property
    def prompt_ids(self) -> tuple[str, ...]:
        """The distinct prompts, sorted; none where they are not known."""
        return tuple(sorted(set(self.prompts or ())))

    @property
    def prompts_digest(self) -> str | None:
        """Names the set of prompts, whatever their seeds; None where they are not known."""
        return fingerprint(list(self.prompt_ids)) if self.prompts is not None else None

    @property
    def prompts_are_a_sample(self) -> bool:
        """Whether there are so many prompts that they stand for others."""
        return len(self.prompt_ids) >= MANY_PROMPTS

    @property
    def cluster_keys(self) -> tuple[str, ...]:
        """What each sample varies with: its prompt if prompts are many, otherwise itself."""
        return self.prompts if self.prompts is not None and self.prompts_are_a_sample else self.keys

    @property
    def strata(self) -> tuple[str, ...]:
        """The part of the run that each sample always belongs to: its prompt if prompts are few."""
        if self.prompts is not None and not self.prompts_are_a_sample:
            return self.prompts
        return ("",) * len(self)

    def halves(self) -> tuple[Indices, Indices]:
        """Rows of two halves that keep clusters whole and split every stratum; the same keys fall alike in any run."""
        numbers = self._numbered(within_strata=True)
        return np.flatnonzero(numbers % 2 == 0), np.flatnonzero(numbers % 2 == 1)

    def groups(self, count: int = GROUPS) -> Indices:
        """The group [n], below `count`, of each row: of about equal size, with whole clusters."""
        return self._numbered(within_strata=False) % count

    def _numbered(self, *, within_strata: bool) -> Indices:
        """[n] the number of each row's cluster, in an order that depends on its key only."""
        strata = dict(zip(self.cluster_keys, self.strata, strict=True))
        ordered = sorted(strata, key=lambda key: (strata[key], hashlib.sha256(key.encode()).digest()))
        numbers: dict[str, int] = {}
        start, before = 0, None
        for number, key in enumerate(ordered):
            if within_strata and strata[key] != before:
                start, before = number, strata[key]
            numbers[key] = number - start
        return np.array([numbers[key] for key in self.cluster_keys], dtype=np.intp)


def _name_keys(names: Sequence[str]) -> tuple[str, ...]:
    """The [i] of arrays, otherwise the name without its suffix, as long as that tells them apart."""
    positions = [re.search(r"\[\d+\]$", name) for name in names]
    if names and all(positions):
        return tuple(match[0] for match in positions if match is not None)
    stems = tuple(str(PurePosixPath(name).with_suffix("")) if name else name for name in names)
    return stems if len(set(stems)) == len(stems) else tuple(names)


# ---- Two runs ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """How the samples of two runs hang together. Clusters are numbered alike on both sides; each lies in a stratum."""

    of_baseline: Indices  # [n] cluster of each row
    of_candidate: Indices  # [m]
    strata: Indices  # [C] stratum of each cluster
    shared_baseline: Indices | None  # rows that are in both runs, in the same order, where samples are paired
    shared_candidate: Indices | None
    told: str


def lay_out(baseline: Items, candidate: Items) -> Layout:
    """Pair by sample where the runs answer the same requests, by prompt where only seeds differ, otherwise not at all.

    Raises `NotComparable` when the prompts differ.
    """
    if (baseline.prompts is None) != (candidate.prompts is None):
        silent = "the baseline" if baseline.prompts is None else "the candidate"
        raise NotComparable(
            f"{silent} does not say which prompts its samples answer (no manifest), the other run does: "
            "generate both with paragone, or bless the baseline from files without a manifest"
        )
    if baseline.prompt_ids != candidate.prompt_ids:
        missing = sorted(set(baseline.prompt_ids) - set(candidate.prompt_ids))
        added = sorted(set(candidate.prompt_ids) - set(baseline.prompt_ids))
        raise NotComparable(
            f"the prompts differ: {len(missing)} of the baseline's {len(baseline.prompt_ids)} are missing"
            + (f" (first {missing[0]!r})" if missing else "")
            + f", {len(added)} are new"
            + (f" (first {added[0]!r})" if added else "")
        )
    places = {key: place for place, key in enumerate(baseline.keys)}
    rows = [(places[key], place) for place, key in enumerate(candidate.keys) if key in places]
    paired = len(rows) >= max(1.0, SHARED * min(len(baseline), len(candidate)))
    clusters_a = list(baseline.cluster_keys)
    clusters_b = list(candidate.cluster_keys)
    by_prompt = baseline.prompts_are_a_sample
    if not paired and not by_prompt:
        clusters_b = [f"{key}\0candidate" for key in clusters_b]  # alike by accident only
    strata_of = dict(zip(clusters_a, baseline.strata, strict=True)) | dict(
        zip(clusters_b, candidate.strata, strict=True)
    )
    number = {key: place for place, key in enumerate(strata_of)}
    names = {stratum: place for place, stratum in enumerate(dict.fromkeys(strata_of.values()))}
    shared = np.array(rows, dtype=np.intp) if paired else None
    return Layout(
        of_baseline=np.array([number[key] for key in clusters_a], dtype=np.intp),
        of_candidate=np.array([number[key] for key in clusters_b], dtype=np.intp),
        strata=np.array([names[stratum] for stratum in strata_of.values()], dtype=np.intp),
        shared_baseline=None if shared is None else shared[:, 0],
        shared_candidate=None if shared is None else shared[:, 1],
        told=_told(baseline, candidate, len(rows), paired=paired),
    )


def _told(baseline: Items, candidate: Items, shared: int, *, paired: bool) -> str:
    prompts = len(baseline.prompt_ids)
    if paired:
        how = "prompt and seed" if prompts else "file name"
        text = f"paired by {how}: {shared:,} samples"
    elif baseline.prompts_are_a_sample:
        text = f"paired by prompt (the seeds differ): {len(baseline):,} and {len(candidate):,} samples"
    else:
        text = f"unpaired: {len(baseline):,} and {len(candidate):,} samples"
    if not prompts:
        return text
    if baseline.prompts_are_a_sample:
        return f"{text}; clustered by {prompts:,} prompts"
    return f"{text}; {prompts:,} prompts, taken as all there are"
