"""`receiver config`; and the log's lines about the running configuration."""

import click

from receiver import VERSION
from receiver.cli.console import out, say
from receiver.database.database import Database
from receiver.database.engine import is_sqlite, where
from receiver.errors import StorageUnavailable
from receiver.log import get_logger, without_numbers
from receiver.maintenance.doctor.database import read_postgres_link
from receiver.settings import EXAMPLE, NOT_SET, Settings, describe, read_settings, warnings

log = get_logger(__name__)


def _print_example(context: click.Context, _option: click.Parameter, is_wanted: bool) -> None:
    if is_wanted:
        click.echo(EXAMPLE.read_text(encoding="utf-8"), nl=False)
        context.exit()


@click.command()
@click.option(
    "--example",
    is_flag=True,
    is_eager=True,  # the example is needed before there are settings, or when they are invalid
    expose_value=False,
    callback=_print_example,
    help="Print an example settings file that explains every setting.",
)
def config() -> None:
    """Print the running configuration, without secrets."""
    settings = read_settings()
    say(f"# receiver {VERSION}", on=out)
    say(f"# {_connection(settings)}", on=out)
    for name, value in describe(settings).items():
        say(f"{name}={value}", on=out)
    for warning in warnings(settings):
        say(f"warning: {warning}")


def _connection(settings: Settings) -> str:
    """Describes the database and the connection to it. An unreachable database is not an error here."""
    named = where(settings.database_url)
    if is_sqlite(settings.database_url):
        return named
    try:
        with Database(settings.database_url) as database, database.read() as session:
            return f"{named}, {read_postgres_link(session)}"
    except StorageUnavailable as error:
        return f"{named}, which cannot be reached: {error.reason or error}"


def log_settings(settings: Settings) -> None:
    """Logs all settings that are set, as `receiver config` prints them but without the whole number of the sender, and
    the warnings about them."""
    shown = {name: value for name, value in describe(settings).items() if value != NOT_SET}
    if settings.bandwidth_from:
        shown["BANDWIDTH_FROM"] = without_numbers(settings.bandwidth_from)
    log.info("settings", version=VERSION, database=where(settings.database_url), settings=shown)
    for warning in warnings(settings):
        log.warning("settings warning", warning=warning)
