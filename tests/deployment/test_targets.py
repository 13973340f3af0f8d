"""The targets of make, as a newcomer meets them."""

import os
import re
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def make(*arguments: str) -> str:
    """What make prints, also if this test was started by make itself."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(["make", *arguments], cwd=ROOT, env=given, capture_output=True, text=True, check=True)
    return done.stdout


def phony() -> list[str]:
    (line,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return str(line).split()


def test_make_alone_lists_every_target_with_a_sentence_in_one_column() -> None:
    lines = make().splitlines()
    rows = [re.fullmatch(r"([a-z-]+) +(\S.*)", line) for line in lines]

    assert sorted(row[1] if row else "" for row in rows) == sorted(phony())
    assert len({row.start(2) for row in rows if row}) == 1
    assert make("help").splitlines() == lines


def test_the_list_is_coloured_on_a_terminal_unless_no_color_is_set() -> None:
    def on_a_terminal(**environment: str) -> str:
        command = ["script", "--quiet", "--command", "make help", "/dev/null"]
        given = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | environment
        return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=True).stdout

    assert "\x1b[36mtest" in on_a_terminal()
    assert "\x1b" not in on_a_terminal(NO_COLOR="1")


def test_ci_runs_every_tier() -> None:
    steps = re.findall(r"^make (\w+)$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    assert steps == ["debian", "lint", "test", "outside", "soak"]

    assert "pytest --numprocesses 3 --dist worksteal\n" in make("--dry-run", "test")
    assert "-m outside" in make("--dry-run", "outside")
    soak = make("--dry-run", "soak")
    assert ["-m soak" in soak, "torture.torture" in soak, "crash.crash" in soak] == [True] * 3


def test_check_runs_the_lint_and_the_rules() -> None:
    checked = make("--dry-run", "check")
    steps = ["ruff check .", "ruff format --check .", "mypy", "lint-imports", "validate-config", "tests/unit"]
    assert [step for step in steps if step not in checked] == []


def test_the_hooks_run_programs_of_make_lint_and_download_nothing() -> None:
    configuration = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for each in configuration["repos"] for hook in each["hooks"]]
    lint = make("--dry-run", "lint")

    assert {each["repo"] for each in configuration["repos"]} == {"local"}
    assert {hook["language"] for hook in hooks} == {"system"}
    assert len(hooks) == 3
    for hook in hooks:
        program = hook["entry"].removesuffix(" --force-exclude")
        assert re.search(rf"^{re.escape(program)}\b", lint, re.MULTILINE), program
