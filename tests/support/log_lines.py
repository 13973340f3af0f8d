"""The type of the log lines that the fixture `logged` collects."""

from collections.abc import MutableMapping
from typing import Any

Lines = list[MutableMapping[str, Any]]
