"""Renamed columns: which columns of a new table does an earlier model know by another name?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from warmstart.data.schema.schema import ColumnChoices, Schema
from warmstart.data.tables.read import Table
from warmstart.errors import InputError, UsageError, did_you_mean, join_phrases


def parse_renames(named: Sequence[str]) -> dict[str, str]:
    """Names in the new table -> names that the earlier model knows, from OLD=NEW.

    Raises UsageError for anything else, and for a name given twice.

    >>> parse_renames(["title=name"])
    {'name': 'title'}
    """
    found: dict[str, str] = {}
    for each in named:
        old, equal, new = each.partition("=")
        if not (old and equal and new):
            raise UsageError(f"rename is {each!r}.", "write OLD=NEW, e.g. --rename title=name")
        if new in found or old in found.values():
            raise UsageError(f"rename {each!r}: one of its names was given before.", "name each column once")
        found[new] = old
    return found


def rename_columns(table: Table, renames: Mapping[str, str], schema: Schema) -> Table:
    """The table with columns named as the earlier model, of this schema, knows them.

    Raises UsageError for a name that it does not know or that is there already, InputError for a column that is not
    there.
    """
    there, where = table.columns.column_names, join_phrases(table.files, 3)
    known = [*schema.text, schema.target]
    for new, old in renames.items():
        if old not in known:
            raise UsageError(
                f"--rename {old}={new}: the earlier model has no column {old!r}.", did_you_mean(old, known)
            )
        if new not in there:
            raise InputError(f"{where}: --rename {old}={new}: there is no column {new!r}", did_you_mean(new, there))
        if old in there and old not in renames:
            raise UsageError(f"--rename {old}={new}: {where} has a column {old!r} too.", "leave out --rename")
    return table.renamed(renames)


def rename_choices(asked: ColumnChoices, renames: Mapping[str, str]) -> ColumnChoices:
    """What was said about columns by their new names, by the names that the earlier model knows."""

    def old(name: str) -> str:
        return renames.get(name, name)

    return replace(
        asked,
        target=old(asked.target),
        text=tuple(map(old, asked.text)),
        group=old(asked.group) if asked.group else None,
        time=old(asked.time) if asked.time else None,
        kinds={old(name): kind for name, kind in asked.kinds.items()},
    )
