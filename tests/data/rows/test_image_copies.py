"""Image copies: are the same photos in another size, format or brightness found, and no others?"""

import io

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw

from tests.pictures import encoded
from warmstart.data.rows.check import find_problems
from warmstart.data.rows.image_copies import find_image_copies
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import ColumnChoices
from warmstart.data.tables.images import read_images
from warmstart.data.tables.in_memory import table_of
from warmstart.types import Array


def scene(number: int) -> Array:
    """uint8 [64, 64, 3]: some disks on a ground that becomes lighter."""
    dice = np.random.default_rng(number)
    ground = np.linspace(dice.integers(0, 120, 3), dice.integers(120, 255, 3), 64 * 64).reshape(64, 64, 3)
    image = Image.fromarray(ground.astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, r = (int(each) for each in dice.integers((0, 0, 4), (60, 60, 16)))
        pen.ellipse((x, y, x + r, y + r), fill=tuple(int(each) for each in dice.integers(0, 255, 3)))
    return np.asarray(image)


def saved(pixels: Array, kind: str, **how: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **how)
    return file.getvalue()


def test_another_size_format_or_brightness_is_a_near_copy() -> None:
    first = [encoded(scene(number)) for number in range(40)]
    smaller = saved(np.asarray(Image.fromarray(scene(3)).resize((40, 40))), "PNG")
    lossy = saved(scene(7), "JPEG", quality=60)
    darker = saved((scene(11) * 0.8).astype(np.uint8), "PNG")
    table = table_of({"photo": pa.array([*first, first[5], smaller, lossy, darker], pa.binary())})
    copies = find_image_copies(read_images(table, "photo", 64))
    assert copies.exact.tolist() == [[5, 40]]
    assert copies.near.tolist() == [[3, 41], [7, 42], [11, 43]]


def test_flat_and_missing_images_are_copies_of_nothing() -> None:
    flat = [encoded(np.full((12, 12, 3), shade, np.uint8)) for shade in (0, 90, 91, 255)]
    faint = np.arange(12).repeat(12).reshape(12, 12, 1) // 6  # a shade, as a lens leaves it
    shaded = [encoded((faint + shade).repeat(3, axis=2).astype(np.uint8)) for shade in (30, 200)]
    table = table_of({"photo": pa.array([*flat, *shaded, None, None], pa.binary())})
    copies = find_image_copies(read_images(table, "photo", 12))
    assert not len(copies.exact) and not len(copies.near)


def test_copies_across_the_split_are_told() -> None:
    """Also beside texts that differ."""
    photos = [encoded(scene(number)) for number in range(60)]
    lossy = [saved(scene(number), "JPEG", quality=70) for number in range(60)]
    columns: dict[str, object] = {"photo": pa.array([*photos, *lossy], pa.binary())}
    things = ("lamp", "bowl", "chair", "shelf", "frame", "table")
    titles = [f"{word} made of {other}" for word in things for other in range(20)]
    table = table_of({**columns, "title": titles, "price": [float(i % 17) + 0.5 for i in range(120)]})
    found = find_problems(table, infer_schema(table, ColumnChoices(target="price")))
    messages = {finding.kind: finding.message for finding in found.findings}
    assert messages["near-duplicates"] == "60 rows have nearly the image of an earlier row."
    assert "have a copy or near copy of their image among the training rows" in messages["copies-across-split"]
