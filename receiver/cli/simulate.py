"""`receiver simulate`."""

import signal
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import click

from receiver.cli.console import EXIT_USAGE, EXIT_WRONG, fail, not_ignored, out, say
from receiver.cli.options import PORT
from receiver.cli.tables import MEANING, print_rows
from receiver.errors import CannotListen
from receiver.simulator import MAGIC_NUMBERS, CallbackShape, RequestFate, Simulator, SimulatorOptions, Switches

Command = TypeVar("Command", bound=Callable[..., Any])


def _choice(option: str, words: type[StrEnum], *, default: str, what: str) -> Callable[[Command], Command]:
    """An option whose words are listed in its help text, where they are wrapped, instead of in its metavar."""
    values = [each.value for each in words]
    return click.option(
        option,
        type=click.Choice(values),
        metavar="WORD",
        default=default,
        show_default=True,
        help=f"{what}: {', '.join(values)}.",
    )


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=8090, show_default=True, help="Port to listen on; 0 picks a free one.")
@click.option("--callback-url", help="URL to post events to, such as http://127.0.0.1:8080/callbacks/bandwidth.")
@click.option("--callback-user", help="User of CALLBACK_CREDENTIALS.")
@click.option("--callback-password", help="Password of CALLBACK_CREDENTIALS.")
@click.option("--day", default=60.0, show_default=True, help="Seconds that stand for the 24 hours of redelivery.")
@click.option("--seed", type=int, help="Make the timing repeatable.")
@click.option(
    "--record",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write a JSON line to for every accepted message, before the response.",
)
@click.option("--unordered", is_flag=True, help="Post a recipient's events concurrently, in any order.")
@click.option("--rate", type=float, help="Messages per second, beyond which they are queued; default: no limit.")
@click.option(
    "--queue-seconds", default=900.0, show_default=True, help="Length of the queue; further requests get a 429."
)
@click.option(
    "--searches", default=3500, show_default=True, help="GET /messages requests allowed per --search-seconds."
)
@click.option("--search-seconds", default=300.0, show_default=True, help="Period of --searches.")
@click.option("--token-seconds", default=3600.0, show_default=True, help="Lifetime of an access token.")
@_choice("--request", RequestFate, default="accept", what="Fate of requests to send")
@_choice("--callbacks", CallbackShape, default="normal", what="Shape of callbacks")
def simulate(request: str, callbacks: str, **options: Any) -> None:
    """Run a simulated Bandwidth on this machine; a recipient's number selects its outcome.

    The numbers are printed at the start.
    """
    switches = Switches(request=RequestFate(request), callbacks=CallbackShape(callbacks))
    try:
        simulator = Simulator(SimulatorOptions(switches=switches, **options))
    except ValueError as error:
        fail(f"Invalid options: {error}.", EXIT_USAGE)
    except OSError as error:
        fail(f"Cannot write {options['record']}, the file of --record: {error.strerror or error}.", EXIT_WRONG)
    try:
        simulator.start()
    except OSError as error:
        fail(str(CannotListen(options["host"], options["port"], error)), EXIT_WRONG)
    # A shell's background job would ignore SIGINT.
    for each in {signal.SIGINT, signal.SIGTERM, *not_ignored(signal.SIGHUP)}:
        signal.signal(each, signal.default_int_handler)
    with simulator:
        numbers = [(each.number, each.meaning) for each in MAGIC_NUMBERS]
        print_rows(out, ("recipient", MEANING), numbers)
        say(f"BANDWIDTH_TOKEN_URL={simulator.token_url}", on=out)
        say(f"BANDWIDTH_API_URL={simulator.url}", on=out)
        simulator.serve_forever()
