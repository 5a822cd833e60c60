"""Benchmarks: the arithmetic of the harness, on sides that only pretend to work."""

import json
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad

import bench
import forgetting
import harness
import peers
import pull
import run
import table
import texts
from harness import Contest, Gate, Outcome, Results
from tests.decoders import TEXT, save_decoder
from tests.tiny import CLASSES, tiny_splits
from warmstart.training.config import TrainConfig

ACCURACY = Gate("accuracy", higher_is_better=True, tolerance=0.02)
HERE = {"cpu": "a", "date": "today"}


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def contest(calls: list[str]) -> Contest:
    """Theirs takes 4, 6, 9 seconds, ours 2 each time; ours is a little worse."""
    seconds = iter([4.0, 6.0, 9.0] * 3)

    def theirs() -> Outcome:
        calls.append("A")
        return Outcome(next(seconds), 0.71)

    def ours() -> Outcome:
        calls.append("B")
        return Outcome(2.0, 0.70)

    return Contest("C1", "trainer", "default", theirs, ours, ACCURACY, warm=False)


def test_the_sides_take_turns_in_changing_order_and_each_pair_gives_a_ratio(contest: Contest, calls: list[str]) -> None:
    (row,) = harness.together([contest], 3, HERE)

    assert "".join(calls) == "ABBAAB"
    assert row["ratio"] == {"median": 3.0, "min": 2.0, "max": 4.5}
    assert row["seconds"]["peer"]["median"] == 6.0
    assert {"test", "peer", "setting", "ratio", "quality", "environment"} <= set(row)


def test_peers_of_the_same_work_share_our_side_and_each_has_its_row(contest: Contest, calls: list[str]) -> None:
    def slow() -> Outcome:
        calls.append("C")
        return Outcome(20.0, 0.75)

    rows = harness.together([contest, replace(contest, peer="slow", theirs=slow)], 3, HERE)

    assert "".join(calls) == "ABCCBAABC"
    assert [(row["peer"], row["ratio"]["median"], row["equal"]) for row in rows] == [
        ("trainer", 3.0, True),
        ("slow", 10.0, False),
    ]


@pytest.mark.parametrize(
    ("gate", "ours", "peer", "equal"),
    [
        (ACCURACY, 0.70, 0.715, True),
        (ACCURACY, 0.70, 0.73, False),
        (ACCURACY, 0.90, 0.73, True),
        (replace(ACCURACY, higher_is_better=False), 0.70, 0.73, True),
        (replace(ACCURACY, higher_is_better=False), 0.73, 0.70, False),
        (ACCURACY, float("nan"), 0.70, False),
    ],
)
def test_work_that_is_worse_than_the_tolerance_is_marked(gate: Gate, ours: float, peer: float, equal: bool) -> None:
    assert gate.passes(ours, peer) is equal


def test_memory_is_compared_where_both_sides_say_it(contest: Contest) -> None:
    row = harness.row_of(contest, [Outcome(1.0, 1.0, 1000)], [Outcome(1.0, 1.0, 50)], HERE)

    assert row["memory"] == {"ours": 50, "peer": 1000, "ratio": 20.0}


def test_a_peer_is_named_with_its_version_even_where_it_is_imported_by_another_name() -> None:
    assert harness.installed("sklearn") == version("scikit-learn")
    assert harness.installed("no_such_package") == "not installed"


