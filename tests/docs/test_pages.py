"""The documents as a whole: their length, readers, links and examples; and whatever they name exists."""

import re
import subprocess

import pytest

from tests.support import pages
from tests.support.pages import NOT_RUN, ROOT, Page

FOLDERS = "receiver|tests|migrations|config|docs"
PATH = re.compile(rf"(?<![\w./-])((?:{FOLDERS})/[\w./-]*|[A-Z]+\.md|setup\.cfg|pyproject\.toml)(?![\w/-])")
"""A path from the top of the checkout, in prose, in code or as an argument of a command."""
LINK = re.compile(r"\]\(([^)\s]+)\)")
TARGET = re.compile(r"\bmake ([a-z][a-z-]*)(?=`|\s+#|\n)")

RUN_BY = {
    ("README.md", "Two commands"): "tests/journeys/test_demo.py",
    ("README.md", "Send a first message"): "tests/docs/test_first_message.py",
    ("docs/api.md", "Send a message"): "tests/docs/test_examples.py",
    ("docs/api.md", "Read outcomes"): "tests/docs/test_examples.py",
    ("docs/api.md", "Queue a message"): "tests/docs/test_examples.py",
    ("docs/api.md", "Monitor sending"): "tests/docs/test_examples.py",
    ("docs/api.md", "Callbacks and health"): "tests/docs/test_examples.py",
    ("docs/api.md", "OpenAPI"): "tests/docs/test_examples.py",
    ("docs/sending.md", "The queue"): "tests/docs/test_examples.py",
    ("docs/sending.md", "Files of messages"): "tests/docs/test_examples.py",
    ("docs/support.md", "Access"): "tests/database/test_grants.py",
    ("docs/support.md", "One message"): "tests/docs/test_cookbook.py",
    ("docs/support.md", "Numbers and people"): "tests/docs/test_cookbook.py",
    ("docs/support.md", "What needs attention"): "tests/docs/test_cookbook.py",
    ("docs/support.md", "Trends and cost"): "tests/docs/test_cookbook.py",
    ("docs/support.md", "In the terminal"): "tests/docs/test_terminal.py",
    ("docs/operations.md", "Settings and processes"): "tests/docs/test_operations.py",
    ("docs/operations.md", "Check an installation"): "tests/docs/test_examples.py",
    ("docs/operations.md", "Metrics"): "tests/docs/test_operations.py",
    ("docs/operations.md", "Logs"): "tests/docs/test_logs.py",
    ("docs/operations.md", "Backup and restore"): "tests/support/backups.py",
    ("docs/operations.md", "How long data is kept"): "tests/docs/test_operations.py",
    ("docs/simulator.md", "Switches"): "tests/docs/test_examples.py",
    ("docs/simulator.md", "Held requests"): "tests/docs/test_examples.py",
    ("docs/simulator.md", "Tokens"): "tests/docs/test_examples.py",
    ("docs/simulator.md", "What it accepted"): "tests/docs/test_examples.py",
}
"""The file that runs the examples of a section, by page and heading. A section that is not here says why."""


def every(pages_: list[Page]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", pages_, ids=lambda page: page.name)


def test_the_readme_is_two_pages() -> None:
    assert len(pages.README.text.splitlines()) <= 200


@every([page for page in pages.ALL if page.name.startswith("docs/")] + [pages.CONTRIBUTING])
def test_the_first_line_says_whom_the_page_is_for(page: Page) -> None:
    title, blank, first = page.text.splitlines()[:3]

    assert title.startswith("# ")
    assert blank == ""
    assert first.startswith("For ")


@every(pages.ALL)
def test_every_example_is_run_or_its_section_says_why_not(page: Page) -> None:
    for example in page.all_examples():
        if example.language == "mermaid" or all(line.startswith("make ") for line in example.code.splitlines()):
            continue
        runner = RUN_BY.get((page.name, example.section))
        assert runner or NOT_RUN in page.section(example.section).text, f"{example.section}: {example.code}"
        assert runner is None or (ROOT / runner).is_file(), runner


def test_every_section_that_is_said_to_be_run_has_examples() -> None:
    assert set(RUN_BY) <= {(page.name, each.section) for page in pages.ALL for each in page.all_examples()}


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@every(pages.ALL)
def test_every_link_leads_to_a_file_and_a_heading(page: Page) -> None:
    links = [link for link in LINK.findall(page.text) if not link.startswith("https://")]
    broken = []
    for link in links:
        path, _, fragment = link.partition("#")
        target = (ROOT / page.name).parent / path if path else ROOT / page.name
        if not target.exists():
            broken.append(link)
        elif fragment:
            headings = Page(path, target.read_text(encoding="utf-8")).headings()
            broken += [] if fragment in map(anchor, headings) else [link]

    assert links or page is pages.CHANGELOG
    assert broken == []


@every([page for page in pages.ALL if "\n- [" in page.text])
def test_the_contents_of_a_page_are_its_headings(page: Page) -> None:
    contents = re.findall(r"^- \[(.+)\]\(#.+\)$", page.text, re.MULTILINE)
    headings = re.findall(r"^## (.+)$", page.text, re.MULTILINE)

    assert contents == headings


def test_the_changelog_has_the_form_of_keep_a_changelog() -> None:
    """https://keepachangelog.com/en/1.1.0/"""
    kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    versions = re.split(r"^## ", pages.CHANGELOG.text, flags=re.MULTILINE)[1:]

    assert re.match(r"\[Unreleased\]\n", versions[0])
    assert [each for each in versions[1:] if not re.match(r"\[\d+\.\d+\.\d+\]", each)] == []
    for version in versions:
        found = re.findall(r"^### (.+)$", version, re.MULTILINE)
        assert found == [kind for kind in kinds if kind in found], version.partition("\n")[0]


@every([pages.CONTRIBUTING, pages.ARCHITECTURE])
def test_every_path_that_a_developer_reads_exists(page: Page) -> None:
    named = {path.rstrip(".") for path in PATH.findall(LINK.sub("]", page.text))}

    assert len(named) > 10
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@every(pages.ALL)
def test_every_target_of_make_exists(page: Page) -> None:
    for target in sorted(set(TARGET.findall(page.text))):
        dry_run = ["make", "--dry-run", "--always-make", target]
        assert subprocess.run(dry_run, cwd=ROOT, capture_output=True, check=False).returncode == 0, target


@every(pages.ALL)
def test_every_command_of_the_shell_is_one_that_a_test_can_run(page: Page) -> None:
    """Whoever writes an example of another program also writes what runs it."""
    known = ("make", "receiver", "curl", "jq", "pg_dump", "pg_restore", "sqlite3", "mkdir", "cp", ".venv/bin/")
    for example in page.all_examples():
        if example.language != "sh" or NOT_RUN in page.section(example.section).text:
            continue
        if page is not pages.README:
            lines = re.sub(r"\\\n\s*", "", example.code).splitlines()
            assert [line for line in lines if not line.startswith(known)] == [], example.section


def test_every_page_that_the_program_or_its_configuration_names_exists() -> None:
    sources = [path for folder in ("receiver", "config") for path in (ROOT / folder).rglob("*") if path.is_file()]
    named = {
        (path.name, name)
        for path in sources
        if path.suffix in (".py", ".yml", ".ini", ".conf", ".env", ".sql")
        for name in re.findall(r"(?<![\w/])(?:docs/)?[A-Za-z-]+\.md\b", path.read_text(encoding="utf-8"))
    }
    assert named
    assert [(path, name) for path, name in sorted(named) if not (ROOT / name).is_file()] == []
