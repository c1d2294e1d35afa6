"""`python -m palletlab`."""

from palletlab.cli import main

main()
