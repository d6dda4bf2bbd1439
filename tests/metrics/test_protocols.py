"""The table of protocols: names, aliases, and what an unknown one is told."""

from __future__ import annotations

from itertools import combinations

import pytest

from paragone.data.errors import UsageError
from paragone.metrics.extractors.resize import RESIZERS
from paragone.metrics.protocols import DINOV2_PROTOCOLS, INCEPTION_PROTOCOLS, Protocol, protocol_named

TABLES = (INCEPTION_PROTOCOLS, DINOV2_PROTOCOLS)


@pytest.mark.parametrize("rows", TABLES)
def test_rows_have_names_of_their_own_a_source_and_a_resizer(rows: tuple[Protocol, ...]) -> None:
    assert rows[0].name == "paragone"
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert row.resize in RESIZERS
        assert row.source
        assert min(row.std) > 0


@pytest.mark.parametrize("rows", TABLES)
def test_two_names_are_one_protocol_exactly_when_the_pixels_agree(rows: tuple[Protocol, ...]) -> None:
    for one, other in combinations(rows, 2):
        same = protocol_named(one.name, rows, extractor="x") is protocol_named(other.name, rows, extractor="x")
        assert same == one.same_pixels(other)


def test_which_tools_share_inceptions_pixels() -> None:
    groups: dict[str, set[str]] = {}
    for row in INCEPTION_PROTOCOLS:
        groups.setdefault(protocol_named(row.name, INCEPTION_PROTOCOLS, extractor="x").name, set()).add(row.name)
    assert groups == {
        "paragone": {"paragone", "clean-fid"},
        "pytorch-fid": {"pytorch-fid", "dgm-eval"},
        "torch-fidelity": {"torch-fidelity", "adm", "edm2", "stylegan3"},
        "torchmetrics": {"torchmetrics"},
    }


def test_an_unknown_protocol_is_told_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"protocol 'cleanfid': did you mean 'clean-fid'\? .*inception") as caught:
        protocol_named("cleanfid", INCEPTION_PROTOCOLS, extractor="inception")
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=r"'zzz': the extractor inception knows paragone, clean-fid"):
        protocol_named("zzz", INCEPTION_PROTOCOLS, extractor="inception")
