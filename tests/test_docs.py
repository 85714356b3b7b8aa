"""README's tree and the generated reference say what is there; starting up loads nothing heavy."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = (
    "torch",
    "transformers",
    "implicit",
    "matplotlib",
    "sklearn",
    "pandas",
    "vllm",
    "datasets",
    "faiss",
    "gensim",
    "accelerate",
    "sentence_transformers",
)


def test_the_tree_in_the_readme_names_every_file():
    tree = (ROOT / "README.md").read_text(encoding="utf-8").split("## The house")[1]
    files = [path for path in (ROOT / "llmrec").rglob("*") if path.suffix in {".py", ".html"}]
    missing = [path.name for path in files if path.name not in {"__init__.py", "__main__.py"} and path.name not in tree]
    assert not missing
    named = {word for word in tree.split() if word.endswith((".py", ".html"))}
    there = {path.name for path in ROOT.rglob("*.py") if ".venv" not in path.parts} | {path.name for path in files}
    assert named - there == set()


@pytest.mark.slow
def test_the_reference_of_the_command_line_is_up_to_date(tmp_path):
    """In a process of its own: commands set up logging and load everything."""
    subprocess.run([sys.executable, str(ROOT / "docs" / "generate.py"), str(tmp_path / "cli.md")], check=True)
    written = (tmp_path / "cli.md").read_text(encoding="utf-8")
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == written, "run: make docs"


@pytest.mark.parametrize(
    "code", ["import llmrec", "from llmrec.cli import app; app(['--help'], standalone_mode=False)"]
)
def test_starting_up_imports_nothing_heavy(code):
    check = f"{code}\nimport sys\nloaded = set({HEAVY!r}) & set(sys.modules)\nassert not loaded, loaded"
    subprocess.run([sys.executable, "-c", check], check=True, capture_output=True)


def test_each_recipe_begins_with_its_command():
    recipes = list((ROOT / "configs").glob("*.yaml"))
    assert recipes
    for path in recipes:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# llmrec "), path
        assert f"configs/{path.name}" in first


def test_what_the_package_needs_beside_its_code_is_shipped():
    package = ROOT / "llmrec"
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["llmrec"]
    for path in package.rglob("*"):
        if path.is_file() and path.suffix not in {".py", ".pyc"}:
            name = path.relative_to(package)
            assert any(path in set(package.glob(pattern)) for pattern in shipped), name
