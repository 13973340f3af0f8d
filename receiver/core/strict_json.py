"""JSON as RFC 8259 has it: numbers of any length, but no NaN and no Infinity."""

import json
from typing import NoReturn

NO_NUMBER = " is not a JSON number"
"""Ends what is said about NaN and Infinity, whose place the decoder does not tell."""


def _refuse_constant(literal: str) -> NoReturn:
    raise json.JSONDecodeError(literal + NO_NUMBER, literal, 0)


def number(literal: str) -> int | float:
    """The integer that a JSON text writes; a float if it has twenty digits or more."""
    # int() refuses more than 4,300 digits, which are JSON all the same; no number of such length is ever used.
    return int(literal) if len(literal) < 20 else float(literal)


DECODER = json.JSONDecoder(parse_int=number, parse_constant=_refuse_constant)

LENIENT_DECODER = json.JSONDecoder(parse_int=number, parse_constant=_refuse_constant, strict=False)
"""Reads raw control characters inside strings, too."""
