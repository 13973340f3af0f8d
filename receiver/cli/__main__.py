"""`python -m receiver.cli` is `receiver`."""

from receiver.cli import main

main()
