"""A Bandwidth that runs on this machine, for the demo, the tests and a staging set-up.

It answers the create-message request with Bandwidth's own checks and errors and makes the callbacks about it. The
number of a recipient chooses what becomes of that recipient (fates.py); switches choose what becomes of a request
and how callbacks look (options.py).
"""

from receiver.simulator.fates import MAGIC_NUMBERS, MagicNumber
from receiver.simulator.messages import Attempt, Callback, Message
from receiver.simulator.options import CallbackShape, RequestFate, SimulatorOptions, Switches
from receiver.simulator.simulator import Simulator

__all__ = [
    "MAGIC_NUMBERS",
    "Attempt",
    "Callback",
    "CallbackShape",
    "MagicNumber",
    "Message",
    "RequestFate",
    "Simulator",
    "SimulatorOptions",
    "Switches",
]