def test_a_row_that_is_there_is_kept_unless_asked_again_or_measured_elsewhere(
    contest: Contest, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results(tmp_path / "C1.json")
    other = replace(contest, setting="tuned")
    places = [HERE, HERE | {"date": "tomorrow"}, HERE | {"date": "tomorrow"}, HERE | {"cpu": "b"}, HERE]
    monkeypatch.setattr(harness, "environment", iter(places).__next__)

    def calls_of(contests: list[Contest], again: bool = False) -> int:
        calls.clear()
        harness.hold(contests, contests, results, 1, again)
        return len(calls)

    assert calls_of([contest, other]) == 3  # ours once for both
    assert calls_of([contest]) == 0
    assert calls_of([contest], again=True) == 2
    assert calls_of([contest]) == 2  # on another processor
    assert calls_of([other]) == 0
    assert [(row["setting"], row["environment"]["cpu"]) for row in results.rows()] == [("tuned", "a"), ("default", "b")]


def test_a_peer_that_is_not_installed_is_said_and_never_measured(
    contest: Contest, calls: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = replace(contest, package="a_package_that_nobody_wrote")
    results = Results(tmp_path / "C1.json")

    harness.hold([absent], [absent], results, 1, again=False)
    harness.rehearse([absent])

    assert not calls and not results.path.exists()
    assert capsys.readouterr().out.count("skipped, a_package_that_nobody_wrote is not installed") == 2


def test_the_small_contest_warms_up_and_does_not_count(contest: Contest, calls: list[str], tmp_path: Path) -> None:
    results = Results(tmp_path / "C1.json")

    harness.hold([replace(contest, warm=True)], [contest], results, 1, again=False)

    assert "".join(calls) == "ABAB"
    assert results.rows()[0]["repetitions"] == 1


def a_row(**changes: object) -> dict[str, object]:
    quality = {"metric": "accuracy", "ours": 0.7, "peer": 0.71, "tolerance": 0.02}
    ratio = {"median": 2.5, "min": 2.0, "max": 12.0}
    row = {"test": "C1", "peer": "trainer", "setting": "default", "options": "", "ratio": ratio, "equal": True}
    environment = {"precision": "bf16", "cpu": "AMD EPYC", "date": "2026-11-24T00:09:57+00:00"}
    return row | {"quality": quality, "environment": environment} | changes


def test_the_tables_show_goal_spread_and_quality_and_mark_what_was_missed() -> None:
    slow = {"median": 1.0, "min": 0.9, "max": 1.1}
    tuned = a_row(test="C3", setting="head", options="tuned", memory={"ratio": 20.0})
    rows = [a_row(peer="torch", setting="tuned", ratio=slow, equal=False), a_row(), tuned, a_row(ratio=slow)]

    lines = [line for line in table.markdown(rows).splitlines() if line.startswith(("###", "| fine", "| frozen"))]

    measured = "AMD, 2026-11-24 |"
    assert [line.split(" | ")[3:] or line for line in lines] == [
        f"### {table.FAIR}",
        ["", "2.50 [2.00, 12.0]; memory 20.0", "accuracy 0.7 and 0.71", measured],
        f"### {table.UNEQUAL_PRECISION}",
        ["2.4", "2.50 [2.00, 12.0]", "accuracy 0.7 and 0.71", measured],
        ["2.4", "**1.00 [0.90, 1.10], missed**", "accuracy 0.7 and 0.71", measured],
        f"### {table.LESS_ACCURATE}",
        ["0.98", "1.00 [0.90, 1.10]", "**no**: accuracy 0.7 and 0.71", measured],
    ]


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({"setting": "tuned"}, table.FAIR),
        ({"options": "tuned"}, table.FAIR),
        ({"test": "C6"}, table.FAIR),
        ({"environment": {"precision": "fp32"}}, table.FAIR),
        ({}, table.UNEQUAL_PRECISION),
        ({"setting": "tuned", "equal": False}, table.LESS_ACCURATE),
    ],
)
def test_only_equal_precision_and_quality_is_a_fair_row(changes: dict[str, object], title: str) -> None:
    assert table.section(a_row(**changes)) == title


def test_the_tables_stand_between_their_markers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "benchmarks.md"
    cheap = f"{table.CHEAP_BEGIN}\nold\n{table.CHEAP_END}"
    rival = f"{table.AUTOGLUON_BEGIN}\nold\n{table.AUTOGLUON_END}"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\n{cheap}\n{rival}\nafter\n")
    (tmp_path / "C1.json").write_text(json.dumps([a_row()]))
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    committed = table.PAGE.read_text()
    monkeypatch.setattr(table, "PAGE", page)

    table.write()
    once = page.read_text()
    table.write()

    assert page.read_text() == once
    assert once.startswith("before\n") and once.endswith("after\n")
    assert "2.50 [2.00, 12.0]" in once and "old" not in once
    assert table.BEGIN in committed


def test_the_committed_tables_are_those_of_the_results() -> None:
    rows = [row for test in table.TESTS for row in table._rows(table.RESULTS / f"{test}.json")]
    page = table.PAGE.read_text()
    assert page == table.placed(page, table.markdown(rows))
    cheap = table.cheap_markdown(json.loads((table.RESULTS / "strong.json").read_text()))
    assert page == table.placed(page, cheap, table.CHEAP_BEGIN, table.CHEAP_END)
    rival = table.autogluon_markdown(json.loads((table.RESULTS / "autogluon.json").read_text()))
    assert page == table.placed(page, rival, table.AUTOGLUON_BEGIN, table.AUTOGLUON_END)


