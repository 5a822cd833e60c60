"""Keep: does what is typed against forgetting reach the training, the record, the model and the page?"""

import json
from pathlib import Path

import pytest

import warmstart
from tests.cli_base import call
from tests.decoders import save_decoder
from tests.test_wrong_input import refused
from warmstart.models.pretrained.base import Base
from warmstart.quantities import describe_forgetting
from warmstart.results.record import load_run
from warmstart.runs import weight_mixing

ALL = "replay=50%,l2-sp=20,interpolation"
PLAIN = ("--trials", "1", "--length", "0.1", "--lr", "1e-2", "--no-log", "--quiet")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_decoder(tmp_path_factory.mktemp("decoder"), scale=1.0)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "table.csv"
    animals = ("fox", "dog", "cat", "hen")
    rows = [f"the lazy {animals[i % 4]} jumps at {i},{animals[i % 4]} jumps" for i in range(60)]
    path.write_text("text,summary\n" + "\n".join(rows) + "\n")
    path.with_name("general.txt").write_text("\n\n".join(f"an old song of {i} bottles on a wall" for i in range(9)))
    return path


@pytest.mark.parametrize("command", ["fit", "compare"])
def test_all_three_are_carried_out_and_told(
    command: str, table: Path, decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    general = ("--reduce-forgetting", ALL, "--min-effect", "100%")
    if command == "compare":
        general += ("--general-text", str(table.with_name("general.txt")))
    which = ("--regime", "full") if command == "fit" else ("--regimes", "full,scratch", "--seeds", "1")
    asked = ("--target", "summary", "--task", "summarise", "--base", decoder, "--max-length", "96", *which)
    answer = call(command, table, *asked, *general, *PLAIN, "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    if command == "fit":
        run = load_run(tmp_path / "out")
        assert (run.settings["replay"], run.settings["l2_sp"]) == (0.5, 20.0)
        assert run.retention is not None and len(run.retention["frontier"]) == 11
        assert run.retention["nats"] == pytest.approx(run.retention["matched"]["forgotten"], rel=1e-3, abs=1e-5)
        said = " ".join(answer.out.split())
        assert "forgot nothing: its loss on general text is" in said and "weights as tuned" in said
        return
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    kept = {row["name"]: row["retention"] for row in found["regimes"]}
    assert kept["scratch"] is None and kept["full"]["frontier_by"] == {"score": "bits per byte", "forgotten": "nats"}
    assert kept["full"]["matched"] in kept["full"]["frontier"] and kept["full"]["nats"] is not None
    scratch = load_run(next((tmp_path / "out" / "runs").glob("scratch-*")))
    assert (scratch.settings["replay"], scratch.settings["l2_sp"]) == (0, 0), "it has no base"
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert 'data-figure="frontier"' in page and "bits per byte within 100&nbsp;%" in page.replace("\u00a0", "&nbsp;")


def test_what_is_written_decides_how_much_is_taken_back(
    table: Path, decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By likelihood the base would come back, but all mixes write worse than the tuned model does."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    written = iter([0.5, *[-1.0] * 9])
    monkeypatch.setattr(weight_mixing, "_written", lambda *_: next(written))
    monkeypatch.setattr(weight_mixing, "least_forgetting", lambda points, **_: points[0])
    asked = ("--target", "summary", "--task", "summarise", "--base", decoder, "--max-length", "96", "--regime", "full")
    answer = call(
        "fit",
        table,
        *asked,
        "--reduce-forgetting",
        "interpolation",
        "--min-effect",
        "100%",
        *PLAIN,
        "--out",
        tmp_path / "out",
    )
    assert answer.code == 0, answer.err
    run = load_run(tmp_path / "out")
    assert run.retention is not None and run.retention["matched"]["mix"] == 1
    assert any("by the likelihood of the answers 0 of the tuned weights would do" in each for each in run.caveats)


def test_what_a_mix_brought_is_a_sentence() -> None:
    points = [{"mix": i / 2, "score": 1.5 - i / 4, "forgotten": i / 10} for i in range(3)]
    by = {"score": "bits per byte", "forgotten": "nats"}
    found = {"nats": 0.1, "progress_lost": 0.02, "frontier": points, "matched": points[1], "frontier_by": by}
    assert describe_forgetting(found) == [
        "forgot 0.100 nats a token of general text, 2 % of what pre-training had gained",
        "weights 50 % tuned and 50 % the base's: nats fell from 0.200 to 0.100 "
        "(validation bits per byte 1.250, as tuned 1.000)",
    ]
    assert describe_forgetting({"nats": None, "kl": None, "drift": 0.25}) == [
        "its features moved from the base's by 0.250 (1 - cosine)"
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"regime": "scratch", "reduce_forgetting": "interpolation"}, "nothing can be forgotten by scratch"),
        ({"regime": "full", "reduce_forgetting": "replay"}, "base '.*' is an encoder"),
        ({"regime": "frozen", "reduce_forgetting": "l2-sp,interpolation"}, "nothing can be forgotten by frozen"),
    ],
)
def test_what_can_do_nothing_is_refused(changes: dict[str, str], said: str, base: Base, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("title,price\n" + "\n".join(f"title {i},{i}.5" for i in range(60)) + "\n")
    with pytest.raises(warmstart.errors.UsageError, match=said):
        warmstart.fit(
            path,
            "price",
            changes["regime"],
            tmp_path / "out",
            base=base.location,
            reduce_forgetting=changes["reduce_forgetting"],
        )
    assert not (tmp_path / "out").exists()


def test_text_for_another_objective_is_refused(decoder: str, table: Path, tmp_path: Path) -> None:
    asked = ("--target", "summary", "--task", "classification", "--base", decoder, "--regime", "full")
    answer = call("fit", table, *asked, "--reduce-forgetting", "replay", "--out", tmp_path / "out")
    refused(
        answer,
        "is for decoders that learn to write",
        "the task here is classification",
        "--reduce-forgetting interpolation",
    )
