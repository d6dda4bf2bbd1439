"""The house rules, held by tests: who imports whom, what stays light, how long a chapter may be."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("arena", "metrics", "judges", "data")
MAY_IMPORT = {
    "data": {"data"},
    "metrics": {"metrics", "data"},
    "judges": {"judges", "data"},
    "arena": {"arena", "data"},
}
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
ALL_SOURCES = [
    *SOURCES,
    *sorted((ROOT / "paragone").glob("*.py")),
    *sorted((ROOT / "paragone" / "cli").rglob("*.py")),
    *sorted((ROOT / "paragone" / "demo").rglob("*.py")),
    *sorted((ROOT / "paragone" / "integrations").rglob("*.py")),
    ROOT / "streamlit_app.py",
]


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_meet_only_in_data(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    for module in imported_modules(path):
        parts = module.split(".")
        assert parts[0] not in PACKAGES, f"{path}: imports bare {module}"
        if parts[0] == "paragone" and len(parts) > 1:
            assert parts[1] in MAY_IMPORT[package], f"{path}: {package} must not import {module}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    tops = {module.split(".")[0] for module in imported_modules(path)}
    assert not tops & {"click", "rich"}, "the terminal belongs to paragone/cli"
    if package == "arena":
        assert "torch" not in tops
    if path.parent.name != "ui":
        assert "streamlit" not in tops
    if package != "arena":
        assert "sqlalchemy" not in tops


# The one reader of another tool's pickles: it subclasses Unpickler to refuse every name but numpy's plain arrays, which
# tests/metrics/test_pickles.py tries to get around.
MAY_IMPORT_PICKLE = ROOT / "metrics" / "pickles.py"


def test_no_pickle_and_no_unsafe_loading() -> None:
    for path in ALL_SOURCES:
        tree = ast.parse(path.read_text())
        allowed = {"pickle"} if path == MAY_IMPORT_PICKLE else set()
        unsafe = {"pickle", "cloudpickle", "joblib", "dill", "shelve"} - allowed
        assert not imported_modules(path) & unsafe, path
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                if name == "torch.load":
                    assert keywords.get("weights_only") == "True", path
                assert keywords.get("allow_pickle", "False") == "False", path
                assert name not in {"eval", "exec"}, path
                assert not name.endswith("sqrtm"), path


@pytest.mark.parametrize("path", ALL_SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_a_chapter(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 500
    assert ast.get_docstring(ast.parse(text)), "the first line says what the module is"
    assert path.stem not in {"utils", "helpers", "common", "misc"}


def test_the_package_list_is_complete() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    on_disk = {"paragone"}
    for folder in (*PACKAGES, "paragone/cli", "paragone/demo", "paragone/integrations"):
        for init in (ROOT / folder).rglob("__init__.py"):
            relative = init.parent.relative_to(ROOT).as_posix().replace("/", ".")
            on_disk.add(relative if relative.startswith("paragone") else f"paragone.{relative}")
    assert set(config["packages"]) == on_disk


def loaded_after(code: str) -> set[str]:
    """Top-level modules in sys.modules after `code` ran in a new interpreter."""
    script = f"{code}\nimport sys\nprint('|'.join(sorted({{m.split('.')[0] for m in sys.modules}})))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/")
    return set(run.stdout.splitlines()[-1].split("|"))


HEAVY = {"torch", "torchvision", "open_clip", "streamlit", "sklearn"}


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import paragone", HEAVY | {"numpy", "pandas", "sqlalchemy", "click"}),
        ("import paragone.data", HEAVY | {"pandas", "sqlalchemy"}),
        ("import paragone.metrics", HEAVY),
        ("import paragone.judges", HEAVY),
        ("import paragone.arena", HEAVY),
        ("import paragone.arena.store, paragone.arena.leaderboard, paragone.arena.bradley_terry", HEAVY),
        ("import paragone.arena.store, paragone.cli.judge_run, paragone.judges.mllm", HEAVY | {"pandas", "scipy"}),
        ("import paragone.arena.ui.main", {"torch", "torchvision", "open_clip", "sklearn"}),
        ("import paragone.integrations.pytest_plugin", HEAVY | {"numpy", "pandas", "sqlalchemy", "click", "scipy"}),
        ("import paragone.cli.check, paragone.cli.check_flow, paragone.cli.plan", HEAVY),
        ("import paragone.cli.demo, paragone.cli.metrics, paragone.cli.rate, paragone.cli.leaderboard", HEAVY),
    ],
)
def test_importing_is_cheap(code: str, absent: set[str]) -> None:
    assert not loaded_after(code) & absent


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["metrics", "--help"],
        ["check", "--help"],
        ["plan", "--help"],
        ["rate", "--help"],
        ["demo", "--help"],
    ],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import contextlib, io\nfrom paragone.__main__ import main\n"
        f"with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n    main({arguments!r})"
    )
    assert not loaded_after(code) & (HEAVY | {"pandas", "sqlalchemy", "scipy"})


def test_a_bare_import_of_a_folder_says_what_to_import() -> None:
    for package in PACKAGES:
        run = subprocess.run([sys.executable, "-c", f"import {package}"], capture_output=True, text=True, cwd=ROOT)
        assert run.returncode != 0
        assert f"import paragone.{package}" in run.stderr
