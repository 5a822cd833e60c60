"""What is gained by reading images beside columns? A catalog with drawn photos and a known law of prices.

    python benchmarks/photo_catalog.py --rows 2000 --out benchmarks/results/photo_catalog.json

Each product has a photo (a shape of some size, color and number of studs, somewhere on a noisy background), a title of
a few words, a brand and a weight. The logarithm of its price is a sum of what the photo shows, of what the other
columns say, and of noise that nothing can predict, which is the floor. The same regimes are compared three times: on
the photo alone, on the other columns alone, and on both; same rows, same split, same seeds.
"""

import argparse
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

import warmstart
from harness import RESULTS
from warmstart.runtime.environment import current_environment
from warmstart.runtime.files import write_json

SIDE = 48  # pixels
COLORS = {"red": (0.10, (200, 50, 45)), "green": (-0.05, (60, 160, 70)), "blue": (0.0, (50, 80, 190)),
          "gold": (0.25, (215, 175, 60)), "gray": (-0.15, (128, 128, 132))}  # fmt: skip
SHAPES = {"box": 0.0, "ring": 0.2, "lamp": 0.1}
BRANDS = {"Alder": 0.0, "Birch": 0.15, "Cedar": -0.1, "Dogwood": 0.05}
WORDS = {"handmade": 0.15, "used": -0.2, "new": 0.0, "solid": 0.05, "compact": 0.0, "limited": 0.1}
NOISE = 0.06  # standard deviation, of log10(price)
FLOOR = NOISE * float(np.sqrt(2 / np.pi))  # mean absolute error of the law itself
READS = {
    "photo": ["photo"],
    "columns": ["title", "brand", "weight_kg"],
    "both": [],  # every column
}


def catalog(rows: int, seed: int) -> pd.DataFrame:
    """`photo` (bytes of PNG), `title`, `brand`, `weight_kg`, `price`."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(rows):
        color, shape = str(generator.choice([*COLORS])), str(generator.choice([*SHAPES]))
        brand, words = str(generator.choice([*BRANDS])), generator.choice([*WORDS], 2, replace=False).tolist()
        size, studs = int(generator.integers(10, 23)), int(generator.integers(0, 4))
        weight = float(np.round(generator.lognormal(0.5, 0.6), 2))
        price = 1.3 + COLORS[color][0] + SHAPES[shape] + 0.03 * (size - 10) + 0.08 * studs
        price += BRANDS[brand] + sum(WORDS[word] for word in words) + 0.4 * np.log10(weight + 0.1)
        price += float(generator.normal(0, NOISE))
        made.append({
            "photo": _drawn(generator, shape, COLORS[color][1], size, studs),
            "title": f"{words[0]} {words[1]} object",
            "brand": brand,
            "weight_kg": weight,
            "price": round(float(10**price), 2),
        })  # fmt: skip
    return pd.DataFrame(made)


def _drawn(generator: np.random.Generator, shape: str, color: tuple[int, ...], size: int, studs: int) -> bytes:
    ground = generator.integers(205, 245, (SIDE, SIDE, 3)).astype(np.uint8)
    image = Image.fromarray(ground)
    pen = ImageDraw.Draw(image)
    left, top = (int(generator.integers(1, SIDE - size - 1)) for _ in range(2))
    shade: Any = tuple(int(np.clip(each + generator.integers(-15, 16), 0, 255)) for each in color)
    box = (left, top, left + size, top + size)
    if shape == "box":
        pen.rectangle(box, fill=shade)
    elif shape == "ring":
        pen.ellipse(box, outline=shade, width=4)
    else:
        pen.polygon([(left, top + size), (left + size // 2, top), (left + size, top + size)], fill=shade)
    for place in range(studs):
        x = left + 2 + place * 5
        pen.ellipse((x, top + size - 5, x + 3, top + size - 2), fill=(20, 20, 20))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", default="none", help="for each of the three comparisons, such as 10m")
    parser.add_argument("--reads", nargs="+", choices=[*READS], default=[*READS])
    parser.add_argument("--regimes", nargs="+", help="default: those of a comparison")
    parser.add_argument("--image-size", type=int, default=64, help="pixels a side that every regime reads")
    parser.add_argument("--out", type=Path, default=RESULTS / "photo_catalog.json")
    asked = parser.parse_args()
    table = catalog(asked.rows, asked.seed)
    for name in asked.reads:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "catalog.parquet"
            table.to_parquet(path)
            settings: dict[str, Any] = {"text": READS[name]} if READS[name] else {}
            settings |= {"image_size": asked.image_size} if name != "columns" else {}
            suited = [each for each in asked.regimes or () if name != "photo" or each != "boosted"]
            settings |= {"regimes": suited} if suited else {}
            settings |= {"budget": asked.budget} if asked.budget != "none" else {}
            study = warmstart.compare(path, "price", Path(folder) / "study", quiet=True, seeds=1, **settings)
            lines = [
                {
                    "regime": row["name"],
                    "score": row["score"],
                    "rows": row["rows"],
                    "interval": row["interval"],
                    "seconds": row["cost"]["seconds"],
                }
                for row in study.comparison.to_json()["regimes"]
            ]
        found: dict[str, Any] = {"rows": asked.rows, "seed": asked.seed, "reads": name, "image_size": asked.image_size}
        found |= {"floor": round(FLOOR, 4), "regimes": lines}
        for line in lines:
            print(name, *line.values(), flush=True)
        known = json.loads(asked.out.read_text())["results"] if asked.out.exists() else []
        key = ("rows", "seed", "reads")
        others = [each for each in known if [each[part] for part in key] != [found[part] for part in key]]
        write_json(asked.out, {"environment": vars(current_environment("fp32")), "results": [*others, found]})


if __name__ == "__main__":
    main()
