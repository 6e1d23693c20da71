"""python -m autoseg.cli: the command line, as scripts of earlier versions call it."""

from autoseg.cli.app import main

main()
