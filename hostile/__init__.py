"""Hostile: what do strangers' files and hard surroundings do to a command? See `python -m hostile --help`."""
