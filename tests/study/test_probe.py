"""Probe: a model that looks at a term moves with it, one that does not stays; wrong input is told."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import warmstart
from tests.cli_base import QUICK, call, write_csv
from warmstart.data.rows.term_swaps import TermPair
from warmstart.inference.model_store import load_model
from warmstart.inference.predict import TrainedModel
from warmstart.models.pretrained.base import Base
from warmstart.results.probe_result import ProbeResult, SwapCases, prediction_change
from warmstart.study.probe import ProbedRows, _cases, _measures

GENDER, COLOR = TermPair("he", "she"), TermPair("red", "blue")
ONE = ("--trials", "1", "--length", "0.01", "--quiet")


def _data(path: Path, rows: int = 400) -> Path:
    """A price that hangs on he or she, by a factor of 10, and not on the color."""
    random = np.random.default_rng(0)
    lines = []
    for number in range(rows):
        who, color = random.choice(["he", "she"]), random.choice(["red", "blue"])
        noun = random.choice(["lamp", "chair", "table", "shelf", "vase"])
        price = (10.0 if who == "he" else 100.0) * random.uniform(0.9, 1.1)
        title = f"{who} sold a {color} {noun} of lot {number}"
        lines.append([title, f"{price:.2f}", "dear" if who == "she" else "cheap"])
    return write_csv(path, ["title", "price", "kind"], lines)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _data(tmp_path_factory.mktemp("data") / "sold.csv")


@pytest.fixture(scope="module")
def study(data: Path, base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("studies") / "study"
    words = ("--target", "price", "--text", "title", "--scale", "log10", "--base", base.location)
    longer = (*QUICK[:-1], "0.2")
    assert call("compare", data, *words, *longer, "--lr", "0.1", "--quiet", "--out", out).code == 0
    return out


@pytest.fixture(scope="module")
def run(data: Path, base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    words = ("--target", "kind", "--text", "title", "--regime", "linear", "--base", base.location)
    assert call("fit", data, *words, *ONE, "--out", out).code == 0
    return out


def _pairs(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_study_side_by_side_kept_and_reported(study: Path, tmp_path: Path) -> None:
    answer = call("probe", study, "--swap", _pairs(tmp_path / "pairs.csv", "he,she\nred,blue\n"), "--json", "--quiet")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)
    assert [regime["name"] for regime in found["regimes"]] == ["linear", "frozen"]
    assert [pair["rows"] for pair in found["pairs"]] == [found["texts"], found["texts"]] == [80, 80]
    linear = found["regimes"][0]
    gender, color = (pair["effects"] for pair in linear["pairs"])
    assert gender["shift"]["interval"][0] > 0.7 and gender["shift"]["value"] == pytest.approx(1, abs=0.5)
    assert gender["moved"]["value"] == pytest.approx(gender["shift"]["value"])  # always the same way
    assert gender["shift_units"]["value"] > 50 and gender["beyond"]["interval"][0] > 0
    assert abs(color["shift"]["value"]) < 0.1 and color["moved"]["value"] < 0.1
    assert found["units"] == "log10(price)"
    kept = ProbeResult.load(study / "probe.json")
    assert kept is not None and json.loads(json.dumps(kept.to_json())) == found
    assert "<h2>Swapped terms</h2>" not in (study / "report.html").read_text()
    assert call("report", study).code == 0
    page = (study / "report.html").read_text()
    assert "<h2>Swapped terms</h2>" in page and "red / blue" in page
    assert "Learned or memorized" in page and "<h2>Calibration</h2>" in page
    shown = call("probe", study, "--swap", tmp_path / "pairs.csv", "--quiet").out
    assert max(map(len, shown.splitlines()[:-1])) <= 80 and "he / she" in shown
    assert "…" not in shown
    (study / "probe.json").write_text('{"task": 1}')
    answer = call("report", study)
    assert answer.code == 2 and "probe.json is damaged" in answer.err
    (study / "probe.json").unlink()


def test_a_run_on_rows_of_its_own(run: Path, data: Path, tmp_path: Path) -> None:
    found = warmstart.api.probe(run, _pairs(tmp_path / "pairs.csv", "he,she\n"), data)
    (regime,) = found.regimes
    assert regime.together.effects["changed"].value > 0.9
    assert regime.together.effects["moved"].value > 0.3  # of the probability
    assert found.texts == 400 and "trained on" in " ".join(found.caveats)
    assert not (run / "probe.json").exists()  # of a study alone


def test_a_term_swapped_for_itself_moves_nothing(study: Path) -> None:
    texts = [f"he sold a red lamp of lot {i}" for i in range(40)]
    _, cases, changed = _cases(texts, [TermPair("he", "he")], 100, spoken=False)
    for each in ("linear", "frozen"):
        folder = next((study / "runs").glob(f"{each}-*"))
        measures = _measures(TrainedModel(load_model(folder), folder), changed, ProbedRows(texts), cases)
        effects = prediction_change(cases, None, [measures]).effects
        assert effects["moved"].value == effects["shift"].value == 0.0
        assert effects["random"].value > 0.0


def test_both_ways_count_towards_the_right_term() -> None:
    """A model that adds 1 for the right term: from either side."""
    cases = SwapCases(np.arange(100), np.zeros(100, dtype=np.int64))
    random = np.random.default_rng(0)
    shift = 1 + random.normal(0, 0.1, 100)
    found = prediction_change(cases, 0, [{"moved": np.abs(shift), "shift": shift, "random": np.full(100, np.nan)}])
    assert found.effects["shift"].interval.low < 1 < found.effects["shift"].interval.high
    assert found.effects.keys() == {"moved", "shift"}  # no text had another word: nothing is said of any


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("he\n", "expected two"),
        ("he,\n", "a term is empty"),
        ("he,he\n", "swapped for itself"),
        ("he,she\nqueen,king\n", "the pair stands in none of 80 texts as whole words: queen,king"),
    ],
)
def test_wrong_pairs(text: str, said: str, study: Path, tmp_path: Path) -> None:
    answer = call("probe", study, "--swap", _pairs(tmp_path / "pairs.csv", text), "--quiet")
    assert answer.code == 2 and said in answer.err and answer.out == "" and "Traceback" not in answer.err


def test_a_study_whose_models_are_gone(study: Path, tmp_path: Path) -> None:
    left = tmp_path / "left"
    shutil.copytree(study, left)
    for model in (left / "runs").glob("*/model.json"):
        model.unlink()
    answer = call("probe", left, "--swap", _pairs(tmp_path / "pairs.csv", "he,she\n"), "--quiet")
    assert answer.code == 2 and "has a model" in answer.err and "train again" in answer.err


def test_wrong_folders(run: Path, study: Path, tmp_path: Path) -> None:
    pairs = _pairs(tmp_path / "pairs.csv", "he,she\n")
    for words, said in (
        ((tmp_path / "nowhere", "--swap", pairs), "there is no folder"),
        ((tmp_path, "--swap", pairs), "holds no finished run or study"),
        ((study, "--swap", tmp_path / "no.csv"), "there is no file"),
        ((run, "--swap", pairs), "has kept no texts"),
    ):
        answer = call("probe", *words, "--quiet")
        assert answer.code == 2 and said in answer.err and "hint" in answer.err
