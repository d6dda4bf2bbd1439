"""Plug-ins: lazy, isolated when broken, named with their distribution."""

from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from paragone.data import PluginError, registry
from paragone.data.registry import Plugin, Registry


def entry(name: str, value: str, distribution: str) -> EntryPoint:
    found = EntryPoint(name, value, "paragone.judges")
    vars(found)["dist"] = SimpleNamespace(name=distribution)
    return found


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    entries: list[EntryPoint] = []
    monkeypatch.delenv("PARAGONE_PLUGINS", raising=False)
    monkeypatch.setattr(registry, "entry_points", lambda *, group: entries)
    return entries


def test_built_ins_and_third_parties_share_one_table(third_party: list[EntryPoint]) -> None:
    third_party.append(entry("other", "json:dumps", "other-package"))
    table = Registry("judges", {"mine": "json:loads"})
    assert {plugin.name: plugin.distribution for plugin in table.plugins().values()} == {
        "mine": "paragone",
        "other": "other-package",
    }
    assert table.load("other")([1]) == "[1]"


def test_plugins_can_be_turned_off(third_party: list[EntryPoint], monkeypatch: pytest.MonkeyPatch) -> None:
    third_party.append(entry("other", "json:dumps", "other-package"))
    table = Registry("judges", {})
    monkeypatch.setenv("PARAGONE_PLUGINS", "")
    assert table.plugins() == {}
    monkeypatch.setenv("PARAGONE_PLUGINS", "other-package, more")
    assert list(table.plugins()) == ["other"]


def test_two_claims_on_one_name_are_an_error_that_names_both(third_party: list[EntryPoint]) -> None:
    third_party.append(entry("mine", "json:dumps", "other-package"))
    with pytest.raises(PluginError, match=r"'mine'.*paragone.*other-package"):
        Registry("judges", {"mine": "json:loads"}).plugins()


def test_an_unknown_name_suggests_the_nearest(third_party: list[EntryPoint]) -> None:
    with pytest.raises(PluginError, match="did you mean 'inception'"):
        Registry("extractors", {"inception": "json:loads", "gist": "json:loads"}).load("incepton")


def test_a_broken_plugin_is_reported_under_its_name(third_party: list[EntryPoint]) -> None:
    third_party.append(entry("broken", "no_such_module:thing", "other-package"))
    table = Registry("judges", {"mine": "json:loads"})
    assert table.load("mine")("[1]") == [1]
    with pytest.raises(PluginError, match=r"'broken' of other-package cannot be loaded.*no_such_module"):
        table.load("broken")


def test_a_module_path_needs_no_registration(third_party: list[EntryPoint]) -> None:
    assert Registry("judges", {}).load("json:dumps")({}) == "{}"
    with pytest.raises(PluginError, match="module:attribute"):
        Plugin("x", "json", "test").load()
