"""Pretrained weights that paragone knows: name, size and digest, where they are looked for, and how they are fetched.

Nothing is ever downloaded unasked. A file is used when it is named (`--weights FILE`) or lies in the cache
(`$PARAGONE_HOME/weights`, by default `~/.cache/paragone/weights`); `paragone weights fetch NAME` puts it there. A
download that is cut goes on where it stopped, and two processes that fetch the same file take turns.
"""

from __future__ import annotations

import http
import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from paragone.data.errors import InputError, MissingWeights, UsageError
from paragone.data.files import file_digest
from paragone.data.progress import Progress, silent
from paragone.data.project import paragone_home as paragone_home

BLOCK_BYTES = 1 << 20
TIMEOUT_S = 60
MAX_BYTES = 4 << 30  # of a file whose size is not recorded


@dataclass(frozen=True, slots=True)
class KnownWeights:
    """One file of weights. `size_bytes` is None where only the sha256 is published."""

    name: str
    file_name: str
    size_bytes: int | None
    sha256: str
    url: str
    extractor: str
    source: str

    @property
    def size(self) -> str:
        """The size for messages."""
        return "size not recorded" if self.size_bytes is None else f"{self.size_bytes:,} bytes"


INCEPTION = KnownWeights(
    name="inception-2015-12-05",
    file_name="pt_inception-2015-12-05-6726825d.pth",
    size_bytes=95_628_359,
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    extractor="inception",
    source="Inception v3 of the TensorFlow graph of 2015-12-05, as ported by pytorch-fid",
)
DINOV2_LARGE = KnownWeights(
    name="dinov2-vitl14",
    file_name="dinov2_vitl14_pretrain.pth",
    size_bytes=1_217_586_395,
    sha256="d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
    url="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    extractor="dinov2",
    source="DINOv2 ViT-L/14 (Oquab et al. 2023, arXiv:2304.07193), as published by its authors",
)


def _openai_clip(model: str, file_name: str, sha256: str) -> KnownWeights:
    """OpenAI's folders are named after the sha256 of the file in them; sizes are not published."""
    return KnownWeights(
        name=f"clip-{model}-openai",
        file_name=file_name,
        size_bytes=None,
        sha256=sha256,
        url=f"https://openaipublic.azureedge.net/clip/models/{sha256}/{file_name}",
        extractor=f"clip:{model}",
        source=f"CLIP {model} (Radford et al. 2021, arXiv:2103.00020), as published by its authors",
    )


OPENAI_CLIP = {
    model: _openai_clip(model, file_name, sha256)
    for model, file_name, sha256 in (
        ("RN50", "RN50.pt", "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762"),
        ("RN101", "RN101.pt", "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599"),
        ("RN50x4", "RN50x4.pt", "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd"),
        ("RN50x16", "RN50x16.pt", "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa"),
        ("RN50x64", "RN50x64.pt", "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c"),
        ("ViT-B-32", "ViT-B-32.pt", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"),
        ("ViT-B-16", "ViT-B-16.pt", "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"),
        ("ViT-L-14", "ViT-L-14.pt", "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"),
        ("ViT-L-14-336", "ViT-L-14-336px.pt", "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02"),
    )
}
KNOWN_WEIGHTS = (INCEPTION, DINOV2_LARGE, *OPENAI_CLIP.values())


@dataclass(frozen=True, slots=True)
class FoundWeights:
    """A file of weights on this machine. `known` says whether it is byte for byte the file the table describes."""

    path: Path
    sha256: str
    known: bool


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
            f"the extractor {known.extractor} needs the weights {known.file_name} ({known.size}, sha256 "
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


def named_weights(
    explicit: Path | None, *, extractor: str, wanted: str = "a file of weights", instead: str = "gist"
) -> FoundWeights:
    """The file at `explicit`, of a network whose files' digests are not recorded; raises `MissingWeights`."""
    if explicit is None or not explicit.is_file():
        found = "none is named" if explicit is None else f"no such file: {explicit}"
        raise MissingWeights(
            f"the extractor {extractor} needs {wanted}, and {found}; name one with --weights FILE, or use "
            f"--features {instead}, which needs none"
        )
    return FoundWeights(explicit, file_digest(explicit), known=False)


# ---- Fetching ------------------------------------------------------------------------------------------------------


def fetch_weights(
    known: KnownWeights, *, url: str | None = None, folder: Path | None = None, progress: Progress = silent
) -> Path:
    """Download the file into the cache and return its path; one that is there already and right is kept.

    Raises `InputError` when the server fails or sends other bytes. What a cut connection has brought is kept beside
    under a hidden name, and the next call goes on from there; wrong bytes are deleted.
    """
    path = (folder or weights_folder()) / known.file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if not (path.is_file() and file_digest(path) == known.sha256):
            partial = path.with_name(f".{path.name}.part")
            _complete(partial, known, url or known.url, progress)
            partial.replace(path)
    return path


def _complete(partial: Path, known: KnownWeights, url: str, progress: Progress) -> None:
    """Bring `partial` to the known content; raises `InputError`."""
    advice = "get the file by other means and name it with --weights"
    try:
        expected = _download(url, partial, known, progress)
    except (http.client.HTTPException, OSError, ValueError) as error:
        raise InputError(f"{url}: download failed ({error}){_kept(partial)}; {advice}") from error
    size = partial.stat().st_size
    if expected is not None and size < expected:
        raise InputError(
            f"{url}: the connection was cut after {size:,} of {expected:,} bytes{_kept(partial)}; or {advice}"
        )
    digest = file_digest(partial)
    if digest != known.sha256:
        partial.unlink()
        raise InputError(
            f"{url}: sent {size:,} bytes with sha256 {digest}, expected {known.size} with {known.sha256}; nothing was "
            "kept, try another address with --url"
        )


def _kept(partial: Path) -> str:
    """What the user may do with the bytes that are there; an empty file is deleted."""
    if partial.is_file() and partial.stat().st_size:
        return "; they are kept, and the same command goes on from there"
    partial.unlink(missing_ok=True)
    return ""


def _download(url: str, partial: Path, known: KnownWeights, progress: Progress) -> int | None:
    """Append what is missing of `partial`; returns the size the whole should have, as far as known."""
    if not url.startswith(("https://", "http://")):
        raise ValueError("only http and https addresses are fetched")
    done = partial.stat().st_size if partial.is_file() else 0
    limit = MAX_BYTES if known.size_bytes is None else known.size_bytes
    if done >= limit:
        return known.size_bytes  # cut between the last byte and the check
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return done  # the server has no more than this
        raise
    with response:
        if done and not _continues(response, done):
            done = 0  # it does not know ranges and sends everything
        length = response.headers.get("Content-Length")
        expected = known.size_bytes if known.size_bytes is not None else done + int(length) if length else None
        with partial.open("ab" if done else "wb") as file:
            while done <= limit and (block := response.read(BLOCK_BYTES)):
                file.write(block)
                done += len(block)
                progress(f"fetch {known.name}", min(done, expected or done), expected or done)
    return expected


def _continues(response: http.client.HTTPResponse, start: int) -> bool:
    """Whether the answer is the rest of the file from `start` on."""
    given = response.headers.get("Content-Range", "")
    return response.status == http.HTTPStatus.PARTIAL_CONTENT and given.startswith(f"bytes {start}-")
