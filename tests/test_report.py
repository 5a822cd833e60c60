"""Report: a page that anybody can read, that loads nothing, and in which what a user wrote is only text."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from plotly.offline import get_plotlyjs

from tests.report_samples import CLASSES, FINDINGS, REGIMES, advice, crossing, examples, label_sets, renamed, study
from tests.run_factory import make_retention
from warmstart.advice.advise import advice_for
from warmstart.data.rows.findings import Finding
from warmstart.reporting.entries import entries_of
from warmstart.reporting.plots import score_against_compute
from warmstart.reporting.render import render
from warmstart.results.comparison import Comparison
from warmstart.results.constraints import Excluded
from warmstart.results.forgetting_summary import summarize_forgetting
from warmstart.results.record import Run, Trial

COMMAND = "warmstart compare catalogue.csv --target price --seeds 2 --out demo"
HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)> {{7*7}} \"quoted\" 'single' & \u2028 \u202e <!-- `"
)
VOID = {"meta", "link", "img", "br", "hr", "input", "base"}


class Page(HTMLParser):
    """A page taken apart: its elements, its text, its scripts; unbalanced elements are an error."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.scripts.append(data)
        elif self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    @property
    def figures(self) -> dict[str, Any]:
        figures: dict[str, Any] = json.loads(self.scripts[0])
        return figures


def drawn(comparison: Comparison, *, show: bool = True, **changes: Any) -> Page:
    texts = examples(comparison) if show else None
    return Page(render(comparison, advice(), examples=texts, **({"command": COMMAND, "findings": FINDINGS} | changes)))


