"""Servers that answer what the doctor asks, down to the byte."""

from tests.bandwidth.conftest import serve

__all__ = ["serve"]
