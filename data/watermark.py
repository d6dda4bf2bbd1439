"""Whether a picture hides one of the watermarks that open models are known to write, with a p-value.

Stable Diffusion, SDXL and FLUX's reference code hide a fixed payload by the method `dwtDct` of invisible-watermark
0.2.0: Haar's wavelet of the chroma channel U, blocks of 4 × 4 of its coarse band, one bit a block in the place of a
coefficient between multiples of 36, the payload repeated block by block. (`dwtDct` takes no cosine transform at all.
`dwtDctSvd` does, and hides the bit in the largest singular value of the block; but a singular value is the same before
and after an orthogonal transform, so none is needed to read it.) Services mostly do not write these payloads.

A picture without a watermark also gives some bits, and they agree with a payload by chance. The p-value is the larger
of two, times the number of tests (Bonferroni): of as many agreeing bits when each is a fair coin, and of as many when
the payload's bits are shuffled, which allows for pictures whose bits are mostly 0 or mostly 1. `Null.fit` adds a
third: the spread of agreement that shuffled payloads have on unmarked pictures of the user's own, as a beta-binomial.
A p-value that is not small proves nothing: a new encoding, a smaller copy or a crop takes the mark away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import TooFewSamples
from paragone.data.records import WatermarkTest

SMALLEST_AREA = 256 * 256  # px: a picture must have more to hold a payload
SCALE = 36.0  # the step of the coefficients
BLOCK = 4
HALF = np.sqrt(0.5)  # both taps of Haar's low-pass
SHUFFLES = 200  # of each payload, for one unmarked picture
FEWEST_UNMARKED = 20

Bits = NDArray[np.uint8]  # [n] of 0 and 1


def _bits(number: int) -> Bits:
    """As Python's bin() writes a number: zeros in front are lost."""
    return np.array([int(digit) for digit in f"{number:b}"], np.uint8)


PAYLOADS: Mapping[str, Bits] = MappingProxyType(
    {
        "Stable Diffusion 1": np.unpackbits(np.frombuffer(b"StableDiffusionV1", np.uint8)),  # 136 bits
        "Stable Diffusion 2": np.unpackbits(np.frombuffer(b"SDV2", np.uint8)),  # 32 bits
        "SDXL": _bits(0b101100111110110010010000011110111011000110011110),  # 48 bits
        "FLUX": _bits(0b001010101111111010000111100111001111010100101110),  # written as 48, of which 46 are embedded
    }
)
METHODS = ("dwtDct", "dwtDctSvd")


@dataclass(frozen=True, slots=True)
class Null:
    """How payloads agree with unmarked pictures: for a method and a payload, the a and b of a beta-binomial."""

    shapes: Mapping[tuple[str, str], tuple[float, float]]
    n_pictures: int

    @classmethod
    def fit(cls, pictures: Iterable[NDArray[np.uint8]], *, seed: int = 0) -> Null:
        """From unmarked pictures; those that are too small are passed over. Raises `TooFewSamples`."""
        rng = np.random.default_rng(seed)
        shuffled = {name: rng.permuted(np.tile(bits, (SHUFFLES, 1)), axis=1) for name, bits in PAYLOADS.items()}
        agreeing: dict[tuple[str, str], list[NDArray[np.int64]]] = {}
        n_pictures = 0
        for pixels in pictures:
            if not is_applicable(pixels):
                continue
            n_pictures += 1
            for (method, name), bits in _decode_all(pixels).items():
                agreeing.setdefault((method, name), []).append((shuffled[name] == bits).sum(axis=1))
        if n_pictures < FEWEST_UNMARKED:
            raise TooFewSamples(
                f"the null of watermarks needs {FEWEST_UNMARKED} unmarked pictures of more than 256×256 px, "
                f"not {n_pictures}"
            )
        shapes = {key: _beta(np.concatenate(counts), PAYLOADS[key[1]].size) for key, counts in agreeing.items()}
        return cls(shapes, n_pictures)

    def p_value(self, method: str, payload: str, matches: int) -> float:
        """P(at least so many agreeing bits) on a picture like the unmarked ones."""
        from scipy.stats import betabinom

        return float(betabinom.sf(matches - 1, PAYLOADS[payload].size, *self.shapes[method, payload]))


def _beta(matches: NDArray[np.int64], n: int) -> tuple[float, float]:
    """By the method of moments, never narrower than n fair coins."""
    share = max(float(matches.mean()) / n, 0.5)
    spread = float(matches.var(ddof=1)) / (n * share * (1 - share))
    correlation = min(max((spread - 1) / (n - 1), 1e-6), 0.999)
    total = (1 - correlation) / correlation
    return share * total, (1 - share) * total


