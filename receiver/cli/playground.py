"""Commands to try the service without Bandwidth: the simulator, and the demo."""

import signal
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import click

from receiver import demo, terminal
from receiver.cli.base import EXIT_USAGE, EXIT_WRONG, PORT, end, heeded, main, out, said_in_one_sentence, say
from receiver.simulator import MAGIC_NUMBERS, CallbackShape, RequestFate, Simulator, SimulatorOptions, Switches

Command = TypeVar("Command", bound=Callable[..., Any])


def _one_of(option: str, words: type[StrEnum], *, default: str, what: str) -> Callable[[Command], Command]:
    """An option whose words are listed in its sentence, where they are wrapped."""
    values = [each.value for each in words]
    sentence = f"{what}: {', '.join(values)}."
    return click.option(
        option, type=click.Choice(values), metavar="WORD", default=default, show_default=True, help=sentence
    )


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=PORT, default=8090, show_default=True, help="0 takes a free one.")
@click.option("--callback-url", help="Where to post events, for example http://127.0.0.1:8080/callbacks/bandwidth.")
@click.option("--callback-user", help="The user of CALLBACK_CREDENTIALS.")
@click.option("--callback-password", help="The password of CALLBACK_CREDENTIALS.")
@click.option("--day", default=60.0, show_default=True, help="Seconds that stand for the 24 hours of redelivery.")
@click.option("--seed", type=int, help="Makes the timing repeatable.")
@click.option(
    "--record",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that gets a JSON line for every accepted message, before its answer.",
)
@click.option("--unordered", is_flag=True, help="Post a recipient's events side by side, in any order.")
@click.option("--rate", type=float, help="Messages per second; what exceeds it is queued. No limit unless given.")
@click.option("--queue-seconds", default=900.0, show_default=True, help="How long the queue is; then 429.")
@click.option("--searches", default=3500, show_default=True, help="How often GET /messages may be asked ...")
@click.option("--search-seconds", default=300.0, show_default=True, help="... in how many seconds.")
@click.option("--token-seconds", default=3600.0, show_default=True, help="How long an access token is good.")
@_one_of("--request", RequestFate, default="accept", what="What becomes of a request to send")
@_one_of("--callbacks", CallbackShape, default="normal", what="What callbacks look like")
@said_in_one_sentence
def simulate(request: str, callbacks: str, **options: Any) -> None:
    """Run a Bandwidth on this machine; recipients' numbers choose their fate (see the README)."""
    switches = Switches(request=RequestFate(request), callbacks=CallbackShape(callbacks))
    try:
        simulator = Simulator(SimulatorOptions(switches=switches, **options))
    except ValueError as error:
        end(f"The options are wrong: {error}.", EXIT_USAGE)
    except OSError as error:
        end(f"The record cannot be written: {error.strerror or error}", EXIT_WRONG)
    try:
        simulator.start()
    except OSError as error:
        end(f"Cannot listen: {error.strerror or error}", EXIT_WRONG)
    # A shell's background job would ignore SIGINT.
    for each in {signal.SIGINT, signal.SIGTERM, *heeded(signal.SIGHUP)}:
        signal.signal(each, signal.default_int_handler)
    with simulator:
        fates = [(each.number, each.meaning) for each in MAGIC_NUMBERS]
        terminal.show_rows(out, ("recipient", terminal.SENTENCES), fates)
        say(f"BANDWIDTH_TOKEN_URL={simulator.token_url}", on=out)
        say(f"BANDWIDTH_API_URL={simulator.url}", on=out)
        simulator.serve_forever()


@main.command(name="demo")
@said_in_one_sentence
def run_demo() -> None:
    """Show the whole loop on this machine: simulator, server, a group message, its events, the answers."""
    demo.run(out)
