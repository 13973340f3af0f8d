"""Sends group MMS through Bandwidth and knows one truthful outcome per recipient."""

from importlib.metadata import version

VERSION = version("bandwidth-receiver")
"""What setup.cfg says, as it was installed."""
