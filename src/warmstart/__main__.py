"""Main: what does `python -m warmstart` do? The same as `warmstart`; torchrun starts it so."""

from warmstart.cli import main

main()
