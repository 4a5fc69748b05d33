"""The documentation's pages are there, and name files, functions and commands that are there."""

import ast
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from volcomp.cli.main import parser

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
ARCHITECTURE = (DOCS / "architecture.md").read_text(encoding="utf-8")


def pages() -> list[str]:
    """The pages of the navigation, with those of its folders."""
    spec = importlib.util.spec_from_file_location("navigation", DOCS / "navigation.py")
    assert spec and spec.loader
    navigation = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(navigation)
    entries = [page for entry in SITE["nav"] for page in entry.values()]
    return [page for entry in entries for page in (navigation.pages(DOCS, entry) if entry.endswith("/") else [entry])]


def test_every_page_of_the_navigation_exists_and_every_page_is_in_it() -> None:
    found = pages()
    assert len(set(found)) == len(found)
    excluded = SITE["exclude_docs"].split()
    there = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert set(found) == {page for page in there if f"/{page}" not in excluded}


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_documentation_lists_the_commands_that_there_are(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    help_text = parser().format_help()
    commands = set(re.findall(r"^    ([a-z]+)\b", help_text, re.MULTILINE))
    assert {"compress", "doctor"} <= commands
    if page == "README.md":
        listed = set(re.findall(r"^    volcomp ([a-z]+)\b", text, re.MULTILINE))
    else:
        sentence = re.search(r"The commands are (.*?);", text, re.DOTALL)
        assert sentence
        listed = set(re.findall(r"`([a-z]+)`", sentence[1]))
    assert listed == commands


@pytest.mark.parametrize(
    "page", ["docs/architecture.md", "docs/api.md", "docs/index.md", "CONTRIBUTING.md", "SECURITY.md"]
)
def test_files_that_a_page_names_are_there(page: str) -> None:
    names = set(re.findall(r"`([\w./-]+/[\w.-]*)`", (ROOT / page).read_text(encoding="utf-8")))
    assert names
    made = ("runs/", "volcomp/precompiled/")  # when something is trained or compiled
    wanted = {name for name in names if "NAME" not in name and not name.startswith(made)}
    assert not {name for name in wanted if not any((base / name).exists() for base in (ROOT, ROOT / "volcomp"))}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_lead_to_files(page: str) -> None:  # mkdocs looks at those in docs/
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))
    assert not {target for target in targets if not (ROOT / target).exists()}


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", (DOCS / "index.md").read_text("utf-8"), re.DOTALL))
def test_the_example_of_the_first_page_runs(code: str) -> None:
    names: dict[str, object] = {}
    exec(compile(code, "index.md", "exec"), names)
    assert not np.any(names["array"])


ROW = re.compile(r"^\| [^|]*\| `([\w/]+\.py)` \| (`[^|]*`) \|", re.MULTILINE)


def test_functions_of_the_way_of_a_voxel_are_where_the_page_says() -> None:
    rows = ROW.findall(ARCHITECTURE)
    assert len(rows) > 30
    for file, functions in rows:
        defined = names_in(ast.parse((ROOT / "volcomp" / file).read_text(encoding="utf-8")))
        assert set(re.findall(r"`([\w.]+)`", functions)) <= defined, file


def names_in(module: ast.Module) -> set[str]:
    """Functions of a module and methods of its classes, as `function` and `Class.method`."""
    found = set()
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
    return found


def test_the_page_has_the_layers_of_the_contract() -> None:
    contract = re.search(
        r'containers = \["volcomp"\]\nlayers = \[\n(.*?)\n\]',
        (ROOT / "pyproject.toml").read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert contract
    layers = re.findall(r'^    "([^"]+)"', contract[1], re.MULTILINE)
    assert "\n".join(f"    {layer}" for layer in layers) in ARCHITECTURE


def test_the_reference_names_what_there_is() -> None:
    """Else only a build of the pages would find out."""
    for name in re.findall(r"^::: ([\w.]+)", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE):
        module, _, thing = name.rpartition(".")
        assert hasattr(importlib.import_module(module), thing), name