@pytest.mark.parametrize(("score", "said"), [(0.159, "reached"), (0.180, "**missed**")])
def test_a_goal_for_an_error_is_reached_within_its_interval(score: float, said: str) -> None:
    row = {
        "task": table.LOWER_IS_BETTER[0],
        "rows": 1_000,
        "draws": 2,
        "regime": "boosted",
        "score": score,
        "interval": [score - 0.008, score + 0.008],
        "less_linear": -0.006,
        "less_linear_interval": [-0.008, -0.005],
        "cpu_seconds": [2.0, 4.0],
    }
    found = {"environment": {"cpu": "Intel(R)", "date": "2026-11-29"}, "results": [row]}
    line = next(line for line in table.cheap_markdown(found).splitlines() if "`boosted`" in line)
    assert f"0.158: {said} |" in line and "-0.006 [-0.008, -0.005] | 3 |" in line


@pytest.fixture
def arguments(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    given = ["run.py"]
    monkeypatch.setattr("sys.argv", given)
    yield given


def test_fewer_than_five_repetitions_are_refused(arguments: list[str]) -> None:
    arguments += ["c1", "--data", "nowhere.parquet", "--repetitions", "4"]

    with pytest.raises(SystemExit, match="at least 5 repetitions"):
        run.main()


def test_a_test_without_its_table_is_skipped(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    arguments += ["c1", "--quick", "--data", "nowhere.parquet"]

    run.main()

    assert "c1: skipped, nowhere.parquet is not here" in capsys.readouterr().out


def test_forgetting_is_measured_beside_another_way(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a tiny decoder in place of SmolLM2."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base = save_decoder(tmp_path / "base")
    texts = [f"a tool that reads {i} files" for i in range(60)]
    columns = {
        "source": list(map(str, range(60))),
        "synopsis": texts,
        "synopsis_de": [f"{TEXT[:40]}{i}" for i in range(60)],
    }
    pq.write_table(pa.table(columns), tmp_path / "packages.parquet")
    monkeypatch.setattr(forgetting, "FILE", tmp_path / "forgetting.json")
    monkeypatch.setattr(forgetting, "WAYS", forgetting.WAYS[::3])
    monkeypatch.setattr(forgetting, "Size", lambda: forgetting.QUICK)  # the way of the whole, which writes
    arguments += [str(tmp_path / "packages.parquet"), "--work", str(tmp_path / "work"), "--base", str(base)]

    forgetting.main()

    rows = json.loads((tmp_path / "forgetting.json").read_text())
    assert [row["setting"] for row in rows] == ["full", "full + interpolation"]
    assert all(row["nats"] is not None and row["environment"]["cores"] for row in rows)
    assert [len(row["frontier"]) for row in rows] == [0, 11] and rows[1]["beside"]["setting"] == "full"
    assert rows[1]["frontier"][-1]["forgotten"] == pytest.approx(rows[0]["nats"], abs=1e-5), "trained alike"
    assert "beside full: " in capsys.readouterr().out
    forgetting.main()
    assert json.loads((tmp_path / "forgetting.json").read_text())[0]["score"] == rows[0]["score"], "gone on with"


def test_another_process_reads_the_same_rows(tmp_path: Path) -> None:
    problem = texts.Problem(tiny_splits(CLASSES), CLASSES)

    texts.save(problem, tmp_path / "rows.json")
    loaded = texts.load(tmp_path / "rows.json")

    assert loaded.schema == CLASSES and list(loaded.train.texts) == list(problem.train.texts)
    assert loaded.splits.test.targets.tolist() == problem.splits.test.targets.tolist()
    numbers = np.concatenate([part.numbers for part in (loaded.train, loaded.splits.val, loaded.splits.test)])
    assert len(set(numbers.tolist())) == 120


class Copies(nn.Module):
    """Always right: answers with the first token, which is the label."""

    accepts_loss_kwargs = False

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, labels: Tensor, input_ids: Tensor) -> dict[str, Tensor]:
        logits = one_hot(input_ids[:, 0], 5) + self.nothing
        return {"loss": self.nothing.sum(), "logits": logits}


def test_a_trainer_is_judged_in_the_order_that_it_reads(tmp_path: Path) -> None:
    def collate(examples: list[peers.Example]) -> dict[str, Tensor]:
        longest = max(len(each["input_ids"]) for each in examples)
        rows = [pad(torch.tensor(each["input_ids"]), (0, longest - len(each["input_ids"]))) for each in examples]
        return {"input_ids": torch.stack(rows), "labels": torch.tensor([each["labels"] for each in examples])}

    examples = [{"input_ids": [i % 5] * (1 + i * 7 % 11), "labels": i % 5} for i in range(40)]
    config = TrainConfig(steps=1, lr=1e-3, batch_size=4)
    for options in ("default", "tuned"):
        trained = peers.trainer(Copies(), examples, collate, config, options)  # type: ignore[arg-type]
        assert peers.accuracy(trained, examples) == 1


def test_strengths_of_the_pull_are_measured_beside_none(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [f"a {('large', 'small')[i % 2]} tool that reads {i} files" for i in range(120)]
    columns = {"source": list(map(str, range(120))), "synopsis": texts, "section": ["net", "text"] * 60}
    pq.write_table(pa.table(columns), tmp_path / "packages.parquet")
    monkeypatch.setattr(pull, "FILE", tmp_path / "pull.json")
    monkeypatch.setattr(pull, "STRENGTHS", (0, 2500))
    monkeypatch.setattr(pull, "Size", lambda: replace(pull.QUICK, length=0.1))  # the way of the whole, which writes
    arguments += [str(tmp_path / "packages.parquet"), "--work", str(tmp_path / "work")]

    pull.main()

    rows = json.loads((tmp_path / "pull.json").read_text())
    assert [row["setting"] for row in rows] == [0, 2500] and "minus none" in rows[1]
    assert 0 < rows[1]["drift"] < rows[0]["drift"]
    assert "l2-sp=2500: accuracy" in capsys.readouterr().out


# --- parts ------------------------------------------------------------------------------------------------------------

FOLDER = Path(bench.__file__).parent
MODULES = {  # that are no scripts: what others import
    *("autogluon_peer", "bench", "c1", "c2", "c3", "c4", "c6", "gpu_parts", "gpu_texts", "harness", "l1", "l2"),
    *("ludwig_head", "many_rows", "peers", "real_tables", "table", "texts"),
}
BY_HAND = {"small_cnn"}  # one setting at a time


@pytest.mark.parametrize("name", bench.PARTS)
def test_the_commands_of_a_part_are_what_its_scripts_take(name: str) -> None:
    for command in bench.PARTS[name].commands:
        script, *words = command.split()
        source = (FOLDER / script).read_text()
        taken = re.findall(r"add_argument\(\s*\"([^\"]+)\"([^\n]*)", source)
        flags = [word for word in words if word.startswith("--")]
        assert set(flags) <= {flag for flag, _ in taken}, command
        needed = {flag for flag, rest in taken if "required=True" in rest}
        assert needed <= set(flags), command
        if any(not flag.startswith("-") and "nargs" not in rest for flag, rest in taken):
            assert words and not words[0].startswith("--"), command


def test_every_script_is_in_a_part() -> None:
    scripts = {path.stem for path in FOLDER.glob("*.py")} - MODULES - BY_HAND
    run_by_parts = {Path(command.split()[0]).stem for part in bench.PARTS.values() for command in part.commands}
    assert scripts <= run_by_parts and all(part.hours <= 2 or part.resumable for part in bench.PARTS.values())


def test_a_part_that_takes_too_long_is_stopped_and_one_that_fails_says_so(tmp_path: Path) -> None:
    finished = tmp_path / "finished"
    slow = f"import pathlib, time\ntime.sleep(60)\npathlib.Path({str(finished)!r}).touch()"
    quick = [sys.executable, "-c", ""]
    assert bench.run([quick, quick], 60)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a shell
    try:
        assert not bench.run([[sys.executable, "-c", slow]], 2) and not finished.exists()
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(SystemExit) as raised:
        bench.run([[sys.executable, "-c", "raise SystemExit(3)"], quick], 60)
    assert raised.value.code == 3
