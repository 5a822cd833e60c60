"""Image column: does a column of a table hold images, and how are they read?"""

import itertools
from dataclasses import replace

import pyarrow as pa

from warmstart.data.schema.columns import Column
from warmstart.data.schema.schema import ColumnChoices
from warmstart.data.tables.cells import present
from warmstart.data.tables.decode_image import IMAGE_ENDINGS
from warmstart.data.tables.images import any_readable, common_side, holds_images
from warmstart.data.tables.read import Table
from warmstart.data.tables.strings import cell_blocks
from warmstart.errors import UsageError, join_phrases

LOOKED_AT = 20  # first cells, to know whether a column holds images
UNREADABLE_IMAGES = f"holds images, but none of the first {LOOKED_AT} is there and can be read"


def image_column(table: Table, columns: ColumnChoices) -> str | None:
    """The column of images that is asked for, or the first that there is; None where there is none.

    Raises UsageError where it is asked for and holds none.
    """
    asked = columns.image or next((name for name, kind in columns.kinds.items() if kind == "image"), None)
    if asked is None:
        names = columns.text or [name for name in table.columns.column_names if name not in columns.not_read]
        free = [name for name in names if name not in columns.kinds]  # the others are asked to be something else
        found = [name for name in free if is_image_column(table, name)]
        return next((name for name in found if name in columns.text or any_readable(table, name, LOOKED_AT)), None)
    if asked in (columns.target, columns.group):
        raise UsageError(f"column {asked!r} cannot be both the images and something else", "choose two columns")
    if not is_image_column(table, asked, only_type=True):
        raise UsageError(
            f"column {asked!r} holds no images: expected paths of files, or their bytes",
            f"paths end in {join_phrases(IMAGE_ENDINGS)} and are relative to the folder of the table",
        )
    return asked


def is_image_column(table: Table, name: str, only_type: bool = False) -> bool:
    """Whether the first cells are images, or paths of some; `only_type`: somebody says that they are."""
    column = table.columns[name]
    if pa.types.is_large_string(column.type):
        first = list(itertools.islice(present(column), LOOKED_AT))
        return bool(first) and (only_type or all(cell.strip().lower().endswith(IMAGE_ENDINGS) for cell in first))
    if only_type and pa.types.is_binary(column.type):
        return True
    cells = (cell for block in cell_blocks(column) for cell in block.slice(0, LOOKED_AT).to_pylist())
    return holds_images(column, list(itertools.islice((cell for cell in cells if cell is not None), LOOKED_AT)))


def read_as_images(table: Table, name: str, columns: ColumnChoices) -> tuple[Column, str]:
    """(how the column is read, what to say of it)"""
    side = columns.image_size or common_side(table, name)
    kind = table.columns[name].type
    how = "paths of images" if pa.types.is_large_string(kind) else "images"
    said = f"{name!r} holds {how}, which are read at {side} x {side} pixels."
    return replace(Column(name, "image"), image_size=side), said
