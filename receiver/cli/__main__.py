"""`python -m receiver.cli` is the same as `receiver`."""

from receiver.cli import main

main()