@pytest.fixture(scope="module", autouse=True)
def light() -> Iterator[None]:
    """Pages without plotly's five megabytes, but for the test that is about them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plotly.offline.get_plotlyjs", lambda: "window.Plotly = {};")
        yield


@pytest.fixture(scope="module", params=["regression", "classification"])
def page(light: None, request: pytest.FixtureRequest) -> str:
    comparison = study(request.param, rows=(400, 1200))
    return render(comparison, advice(), examples=examples(comparison), findings=FINDINGS, command=COMMAND)


def test_is_well_formed_and_complete(page: str) -> None:
    parsed = Page(page)
    identifiers = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    links = [attributes["href"] for tag, attributes in parsed.elements if tag == "a"]
    assert links and all(link and link.removeprefix("#") in identifiers for link in links)
    plots = {attributes["data-figure"] for _, attributes in parsed.elements if "data-figure" in attributes}
    assert plots == set(parsed.figures)


def test_what_the_budget_cut_stands_under_the_verdict() -> None:
    found = drawn(study(cuts=("1,200 training rows instead of 2,400",), available=2400)).text
    said = "Cut to fit the budget: 1,200 training rows instead of 2,400."
    assert (
        found.index("Train from scratch, or fine-tune")
        < found.index(said)
        < found.index("Training rows 1,200 of 2,400")
    )
    assert "Cut to fit" not in drawn(study(cuts=())).text


def test_a_race_that_was_not_needed_is_said() -> None:
    said = "A full comparison was quick, so there was no race"
    assert said in drawn(study(command="warmstart advise x.csv --target price --out a")).text
    assert said not in drawn(study(command=COMMAND)).text


def test_every_regime_fits_the_width_of_a_page(page: str) -> None:
    table = page.partition('aria-label="Every regime with its score and cost"')[2].partition("</thead>")[0]
    assert table.count('<th scope="col">') <= 10 and "Compute and time" in table


def test_no_metric_stands_twice_and_each_has_its_unit() -> None:
    made = study(only=["linear", "full"])
    own = {"MAE (log10(price))": 0.2, "MAE (price)": 40.0, "median percentage error": 11.82}
    found = drawn(replace(made, runs=tuple(replace(run, metrics=own) for run in made.runs))).text.partition(
        "All metrics"
    )
    metrics = found[2].partition("All metrics")[2]
    assert "MAE (log10(price))" not in metrics and "MAE (price)" in metrics and "11.82 %" in metrics
    assert "interval covers" not in metrics


def test_the_share_of_two_regimes_is_told_from_how_sure_the_answer_is() -> None:
    text = drawn(study()).text
    assert "of the resamples of these two alone. The confidence at the top takes all regimes into account." in text


def test_the_head_alone_says_nothing_about_fine_tuning() -> None:
    out = tuple(Excluded(name, "budget", "there was no time") for name in ("lora", "full", "discriminative"))
    text = drawn(study(only=["linear", "scratch", "frozen"], excluded=out)).text
    said = "says nothing about training the weights of the base"
    assert "Of the 4 fine-tuning regimes, only frozen ran. It trains only the head" in text and said in text
    assert "fine-tuned is worse by" not in text and "fine-tuned is better by" not in text
    assert "Only frozen was fine-tuned. It trains only the head" in drawn(study(only=["scratch", "frozen"])).text
    assert said not in drawn(study(only=["scratch", "frozen", "full"])).text


def test_a_better_trial_within_noise_is_not_called_the_best_one_taken() -> None:
    def trials(*scores: float) -> tuple[Trial, ...]:
        return tuple(Trial({"lr": lr}, 100, val) for lr, val in zip((1e-2, 3.16e-2, 3.16e-3), scores, strict=True))

    made = study("classification", only=["scratch", "frozen"])
    several = [replace(run, lr=1e-2, trials=trials(0.82, 0.81, 0.84)) for run in made.runs]
    text = drawn(replace(made, runs=tuple(several))).text
    assert "3 trials; 3.2e-3 was better by less than noise, so 1e-2 was kept" in text and "best of" not in text
    several = [replace(run, lr=1e-2, trials=trials(0.82, 0.81, 0.8)) for run in made.runs]
    assert "best of 3 trials" in drawn(replace(made, runs=tuple(several))).text


def test_what_cannot_forget_has_no_plot_of_forgetting() -> None:
    assert "What was forgotten" in drawn(study(only=["full", "frozen"])).text
    assert "What was forgotten" not in drawn(study(only=["scratch", "frozen"])).text


def test_the_confusion_matrix_has_no_empty_column() -> None:
    few = study("classification", only=["linear"], classes=CLASSES[:3])
    assert "any other" not in drawn(few).text
    assert "any other" in drawn(study("classification", only=["linear"])).text


def test_loads_nothing(page: str) -> None:
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page)
    sources = [
        v for _, a in Page(page).elements for k, v in a.items() if k in {"src", "href", "srcset", "action", "data"}
    ]
    assert all(source and source.startswith(("#", "data:,")) for source in sources)


def test_plotly_is_inside_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plotly.offline.get_plotlyjs", get_plotlyjs)
    page = render(study(only=["linear"]), advice(), examples=None, command=COMMAND)
    assert page.count(get_plotlyjs()) == 1


def test_policy_lets_only_its_own_scripts_run(page: str) -> None:
    parsed = Page(page)
    (policy,) = (a["content"] for tag, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none'") and "script-src 'unsafe" not in policy
    for script in parsed.scripts[1:]:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert len(parsed.scripts) == 3
    assert not any(name.startswith("on") for _, attributes in parsed.elements for name in attributes)


def test_every_regime_is_in_the_tables_and_the_failed_say_why(page: str) -> None:
    for name, *_ in REGIMES:
        assert page.count(f">{name}</span>") >= 3, name
    text = Page(page).text
    assert "failed : diverged at step 12" in text
    assert "qlora, 1,200 rows, seed 0: diverged at step 12" in text
    assert "scratch, 1,200 rows, seed 1: 300 steps, 4.0 epochs" in text  # not converged
    assert "lora, 1,200 rows, seed 0: 1 of 4 trials (lr 9e-3)" in text
    assert "trials: 4 instead of 5 for each regime" in text
    assert "14 rows are copies of another." in text and "(rows 3, 77, 310 …)" in text


def test_answers_the_question_first(page: str) -> None:
    text = Page(page).text
    places = [
        text.index(words) for words in ("Train from scratch, or fine-tune", "scores 0.166", "Best first.", COMMAND)
    ]
    assert places == sorted(places)
    assert "96 % sure" in text
    assert COMMAND in text and "AMD EPYC 9V74" in text and "9f2c41d07be3a855" in text


@pytest.mark.parametrize(
    ("changes", "heading"),
    [
        ({"confidence": 0.7}, "Probably fine-tune."),
        ({"verdict": "undecided", "choice": None, "confidence": 0.5}, "Undecided."),
        ({"verdict": "nothing beats the constant", "choice": None}, "Nothing beats the constant."),
        ({"verdict": "train from scratch", "choice": "scratch"}, "Train from scratch."),
    ],
)
def test_headings(changes: dict[str, Any], heading: str) -> None:
    page = render(study(), advice(**changes), examples=None, command=COMMAND)
    assert f"<h1>{heading}</h1>" in page


def test_what_the_constraints_take_out_is_listed_with_the_reason_and_the_price() -> None:
    barred = (
        Excluded("discriminative", "max-size", "it takes 91 MB, more than 50 MB"),
        Excluded("top-layers", "max-training-time", "its search and one run would take about 3 h, more than 2 h"),
    )
    comparison = study(excluded=barred)
    said = advice_for(comparison)
    page = Page(render(comparison, said, examples=None, command=COMMAND))
    assert "Not allowed discriminative , by --max-size : it takes 91 MB, more than 50 MB top-layers" in page.text
    assert "more than 2 h; it was not trained" in page.text and "What this costs: " in page.text
    assert said.constraints[0].statement.replace("`", "").split(":")[0] in page.text.replace("  ", " ").replace(
        " ,", ","
    )
    assert page.text.count("not allowed") == 1, "beside its name in the table"
    best = page.text.partition("Best mean absolute error")[2]
    assert "full" in best[:80] and "discriminative" not in best[:80]
    assert "Not allowed" not in drawn(study()).text


def test_the_reason_does_not_repeat_the_heading() -> None:
    text = drawn(study()).text
    assert "Fine-tune: " not in text and "discriminative scores 0.166" in text.replace("  ", " ")


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_what_a_user_wrote_stays_text(task: str) -> None:
    classes = [f"{HOSTILE} {name}" for name in CLASSES]
    comparison = study(task, classes=classes, target=HOSTILE, cuts=(HOSTILE,), caveats=(HOSTILE,), fingerprint=HOSTILE)
    page = render(
        comparison,
        advice(reason=HOSTILE, next_step=HOSTILE, caveats=(HOSTILE,), also_fine=(HOSTILE,)),
        examples=examples(comparison, HOSTILE),
        findings=(Finding("leak", "warning", HOSTILE, (1,), 1, HOSTILE),),
        command=HOSTILE,
    )
    parsed = Page(page)
    assert len(parsed.scripts) == 3
    assert not any(tag == "img" for tag, _ in parsed.elements)
    assert "alert(1)" not in "".join(parsed.scripts[1:])
    assert re.sub(r"\s+", " ", HOSTILE) in parsed.text and "predict 49" not in parsed.text


def test_figures_hold_no_character_that_ends_a_script() -> None:
    comparison = renamed(study(), {"lora": HOSTILE})
    figures = render(comparison, advice(), examples=None, command="x").split('id="figures">')[1].split("</script>")[0]
    assert "alert(1)" in figures
    assert not set("<>&\u2028") & set(figures)


def test_plotly_shows_names_as_they_are() -> None:
    comparison = renamed(study(), {"lora": "<b>bold</b>"})
    figure = score_against_compute(entries_of(comparison), comparison)
    names = [text for trace in figure["data"] for text in trace.get("text", [])]
    assert "&lt;b&gt;bold&lt;/b&gt;" in names and "<b>bold</b>" not in names


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_without_examples_no_text_of_the_user_is_left(task: str) -> None:
    secret = Finding("near-duplicates", "warning", "Rows 3 and 77 both say 'Desk lamp number'.", (3, 77), 2)
    shown, hidden = (drawn(study(task), show=show, findings=(secret,)) for show in (True, False))
    assert "Desk lamp number" in shown.text and "Desk lamp number" not in hidden.text
    assert "Desk lamp" not in json.dumps(hidden.figures)
    assert "near duplicates: 2 rows (rows 3, 77)" in hidden.text
    if task == "classification":
        assert all(name in hidden.text for name in ("libs", "games"))


def test_nothing_finished() -> None:
    text = drawn(study(only=["qlora"]), show=False).text
    assert "No regime has a score." in text and "diverged at step 12" in text


def test_one_family_one_seed_no_search() -> None:
    text = drawn(study(only=["constant", "linear"], seeds=(0,), noise_floor=None)).text
    assert "No learning rate was searched" in text
    assert "Training curves" not in text and "Training curves" in drawn(study()).text, "only where there are any"
    assert "How the learning rates were found" not in text and "Learning rates" not in text


def test_from_scratch_against_fine_tuned_is_no_section_where_neither_ran() -> None:
    heading, link = "From scratch against fine-tuned", "Scratch or fine-tuned"
    without = drawn(study(only=["constant", "linear"])).text
    assert heading not in without and link not in without
    whole = drawn(study()).text
    assert heading in whole and link in whole


def test_trials_of_a_baseline_are_no_search_for_rates() -> None:
    made = study(only=["linear"])
    tried = (Trial({"alpha": 1.0}, 12, 0.2),)
    text = drawn(replace(made, runs=tuple(replace(run, trials=tried) for run in made.runs))).text
    assert "What was tried No learning rate was searched; other settings were" in text and "alpha 1" in text


def test_a_warning_of_the_check_stands_once() -> None:
    warned = "Only 40 rows are left for validation."
    found = Finding("small-val", "warning", warned, (), 40, "add rows")
    for show in (True, False):  # without texts a finding is only its kind
        page = drawn(study(caveats=(warned, "Another.")), show=show, findings=(found,)).text
        assert page.count(warned) == 1 and page.count("Another.") == 1


def test_what_was_forgotten_stands_in_the_table_and_the_plot() -> None:
    parsed = drawn(study())
    *lines, marks = parsed.figures["forgetting"]["data"]
    at = dict(zip(marks["text"], marks["x"], strict=True))
    assert set(at) == {"frozen", "discriminative", "full", "lora"} and at["frozen"] == 0 < at["full"]
    assert [len(line["x"]) for line in lines] == [11]
    assert "one minus the cosine" in parsed.text and "Divergence" not in parsed.text
    text = parsed.text.replace("\xa0", " ")
    assert "at the same mean absolute error within 1 % on validation rows (0.300; fine-tuned 0.170)" in text
    assert "drift fell from 0.090 to 0.000. Its weights are 0 % fine-tuned and 100 % the base" in text
    assert "frontier" not in parsed.figures
    without = drawn(study(only=["linear", "scratch"]))
    assert "forgetting" not in without.figures and "What was forgotten" not in without.text


def test_a_body_that_never_moved_has_no_interval() -> None:
    still = make_retention(drift=np.tile([0.0, 1.0], (80, 1)))
    found = summarize_forgetting([still, still])
    assert found and found.drift == 0 and "drift" not in found.intervals
    made = study(only=["frozen", "full"])
    runs = [replace(run, retention=still) if run.regime == "frozen" else run for run in made.runs]
    (marks,) = drawn(replace(made, runs=tuple(runs))).figures["forgetting"]["data"][-1:]
    assert any(text.startswith("frozen: ") and text.endswith("drift 0.000 ") for text in marks["hovertext"])


def test_a_frontier_by_another_metric_has_a_plot_of_its_own() -> None:
    """Where written answers rank, mixes are chosen by likelihood."""

    def by_bits(run: Run) -> Run:
        if run.regime != "full" or run.retention is None:
            return run
        found = run.retention | {"matched": run.retention["frontier"][7]}
        return replace(run, retention=found | {"frontier_by": {"score": "bits per byte", "forgotten": "drift"}})

    parsed = drawn(study(runs=tuple(map(by_bits, study().runs))))
    assert [trace["mode"] for trace in parsed.figures["forgetting"]["data"]] == ["markers+text"]
    (line,) = parsed.figures["frontier"]["data"]
    assert [mix for mix, size in enumerate(line["marker"]["size"]) if size > 5] == [7]
    assert line["text"][-1] == "full" and line["x"][0] == 0 and len(line["y"]) == 11
    assert "bits per byte of the references on validation rows" in parsed.text
    assert "Its weights are 70 % fine-tuned and 30 % the base" in parsed.text.replace("\xa0", " ")


def test_compute_counts_a_shared_search_once() -> None:
    comparison = study(only=["full"], seeds=(0, 1))
    first = comparison.runs[0].trials
    shared = tuple(replace(run, trials=first) for run in comparison.runs)
    assert "2 runs and 8 trials" in drawn(comparison).text
    assert "2 runs and 4 trials" in drawn(study(runs=shared)).text
    facts = {"id": "ensemble", "regime": "ensemble", "family": "ensemble", "trials": ()}
    combined = replace(comparison.runs[0], **facts)
    assert "3 runs and 8 trials" in drawn(study(runs=(*comparison.runs, combined))).text, "its members were paid for"


def test_label_sets_are_told_apart_by_commas() -> None:
    text = drawn(study("classification", runs=(label_sets(),))).text
    assert "Labels with the most errors" in text and "a, b" in text and "80 %, 61 %" in text.replace("\u00a0", " ")


@pytest.mark.parametrize(("task", "edge"), [("regression", 1), ("classification", 0)])
def test_a_failed_trial_lies_at_the_worst_edge(task: str, edge: int) -> None:
    figures = drawn(study(task, only=["full"])).figures
    (search,) = (figure for name, figure in figures.items() if name.startswith("search-"))
    (trace,) = search["data"]
    failed = trace["marker"]["symbol"].index("x-thin")
    assert trace["y"][failed] == search["layout"]["yaxis"]["range"][edge]
    assert trace["marker"]["symbol"].count("circle") == 1


def test_a_backtick_without_a_partner_is_only_a_backtick() -> None:
    page = render(study(), advice(next_step="Use `full` or ` <i>"), examples=None, command=COMMAND)
    assert "Use <code>full</code> or ` &lt;i&gt;" in page
    assert html.unescape("&lt;i&gt;") not in page.split("</style>")[1].split('id="figures"')[0]


def test_the_page_says_what_more_rows_bring() -> None:
    page = drawn(crossing(), show=False)
    assert "rows" in page.figures
    text = page.text.replace(" ,", ",")
    assert re.search(
        r"From about \d+ rows \[\d+, [\d,]+\] on, training from scratch \( scratch \) overtakes full", text
    )
    assert re.search(r"its start was worth", text) and "should score about" in text
    once = drawn(study(only=["linear", "full"]))
    assert "rows" not in once.figures
    assert "one number of rows. For learning curves, use --rows auto." in once.text
    assert "What more rows would bring" not in once.text and "More rows" not in once.text, "no section for one line"
