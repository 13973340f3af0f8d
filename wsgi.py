"""The entry point for any WSGI server: ``wsgi:app``."""

import os

from receiver.app import from_environment
from receiver.metrics import FOLDER
from receiver.settings import ENV_FILE

app = from_environment(os.environ.get(FOLDER), settings_file=os.environ.get(ENV_FILE))
