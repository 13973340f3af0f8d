"""For any WSGI server: ``wsgi:app``."""

from receiver.app import from_environment

app = from_environment()
