"""A Bandwidth that runs on this machine, for the demo, the tests and a staging set-up.

It validates create-message requests as Bandwidth does, responds with Bandwidth's errors, and posts callbacks. The
number of a recipient chooses what becomes of that recipient (fates.py); switches choose what becomes of requests to
send or for a token, and what callbacks look like (switches.py).
"""

from receiver.simulator.callbacks import Callback
from receiver.simulator.fates import MAGIC_NUMBERS
from receiver.simulator.simulator import Simulator
from receiver.simulator.switches import (
    Accident,
    Action,
    CallbackShape,
    Point,
    RequestFate,
    SearchShape,
    SimulatorOptions,
    Switches,
    TokenFate,
)

__all__ = [
    "MAGIC_NUMBERS",
    "Accident",
    "Action",
    "Callback",
    "CallbackShape",
    "Point",
    "RequestFate",
    "SearchShape",
    "Simulator",
    "SimulatorOptions",
    "Switches",
    "TokenFate",
]