def is_applicable(pixels: NDArray[np.uint8]) -> bool:
    """Whether a picture [H, W, 3] is large enough to hold a payload."""
    height, width = pixels.shape[:2]
    return int(height) * int(width) > SMALLEST_AREA


def watermark_tests(pixels: NDArray[np.uint8], *, null: Null | None = None) -> tuple[WatermarkTest, ...] | None:
    """Every known payload by every method, the most telling first; None for a picture that is too small.

    Args:
        pixels: [H, W, 3] RGB.
        null: of unmarked pictures; without it, the fair coins and the shuffled payload alone.
    """
    if not is_applicable(pixels):
        return None
    tests = []
    decoded = _decode_all(pixels)
    for (method, name), bits in decoded.items():
        payload = PAYLOADS[name]
        matches = int((bits == payload).sum())
        p = max(coin_p_value(payload.size, matches), _shuffle_p_value(bits, payload))
        if null is not None:
            p = max(p, null.p_value(method, name, matches))
        tests.append(WatermarkTest(name, method, payload.size, matches, min(1.0, p * len(decoded))))
    return tuple(sorted(tests, key=lambda test: test.p_value))


def coin_p_value(n: int, matches: int) -> float:
    """P(at least `matches` of n fair coins agree)."""
    from scipy.stats import binom

    return float(binom.sf(matches - 1, n, 0.5))


def _shuffle_p_value(bits: Bits, payload: Bits) -> float:
    """P(at least as many agreeing bits) when the payload's bits are in random order: hypergeometric, so exact."""
    from scipy.stats import hypergeom

    ones = int((bits & payload).sum())  # agreement is n − ones of both + 2 × ones in common
    return float(hypergeom.sf(ones - 1, payload.size, int(payload.sum()), int(bits.sum())))


def _decode_all(pixels: NDArray[np.uint8]) -> dict[tuple[str, str], Bits]:
    """The bits that each method finds, for the length of each payload."""
    blocks = _blocks(pixels)
    return {
        (method, name): _majorities(says_one, payload.size)
        for method, says_one in (("dwtDct", _dct(blocks)), ("dwtDctSvd", _svd(blocks)))
        for name, payload in PAYLOADS.items()
    }


def decode_watermark(pixels: NDArray[np.uint8], *, method: str, n_bits: int) -> Bits:
    """The `n_bits` bits that invisible-watermark's decoder finds in a picture [H, W, 3] (RGB) by one of `METHODS`."""
    blocks = _blocks(pixels)
    return _majorities(_dct(blocks) if method == METHODS[0] else _svd(blocks), n_bits)


def _blocks(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """[N, 4, 4] blocks of the coarse Haar band of U, row by row."""
    height, width = (side // 4 * 4 for side in pixels.shape[:2])
    u = _chroma(pixels[:height, :width])
    columns = HALF * u[0::2] + HALF * u[1::2]
    band = HALF * columns[:, 0::2] + HALF * columns[:, 1::2]
    rows, across = band.shape[0] // BLOCK, band.shape[1] // BLOCK
    tiles: NDArray[np.float64] = band[: rows * BLOCK, : across * BLOCK].reshape(rows, BLOCK, across, BLOCK)
    return tiles.swapaxes(1, 2).reshape(-1, BLOCK, BLOCK)


def _chroma(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """U = 0.492 (B − Y) + 128 in the fixed point of OpenCV's 8-bit BGR2YUV."""
    red, green, blue = (pixels[:, :, k].astype(np.int32) for k in range(3))
    half = 1 << 13
    luma = (4899 * red + 9617 * green + 1868 * blue + half) >> 14
    chroma = (8061 * (blue - luma) + (128 << 14) + half) >> 14
    return np.asarray(np.clip(chroma, 0, 255), np.float64)


def _dct(blocks: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[N] whether the largest coefficient of a block, but for its first, says 1."""
    flat = np.abs(blocks.reshape(len(blocks), -1)[:, 1:])
    largest = flat.max(axis=1)
    says_one: NDArray[np.bool_] = largest % SCALE > SCALE / 2
    return says_one


def _svd(blocks: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[N] whether the largest singular value of a block says 1."""
    largest = np.linalg.svd(blocks, compute_uv=False)[:, 0]
    says_one: NDArray[np.bool_] = largest % SCALE > SCALE / 2
    return says_one


def _majorities(says_one: NDArray[np.bool_], n_bits: int) -> Bits:
    """[n_bits] 1 where a bit's blocks say it in more than 127 of 255 cases, as the original decides."""
    place = np.arange(says_one.size) % n_bits
    counts = np.bincount(place, minlength=n_bits)
    ones = np.bincount(place, weights=says_one, minlength=n_bits)
    share = np.divide(ones, counts, out=np.zeros(n_bits), where=counts > 0)
    return (share * 255 > 127).astype(np.uint8)
