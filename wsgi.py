"""For any WSGI server: ``wsgi:app``."""

import os

from receiver.app import from_environment
from receiver.metrics import FOLDER

app = from_environment(os.environ.get(FOLDER))
