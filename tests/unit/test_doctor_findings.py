"""A check that fails or hangs is a finding like any other."""

import threading
from collections.abc import Iterator

import pytest
from rich.console import Console

from receiver.cli.doctor import print_finding
from receiver.errors import StorageUnavailable
from receiver.maintenance.doctor.findings import Finding, Mark, ok, run_check, wrong


def test_a_check_that_breaks_is_wrong_and_says_where_but_not_what() -> None:
    def broken() -> Iterator[Finding]:
        yield ok("before", "fine")
        raise ValueError("+19195550101 said hush")

    before, finding = run_check("broken", broken)

    assert before.mark is Mark.OK
    assert (finding.mark, finding.check) == (Mark.WRONG, "broken")
    assert "ValueError in" in finding.found
    assert "test_doctor_findings.py:" in finding.found
    assert "hush" not in finding.found


def test_a_check_that_could_not_be_ended_says_why() -> None:
    def cut_off() -> Iterator[Finding]:
        raise StorageUnavailable
        yield

    [finding] = run_check("traffic", cut_off)

    assert finding.mark is Mark.WRONG
    assert "The database did not respond" in finding.found


def test_a_check_that_hangs_is_not_waited_for() -> None:
    never = threading.Event()

    def hanging() -> Iterator[Finding]:
        yield ok("before", "fine")
        never.wait()
        yield ok("after", "fine")

    before, finding = run_check("hanging", hanging, seconds=0.05)
    never.set()

    assert before == ok("before", "fine")
    assert finding.mark is Mark.WRONG
    assert "0.05 s" in finding.found


def test_a_finding_is_one_line_however_long_and_gives_no_commands_to_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = "redirects to \x1b[2J[bold]" + "x" * 300

    print_finding(Console(width=40), wrong("challenge", said, "register the final URL."))

    [line] = capsys.readouterr().out.splitlines()
    assert "\x1b" not in line
    assert "[bold]" in line
    assert line.endswith("-> register the final URL.")
