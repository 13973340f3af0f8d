"""Sends group MMS through Bandwidth and knows one truthful outcome per recipient."""
