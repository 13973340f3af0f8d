"""Programs that pip does not bring: `make debian`, and so CI, installs them; elsewhere their tests skip, visibly."""

from __future__ import annotations

import os
import shutil

import pytest

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def program(name: str) -> str:
    """The path of a program. Where it is missing the test is skipped; in CI, which must have it, it fails."""
    found = shutil.which(name, path=PATH)
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{name} is not here; run `make debian`")
    return found
