"""python -m autoseg: the command line, as torchrun starts it."""

from autoseg.cli.app import main

main()
