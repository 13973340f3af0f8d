"""The lines of a log, as the fixture `logged` gives them."""

from collections.abc import MutableMapping
from typing import Any

Lines = list[MutableMapping[str, Any]]
