"""`receiver doctor`."""

import json
import sys
from dataclasses import asdict, replace

import click
from rich.console import Console
from rich.text import Text

from receiver.cli.console import EXIT_WRONG, out
from receiver.cli.options import with_env_file
from receiver.cli.tables import to_text
from receiver.maintenance import doctor as examining
from receiver.maintenance.doctor import Finding, Mark
from receiver.maintenance.doctor.bandwidth import is_callback_url

COLOURS = {Mark.OK: "green", Mark.WARNING: "yellow", Mark.WRONG: "red", Mark.SKIPPED: "dim"}


def _read_url(_context: click.Context, _option: click.Parameter, given: str | None) -> str | None:
    if given is not None and not is_callback_url(given):
        raise click.BadParameter("must be a URL such as https://your-host/callbacks/bandwidth, without credentials.")
    return given


@click.command()
@click.option("--callback-url", callback=_read_url, help="Also test this URL, the one registered with Bandwidth.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(callback_url: str | None, as_json: bool) -> None:
    """Check this installation: what is right, what is wrong, and how to fix it.

    Exits 1 if anything is wrong.
    """
    findings = []
    for finding in examining.examine(callback_url=callback_url):
        finding = replace(finding, remedy=finding.remedy and with_env_file(finding.remedy))
        findings.append(finding)
        if not as_json:
            print_finding(out, finding)
    if as_json:
        click.echo(json.dumps({"findings": [asdict(finding) for finding in findings]}, indent=2))
    if any(finding.mark is Mark.WRONG for finding in findings):
        sys.exit(EXIT_WRONG)


def print_finding(console: Console, finding: Finding) -> None:
    """Prints a finding in one line, however long it is."""
    line = Text(f"{finding.mark:<8} ", style=COLOURS[finding.mark])
    line.append_text(Text(f"{finding.check}: ", style="bold")).append_text(to_text(finding.found))
    if finding.remedy:
        line.append_text(Text(" -> ")).append_text(to_text(finding.remedy))
    console.print(line, soft_wrap=True)
