"""Pretrained weights that paragone knows: name, size and digest, where they are looked for, and how they are fetched.

Nothing is ever downloaded unasked. A file is used when it is named (`--weights FILE`) or lies in the cache
(`$PARAGONE_HOME/weights`, by default `~/.cache/paragone/weights`); `paragone weights fetch NAME` puts it there.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from paragone.data.errors import InputError, MissingWeights, UsageError
from paragone.data.files import file_digest
from paragone.data.progress import Progress, silent

BLOCK_BYTES = 1 << 20
TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class KnownWeights:
    """One file of weights: `name` is what its features are called in results."""

    name: str
    file_name: str
    size_bytes: int
    sha256: str
    url: str
    extractor: str
    source: str


INCEPTION = KnownWeights(
    name="inception-2015-12-05",
    file_name="pt_inception-2015-12-05-6726825d.pth",
    size_bytes=95_628_359,
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    extractor="inception",
    source="Inception v3 of the TensorFlow graph of 2015-12-05, as ported by pytorch-fid",
)
KNOWN_WEIGHTS = (INCEPTION,)


@dataclass(frozen=True, slots=True)
class FoundWeights:
    """A file of weights on this machine. `known` says whether it is byte for byte the file the table describes."""

    path: Path
    sha256: str
    known: bool


def paragone_home() -> Path:
    """`$PARAGONE_HOME`, or `~/.cache/paragone`: the one folder under which paragone caches anything."""
    home = os.environ.get("PARAGONE_HOME")
    return Path(home) if home else Path.home() / ".cache" / "paragone"


def weights_folder() -> Path:
    """Where weights are looked for and fetched to."""
    return paragone_home() / "weights"


def known_weights(name: str) -> KnownWeights:
    """The row called `name`; raises `UsageError` with the names there are."""
    for known in KNOWN_WEIGHTS:
        if known.name == name:
            return known
    raise UsageError(f"no weights are called {name!r}; known: {', '.join(known.name for known in KNOWN_WEIGHTS)}")


def find_weights(known: KnownWeights, explicit: Path | None = None) -> FoundWeights:
    """The file at `explicit`, else the one in the cache.

    Raises `MissingWeights` when there is none, and `InputError` when the file in the cache is not the known one: only a
    file that the user named may have another digest.
    """
    path = explicit if explicit is not None else weights_folder() / known.file_name
    if not path.is_file():
        place = f"no such file: {path}" if explicit is not None else f"not at {path}"
        raise MissingWeights(
            f"the extractor {known.extractor} needs the weights {known.file_name} ({known.size_bytes:,} bytes, sha256 "
            f"{known.sha256}), {place}; name the file with --weights FILE, get it with `paragone weights fetch "
            f"{known.name}`, or use --features gist, which needs none"
        )
    digest = file_digest(path)
    if explicit is None and digest != known.sha256:
        raise InputError(
            f"{path}: its sha256 is {digest}, not {known.sha256}: damaged or replaced; delete it, or name it with "
            "--weights to use it under a name of its own"
        )
    return FoundWeights(path, digest, digest == known.sha256)


def fetch_weights(
    known: KnownWeights, *, url: str | None = None, folder: Path | None = None, progress: Progress = silent
) -> Path:
    """Download the file into the cache and return its path; one that is there already and right is kept.

    Raises `InputError` when the server fails or sends other bytes; nothing is left behind then.
    """
    path = (folder or weights_folder()) / known.file_name
    if path.is_file() and file_digest(path) == known.sha256:
        return path
    address = url or known.url
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        digest, size = _download(address, temporary, limit=known.size_bytes, report=_reporter(known, progress))
        if (digest, size) != (known.sha256, known.size_bytes):
            raise InputError(
                f"{address}: sent {size:,} bytes with sha256 {digest}, expected {known.size_bytes:,} bytes with "
                f"{known.sha256}; nothing was kept, try another address with --url"
            )
        temporary.replace(path)
    except (http.client.HTTPException, OSError, ValueError) as error:
        raise InputError(
            f"{address}: download failed ({error}); get the file by other means and name it with --weights"
        ) from error
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    return path


def _reporter(known: KnownWeights, progress: Progress) -> Callable[[int], None]:
    return lambda done: progress(f"fetch {known.name}", done, known.size_bytes)


def _download(url: str, target: Path, *, limit: int, report: Callable[[int], None]) -> tuple[str, int]:
    """Copy what `url` sends to `target` and return its sha256 and size; stops once it is more than `limit` bytes."""
    if not url.startswith(("https://", "http://")):
        raise ValueError("only http and https addresses are fetched")
    total, size = hashlib.sha256(), 0
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response, target.open("xb") as file:
        while size <= limit and (block := response.read(BLOCK_BYTES)):
            file.write(block)
            total.update(block)
            size += len(block)
            report(min(size, limit))
    return total.hexdigest(), size
