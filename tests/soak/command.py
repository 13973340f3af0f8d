"""What the commands of the long runs have in common: their options, and how they begin."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from random import Random

from tests.support.databases import ENGINES


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options ``--seed`` and ``--engine``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seed", type=int, default=Random().randrange(10**6), help="drawn unless given, and printed")
    parser.add_argument("--engine", choices=ENGINES, action="append", help="both unless given")
    return parser


def begin(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options of the command line. From here on logs are silent, and SIGTERM also ends what the run started."""
    options = parser.parse_args()
    options.engine = options.engine or ENGINES
    logging.getLogger().addHandler(logging.NullHandler())  # the report says what went wrong
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    return options
