"""`receiver` that neither logs callbacks nor counts them: what the two cost is the difference to the service itself.

    python -m tests.benchmarks.quiet serve --port 8080

The processes of the server are forked from this one, so they find the same names replaced.
"""

from __future__ import annotations

from importlib import import_module

from receiver.cli import main

SILENCED = (
    ("receiver.metrics", "count_callback"),
    ("receiver.metrics", "set_waiting"),
    ("receiver.events.notes", "publish"),
    ("receiver.web.callbacks", "_log_stored"),
)
"""The functions through which the log line and the metrics of a callback are written, by their modules."""


def silence() -> None:
    """Replaces these functions with one that does nothing. Raises AttributeError if one is not there any more."""
    for module_name, name in SILENCED:
        module = import_module(module_name)
        getattr(module, name)
        setattr(module, name, _do_nothing)


def _do_nothing(*_: object, **__: object) -> None:
    pass


if __name__ == "__main__":
    silence()
    main()
