"""A Bandwidth that runs on this machine, for the demo, the tests and a staging set-up.

It answers the create-message request with Bandwidth's own checks and errors and makes the callbacks about it. The
number of a recipient chooses what becomes of that recipient (fates.py); switches choose what becomes of a request,
to send or for a token, and how callbacks look (switches.py).
"""

from receiver.simulator.callbacks import Attempt, Callback, Message
from receiver.simulator.fates import MAGIC_NUMBERS, MagicNumber
from receiver.simulator.options import SimulatorOptions
from receiver.simulator.simulator import Simulator
from receiver.simulator.switches import (
    Accident,
    Action,
    CallbackShape,
    Point,
    RequestFate,
    SearchShape,
    Switches,
    TokenFate,
)

__all__ = [
    "MAGIC_NUMBERS",
    "Accident",
    "Action",
    "Attempt",
    "Callback",
    "CallbackShape",
    "MagicNumber",
    "Message",
    "Point",
    "RequestFate",
    "SearchShape",
    "Simulator",
    "SimulatorOptions",
    "Switches",
    "TokenFate",
]
