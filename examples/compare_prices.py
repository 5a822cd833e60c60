"""Which way of training predicts these prices best, and what does the winner say of a new product?

Run `warmstart demo` first: it leaves a catalog of products in demo/catalogue.csv.
"""

import sys
from typing import Any

import warmstart


def main(data: str = "demo/catalogue.csv", out: str = "prices", **settings: Any) -> None:
    study = warmstart.compare(data, "price", out, **settings)
    print(study.advice.reason)
    for row in study.comparison.table:
        print(f"{row.name:<15} {row.score:.3f} [{row.interval.low:.3f}, {row.interval.high:.3f}]")
    texts = {"title": "tent", "description": "used", "category": "sports", "brand": "summit"}
    tent = texts | {"weight": 3.8, "rating": 4.5, "in_stock": "yes"}
    print(warmstart.load(out).predict([tent]))  # dollars, with a 90 % interval


if __name__ == "__main__":
    main(*sys.argv[1:])
