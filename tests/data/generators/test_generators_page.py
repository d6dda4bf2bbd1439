"""Every configuration in docs/generators.md is one that its adapter takes."""

import re
from pathlib import Path

from paragone.data.generators.described import read_described
from paragone.data.generators.settings import arguments_for
from paragone.data.generators.table import GENERATORS
from paragone.data.records import Task


def test_the_configurations_of_the_page_are_taken(repository: Path, tmp_path: Path) -> None:
    page = (repository / "docs" / "generators.md").read_text()
    config = tmp_path / "paragone.toml"
    config.write_text("\n".join(re.findall(r"```toml\n(.*?)```", page, flags=re.S)))
    described = read_described(config)
    assert {generator.adapter for generator in described.values()} == set(GENERATORS.plugins())
    for name, generator in described.items():
        given = {"name": name, "task": generator.task or Task.TEXT_TO_IMAGE, "state_folder": None}
        arguments_for(GENERATORS.load(generator.adapter), generator.settings, owner=name, given=given, base=tmp_path)
