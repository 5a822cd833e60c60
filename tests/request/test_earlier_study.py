"""Previous: is an earlier model compared as it is and trained further, on rows that it has not seen?"""

from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import warmstart
from tests.tiny import COLORS, MATERIALS, ROOMS, SIZES
from warmstart.data.rows.split import Rows, Splits, text_hashes
from warmstart.errors import InputError, UsageError
from warmstart.inference.earlier_model import EarlierModel
from warmstart.inference.model_store import Network
from warmstart.inference.predict import load_model_for_prediction
from warmstart.models.model import Model
from warmstart.models.pretrained.base import Base
from warmstart.regimes.starts import random_state
from warmstart.request.earlier_study import continued_regime, find_earlier_study
from warmstart.request.read_data import prepare_data
from warmstart.request.request import Request, load_request
from warmstart.results.record import load_run
from warmstart.runtime.files import read_json
from warmstart.tasks.tasks import task_for
from warmstart.training.build_model import head_for


def rows(start: int, count: int) -> pd.DataFrame:
    titles = [f"{s} {c} {m} {t}" for m in MATERIALS for t in ROOMS for s in SIZES for c in COLORS]
    order = np.random.default_rng(0).permutation(len(titles))[start : start + count]
    taken = [titles[i] for i in order]
    price = [float(10 * len(title) + i) for i, title in enumerate(taken)]
    return pd.DataFrame({"title": taken, "room": [ROOMS[t.split()[-1]] for t in taken], "price": price})


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    rows(0, 120).to_csv(folder / "old.csv", index=False)
    rows(120, 120).to_csv(folder / "new.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def earlier(table: Path, base: Base) -> dict[str, Path]:
    found = {}
    for name, target, regime in (
        ("linear", "room", "linear"),
        ("network", "room", "full"),
        ("number", "price", "frozen"),
        ("wide", "price", "scratch-dnn"),
    ):
        found[name] = table / name
        warmstart.fit(
            table / "old.csv", target, regime=regime, out=table / name, text="title", base=base.location,
            trials=1, length=0.02, log=False,
        )  # fmt: skip
    return found


def request(table: Path, previous: Path, file: str = "new.csv", target: str = "room") -> Request:
    return Request((str(table / file),), target, command="compare", previous=str(previous))


@pytest.mark.parametrize("name", ["network", "number", "wide"])
def test_before_its_first_step_a_continued_model_predicts_what_it_did(
    name: str, earlier: dict[str, Path], table: Path
) -> None:
    """Also where the new rows have fewer classes, or numbers of another size."""
    some = rows(120, 120)
    some = some[some.room != "hall"].assign(price=some.price * 3 + 50)
    some.to_csv(table / f"{name}.csv", index=False)
    target = "room" if name == "network" else "price"
    prepared = prepare_data(request(table, earlier[name], f"{name}.csv", target))
    known, task = EarlierModel(earlier[name]), task_for(prepared.schema, prepared.splits)
    test = prepared.splits.test
    unchanged = known.fitted(task).baseline.outputs(test.texts, test.columns)
    start = continued_regime(known).start.fitted(task, prepared.splits.train, prepared.schema.columns)
    with random_state(0):
        body = start.body(0)
        model = Model(body, *head_for(body, start, task, 0)).eval()
    assert np.allclose(Network(model, start.inputs).outputs(test.texts, test.columns), unchanged, atol=1e-4)
    own = load_model_for_prediction(earlier[name]).predict([{"title": text} for text in test.texts])
    said = task.predictions(unchanged, {})["prediction"]
    if target == "price":
        assert np.allclose(said, [row["prediction"] for row in own], rtol=1e-3)
    else:
        classes = task.to_json()["classes"]
        there = [(a, row["prediction"]) for a, row in zip(said, own, strict=True) if row["prediction"] in classes]
        assert there and all(a == b for a, b in there)


def test_a_comparison_holds_the_old_model_as_it_is_and_trained_further(
    earlier: dict[str, Path], table: Path, tmp_path: Path, base: Base
) -> None:
    study = warmstart.compare(
        table / "new.csv", "room", previous=str(earlier["network"]), regimes="linear", base=base.location,
        seeds=1, trials=1, length=0.2, lr=3e-3, refit="none", log=False, out=tmp_path / "study",
    )  # fmt: skip
    assert {"previous", "continued", "continued-mixed", "linear", "constant"} == set(study.comparison.names)
    families = {run.regime: run.family for run in study.comparison.runs}
    assert (families["previous"], families["continued"]) == ("previous", "continued")
    # `continued` sees the new rows alone, the others both; all of them are ranked on the same new test rows.
    runs = {run.regime: run for run in study.comparison.runs}
    assert {run.rows for run in runs.values()} == {study.comparison.rows["train"]}
    assert runs["continued"].epochs == runs["continued"].steps / ceil(84 / 16)
    assert runs["continued-mixed"].epochs == runs["continued-mixed"].steps / ceil(180 / 16)
    # What each forgot is measured on the old model's own test rows, against the old model.
    old = study.comparison.old_scores
    assert {name: each.rows for name, each in old.items()} == dict.fromkeys(runs, 24)
    before = load_run(earlier["network"])
    assert old["previous"].lost is None and old["previous"].score.value == pytest.approx(before.test)
    continued = old["continued"]
    assert continued.lost is not None
    assert continued.lost.value == pytest.approx(old["previous"].score.value - continued.score.value)
    facts = read_json(tmp_path / "study" / "comparison.json", dict[str, Any])
    written = {each["name"]: each["old_rows"] for each in facts["regimes"]}
    assert written["continued"]["lost"] == pytest.approx(continued.lost.value)
    assert "On the 24 old test rows" in study.advice.reason
    assert "Forgotten: worse than the old model by" in (tmp_path / "study" / "report.html").read_text()
    (kept,) = (tmp_path / "study" / "runs").glob("previous-*")
    assert load_run(kept).cost.trainable == 0
    new = rows(200, 5)[["title"]].to_dict("records")
    before, after = (load_model_for_prediction(folder).predict(new) for folder in (earlier["network"], kept))
    assert before == after, "it is handed over as it is"


def test_no_row_that_the_old_model_learned_from_is_tested(earlier: dict[str, Path], table: Path) -> None:
    old = prepare_data(load_request(earlier["linear"])).splits
    learned = np.concatenate([text_hashes(old.train), text_hashes(old.val)])
    fresh = rows(120, 200)
    # Equal rows divide alike, so that old training rows mostly come into the training part; groups change that.
    pd.concat([rows(0, 120), fresh]).assign(lot=lambda t: np.arange(len(t)) % 40).to_csv(
        table / "both.csv", index=False
    )
    asked = Request((str(table / "both.csv"),), "room", group="lot", command="compare")
    planted = prepare_data(replace(asked, text=("title",))).splits
    held = np.concatenate([text_hashes(planted.val), text_hashes(planted.test)])
    many = int(np.isin(held, learned).sum())
    assert many > 5
    prepared = prepare_data(replace(asked, previous=str(earlier["linear"])))
    for part in (prepared.splits.val, prepared.splits.test):
        assert not np.isin(text_hashes(part), learned).any()
    assert any(f"Left out: {many} validation and test rows" in said for said in prepared.dropped)
    assert prepared.splits.fingerprint != planted.fingerprint


def test_old_rows_are_trained_on_beside_the_new_ones_and_never_tested(earlier: dict[str, Path], table: Path) -> None:
    prepared = prepare_data(request(table, earlier["linear"]))
    alone = prepare_data(replace(request(table, earlier["linear"]), previous_data=("none",)))
    old = prepare_data(load_request(earlier["linear"])).splits
    assert prepared.old is not None and alone.old is None
    assert [*prepared.splits.train.texts] == [*alone.splits.train.texts, *old.train.texts, *old.val.texts]
    assert prepared.splits.train.targets.tolist()[84:] == [*old.train.targets, *old.val.targets]
    assert prepared.splits.test is not None and [*prepared.splits.test.texts] == [*alone.splits.test.texts]
    assert [*prepared.old.test.texts] == [*old.test.texts]
    numbers = np.concatenate([part.numbers for part in (*vars_of(prepared.splits), prepared.old.test)])
    assert len(np.unique(numbers)) == len(numbers), "rows are known by their numbers"
    assert np.array_equal(prepared.old.numbers, prepared.splits.train.numbers[84:])
    assert prepared.splits.fingerprint != alone.splits.fingerprint
    assert "96 old rows were added to 84 new training rows" in " ".join(prepared.dropped)
    assert "on the new rows alone" in " ".join(alone.dropped)


def vars_of(splits: Splits) -> tuple[Rows, ...]:
    return splits.train, splits.val, splits.test


def test_old_rows_that_have_changed_or_are_gone_are_one_message(
    earlier: dict[str, Path], table: Path, tmp_path: Path
) -> None:
    asked = request(table, earlier["linear"])
    changed = rows(0, 120).assign(room=lambda t: t.room.iloc[::-1].to_numpy())
    changed.to_csv(tmp_path / "changed.csv", index=False)
    for files, said in (
        ((str(tmp_path / "changed.csv"),), "its rows have changed since (fingerprint "),
        ((str(tmp_path / "gone.csv"),), "its rows cannot be read: "),
    ):
        with pytest.raises(UsageError) as raised:
            prepare_data(replace(asked, previous_data=files))
        assert said in raised.value.message and "--previous-data none" in str(raised.value.hint)
    moved = tmp_path / "moved.csv"
    rows(0, 120).to_csv(moved, index=False)
    assert prepare_data(replace(asked, previous_data=(str(moved),))).old is not None


def test_an_old_test_row_that_is_trained_on_now_is_not_asked_for(earlier: dict[str, Path], table: Path) -> None:
    old = prepare_data(load_request(earlier["linear"])).splits
    again = pd.DataFrame({"title": [*old.test.texts], "room": old.test.targets, "price": 1.0})
    pd.concat([rows(120, 120), again]).to_csv(table / "again.csv", index=False)
    prepared = prepare_data(request(table, earlier["linear"], "again.csv"))
    assert prepared.old is not None and len(prepared.old.test) < len(old.test)
    assert not np.isin(text_hashes(prepared.old.test), text_hashes(prepared.splits.train)).any()


def test_renamed_columns_are_read_by_their_old_names(earlier: dict[str, Path], table: Path) -> None:
    rows(120, 120).rename(columns={"title": "name", "room": "place"}).to_csv(table / "renamed.csv", index=False)
    plain = prepare_data(request(table, earlier["linear"]))
    asked = request(table, earlier["linear"], "renamed.csv", target="place")
    found = prepare_data(replace(asked, rename=("title=name", "room=place"), text=("name",)))
    assert found.splits.fingerprint == plain.splits.fingerprint
    assert (found.schema.text, found.schema.target) == (("title",), "room")


def test_models_made_from_a_renamed_table_read_its_names_and_the_old_ones(
    earlier: dict[str, Path], table: Path, tmp_path: Path
) -> None:
    new = rows(120, 120).rename(columns={"title": "name"})
    study = warmstart.compare(
        new, "room", previous=str(earlier["linear"]), rename="title=name", regimes="linear", seeds=1, log=False,
        out=tmp_path / "study",
    )  # fmt: skip
    for run in study.comparison.runs:
        if run.regime in ("linear", "previous"):
            model = load_model_for_prediction(study.folder / "runs" / run.id)
            assert model.predict(new) == model.predict(rows(120, 120)), run.regime
    rows(240, 120).rename(columns={"title": "name"}).to_csv(tmp_path / "third.csv", index=False)
    again = prepare_data(Request((str(tmp_path / "third.csv"),), "room", command="compare", previous=str(study.folder)))
    assert again.schema.text == ("title",) and again.schema.other_names == {"name": "title"}


@pytest.mark.parametrize(
    ("rename", "error", "said"),
    [
        ((), InputError, "needs columns 'title', 'room', which are not there"),
        (("title=nam", "room=place"), InputError, "there is no column 'nam'"),
        (("titel=name",), UsageError, "the earlier model has no column 'titel'"),
        (("title",), UsageError, "rename is 'title'"),
        (("title=name", "room=name"), UsageError, "given before"),
        (("title=name", "room=place"), None, ""),
    ],
)
def test_a_wrong_rename_is_one_message(
    rename: tuple[str, ...], error: type[Exception] | None, said: str, earlier: dict[str, Path], table: Path
) -> None:
    rows(120, 120).rename(columns={"title": "name", "room": "place"}).to_csv(table / "both.csv", index=False)
    asked = replace(request(table, earlier["linear"], "both.csv"), target=None, rename=rename)
    if error is None:
        prepare_data(asked)
        rows(120, 120).assign(name="x").to_csv(table / "twice.csv", index=False)
        with pytest.raises(UsageError, match="has a column 'title' too"):
            prepare_data(replace(asked, data=(str(table / "twice.csv"),), rename=("title=name",)))
        return
    with pytest.raises(error) as raised:
        prepare_data(asked)
    assert said in str(raised.value)


def test_what_the_old_model_cannot_do_is_refused(earlier: dict[str, Path], table: Path) -> None:
    new = rows(120, 120)
    cellars = new.assign(room=["cellar", "cellar", *new.room[2:]])
    for name, changed, target, error, said in (
        ("class", cellars, "room", UsageError, "1 new class: 'cellar' (2 rows)"),
        ("column", new.rename(columns={"title": "name"}), "room", InputError, "needs column 'title'"),
        ("target", new, "price", UsageError, "its target is 'room', not 'price'"),
    ):
        changed.to_csv(table / f"{name}.csv", index=False)
        with pytest.raises(error) as raised:
            prepare_data(request(table, earlier["linear"], f"{name}.csv", target))
        assert said in raised.value.message
    with pytest.raises(UsageError, match="is no folder"):
        find_earlier_study(str(table / "nowhere"))
    with pytest.raises(UsageError, match="for compare"):
        Request(("x.csv",), "y", command="fit", previous="old")


@pytest.mark.parametrize("name", ["network", "wide"])
def test_shrunk_weights_are_a_share_of_the_old_ones_with_a_little_noise(
    name: str, earlier: dict[str, Path], table: Path
) -> None:
    target = "room" if name == "network" else "price"
    prepared = prepare_data(request(table, earlier[name], target=target))
    known, task = EarlierModel(earlier[name]), task_for(prepared.schema, prepared.splits)

    def body(shrink: float | None, seed: int = 0) -> dict[str, torch.Tensor]:
        regime = continued_regime(known, shrink=shrink)
        start = regime.start.fitted(task, prepared.splits.train, prepared.schema.columns)
        return {name: p.detach() for name, p in start.body(seed).named_parameters()}

    old, shrunk, again, other = body(None), body(0.4), body(0.4), body(0.4, seed=1)
    matrices = [name for name, p in old.items() if p.ndim > 1 and p.any()]
    assert matrices
    for each in matrices:
        noise = shrunk[each] - 0.4 * old[each]
        assert float(noise.square().mean().sqrt() / old[each].square().mean().sqrt()) == pytest.approx(0.1, rel=0.3)
        assert torch.equal(shrunk[each], again[each]) and not torch.equal(shrunk[each], other[each])
    for each in old.keys() - set(matrices):
        assert torch.equal(shrunk[each], old[each]), "biases and norms stay"
    assert "weights times 0.4" in continued_regime(known, shrink=0.4).start.name


def test_shrink_is_for_an_earlier_model() -> None:
    with pytest.raises(UsageError, match="shrink says nothing without previous"):
        Request(("x.csv",), "y", command="compare", shrink=0.0)
