"""Documentation as a contract: every command and flag is described, every snippet runs, every link leads somewhere."""

import re
import runpy
import shlex
from pathlib import Path

import click
import pytest

from paragone.__main__ import COMMANDS, cli

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)


def commands() -> list[tuple[str, click.Command]]:
    """All commands with their full names, subcommands included."""
    found = []
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        found.append((name, command))
        if isinstance(command, click.Group):
            found += [(f"{name} {sub}", command.commands[sub]) for sub in command.commands]
    return found


@pytest.mark.parametrize(("name", "command"), commands())
def test_every_command_and_flag_is_documented(name: str, command: click.Command) -> None:
    assert f"paragone {name}" in TEXT
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.name} has no help"
            for flag in (*parameter.opts, *parameter.secondary_opts):
                assert re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", TEXT), f"{name} {flag} is in no page"


@pytest.mark.parametrize(("name", "command"), [pair for pair in commands() if " " not in pair[0]])
def test_the_root_help_repeats_each_commands_first_line(name: str, command: click.Command) -> None:
    first_line = " ".join((command.help or "").split("\n\n")[0].split())
    assert first_line == COMMANDS[name][1]


def test_every_command_shown_in_the_pages_exists() -> None:
    names = {name.split()[0] for name, _ in commands()}
    for line in re.findall(r"^(?:\$ )?paragone (.+)$", TEXT, flags=re.M):
        words = [word for word in shlex.split(line, comments=True) if not word.startswith("-")]
        if words:
            assert words[0] in names, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), target


def python_snippets() -> list[tuple[str, str]]:
    return [
        (f"{page.name}-{number}", snippet)
        for page in PAGES
        for number, snippet in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.S))
    ]


@pytest.mark.parametrize(("name", "snippet"), python_snippets())
def test_python_snippets_run(name: str, snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, for importing torch takes longer than all of them; each in a module and folder of its own."""
    (tmp_path / "snippet.py").write_text(snippet)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    runpy.run_path("snippet.py", run_name="__main__")
