"""The command that examines an installation, and the one that ends a pause it may find."""

import json
import sys
from dataclasses import asdict, replace

import click

from receiver import settings, terminal
from receiver.cli.base import EXIT_WRONG, demand_schema, main, out, said_in_one_sentence, with_env_file
from receiver.database.database import Database, Session
from receiver.maintenance import doctor as examining
from receiver.maintenance.doctor.bandwidth import is_callback_url
from receiver.messages import credentials, pace


def _url(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value is not None and not is_callback_url(value):
        raise click.BadParameter("is not a URL such as https://your-host/callbacks/bandwidth, without credentials.")
    return value


@main.command()
@click.option("--callback-url", callback=_url, help="The URL that is registered with Bandwidth, to be tried.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@said_in_one_sentence
def doctor(callback_url: str | None, as_json: bool) -> None:
    """Say what is right and what is wrong with this installation. Exits 1 if anything is wrong."""
    found = []
    for finding in examining.examine(callback_url=callback_url):
        finding = replace(finding, remedy=finding.remedy and with_env_file(finding.remedy))
        found.append(finding)
        if not as_json:
            terminal.show_finding(out, finding)
    if as_json:
        click.echo(json.dumps({"findings": [asdict(finding) for finding in found]}, indent=2))
    if any(finding.mark is examining.Mark.WRONG for finding in found):
        sys.exit(EXIT_WRONG)


@main.command()
@said_in_one_sentence
def resume() -> None:
    """Resume sending now, ending any pause for a 429 or for refused credentials."""

    def work(session: Session) -> bool:
        was_paused = pace.resume(session)
        return credentials.resume(session) or was_paused

    with Database(settings.read_settings().database_url) as database:
        demand_schema(database)
        was_paused = database.write(work)
    out.print("Sending goes on." if was_paused else "Nothing holds up sending.")
