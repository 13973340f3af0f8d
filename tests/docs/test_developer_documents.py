"""What CONTRIBUTING.md and docs/architecture.md name exists: files, packages and targets of make."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = ["CONTRIBUTING.md", "docs/architecture.md"]
FOLDERS = "receiver|tests|migrations|config|docs"
PATH = re.compile(rf"(?<![\w./-])((?:{FOLDERS})/[\w./-]*|[A-Z]+\.md|setup\.cfg|pyproject\.toml)(?![\w/-])")
"""A path from the top of the checkout, in prose, in code or as an argument of a command."""
LINK = re.compile(r"\]\(([^)#]+)\)")
TARGET = re.compile(r"\bmake ([a-z][a-z-]*)(?=`|\s+#)")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_in_it_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = {path.rstrip(".") for path in PATH.findall(LINK.sub("]", text))}

    assert len(named) > 10
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_in_it_leads_to_a_file(document: str) -> None:
    links = LINK.findall((ROOT / document).read_text(encoding="utf-8"))

    assert links != []
    assert [link for link in links if not (ROOT / document).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_target_of_make_in_it_exists(document: str) -> None:
    targets = set(TARGET.findall((ROOT / document).read_text(encoding="utf-8")))

    assert targets != set()
    for target in targets:
        dry_run = ["make", "--dry-run", "--always-make", target]
        assert subprocess.run(dry_run, cwd=ROOT, capture_output=True, check=False).returncode == 0, target


def test_every_folder_of_tests_is_in_contributing() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    folders = [path.parent.name for path in sorted((ROOT / "tests").glob("*/__init__.py"))]

    assert [name for name in folders if f"`tests/{name}`" not in text] == []


def test_every_package_is_in_the_architecture() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    packages = [path.parent.name for path in sorted((ROOT / "receiver").glob("*/__init__.py"))]

    assert [name for name in packages if f"| `receiver/{name}` |" not in text] == []
