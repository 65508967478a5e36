"""The results as a page and as a table: ``report/models.html``, one file that needs nothing else, and Markdown for the README.

Data sets stand under one another, each with its protocol, charts of quality and cost, the table behind them and what papers
report. The page says what it was made with, what was skipped, and how often anybody looked at the test parts.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.model_charts import cost, quality, trade
from benchmarks.model_data import PROTOCOLS
from benchmarks.model_results import Looks, Result, looks_by_model, write
from benchmarks.report import README
from tastemaker.domain import Interval

COUNTED = (
    "Every evaluation on a test part by this benchmark is counted. Not counted are those of the kernels' benchmark, which judges "
    "als of three libraries, in three sizes each, on Gowalla's test part whenever it runs."
)
HONESTY = (
    "Before these looks were counted, prototypes of the models were judged about 25 times on Gowalla's test part: that the "
    "neighbourhoods have 200 items, that a blend weighs its parts alike, and which parts it has, was settled after seeing those "
    "figures. The epochs of als were cut from 8 to 5, and its rule for alpha0 was made, after looking at test figures of Gowalla "
    "and ml-1m. So compare our figures there with those of papers that also looked."
)
HOW = (
    "Each model ran in a process of its own, kernels compiled and data converted before the clock started. Training time is the "
    "best of its trainings. Users/s is for lists of 20 for all training users, their own items left out, the best call of a few. "
    "Memory is the most that the process ever held, data and libraries included. Quality of a model that depends on its seed is "
    "the mean over seeds 0, 1 and 2; intervals are bootstraps over users, 95 %."
)
BUSY = 0.5
"""Load of the machine when a measurement began, above which the page warns of others' work."""


def write_page(path: Path, results: Sequence[Result], looks: Looks, skipped: Sequence[str] = ()) -> None:
    """Writes the page; without matplotlib it has tables alone, and says so."""
    write(path, page(results, looks, skipped, charts=importlib.util.find_spec("matplotlib") is not None))


def page(results: Sequence[Result], looks: Looks, skipped: Sequence[str], *, charts: bool) -> str:
    sets = [name for name in PROTOCOLS if any(result.dataset == name for result in results)]
    parts = [HEAD, "<h1>Models: quality and cost beside peers</h1>", legend(), about(results, skipped), contents(sets)]
    parts += [of_set(name, [one for one in results if one.dataset == name], charts=charts) for name in sets]
    parts += [kernels(), looked(looks), SCRIPT, "</main>"]
    return "\n".join(part for part in parts if part)


def legend() -> str:
    kinds = (("tastemaker", "●", "ours"), ("implicit", "■", "implicit"), ("irspack", "▲", "irspack"))
    return "<p class=legend>" + " ".join(f'<span class="{by}">{sign} {name}</span>' for by, sign, name in kinds) + "</p>"


def contents(sets: Sequence[str]) -> str:
    links = [f'<a href="#{name}">{escape(PROTOCOLS[name].title)}</a>' for name in sets]
    return "<nav>" + " · ".join([*links, '<a href="#looks">Looks at the test parts</a>']) + "</nav>"


def about(results: Sequence[Result], skipped: Sequence[str]) -> str:
    """Where the figures come from."""
    lines = [f"<p>{HOW}</p>", "<dl>"]
    facts = (
        ("Machine", {result.machine for result in results}),
        ("Versions", {part for result in results for part in result.versions.split(", ")}),
        ("Days", {result.date for result in results}),
        ("Commits", {result.commit for result in results}),
        ("Skipped", set(skipped)),
    )
    lines += [f"<dt>{name}</dt><dd>{'<br>'.join(map(escape, sorted(found)))}</dd>" for name, found in facts if found]
    lines.append("</dl>")
    return "\n".join([*lines, warned(results)])


def warned(results: Sequence[Result]) -> str:
    """A word on results that were measured beside other work."""
    load = max((result.load for result in results), default=0.0)
    if load <= BUSY:
        return ""
    return f"<p class=note>{busy(load)}</p>"


def busy(load: float) -> str:
    return (
        f"The machine had a load of up to {load:.1f} when measurements began. A predecessor's own work counts in that, but where "
        "others worked too, times are upper bounds."
    )


def of_set(name: str, results: Sequence[Result], *, charts: bool) -> str:
    protocol = PROTOCOLS[name]
    ordered = sorted(results, key=lambda result: -result.ndcg.value)
    lines = [f'<h2 id="{name}">{escape(protocol.title)}</h2>', f"<p>{escape(protocol.text)}</p>"]
    lines.append(f"<p>{ordered[0].ndcg.n:,} users judged; {protocol.recall}@{protocol.k} and NDCG@{protocol.k}.</p>")
    if charts:
        for title, draw in (("Quality", quality), ("Quality and training time", trade), ("Speed and memory", cost)):
            lines.append(f"<figure><figcaption>{title}</figcaption>{draw(ordered, name)}</figure>")
    else:
        lines.append("<p class=note>There are no charts: matplotlib is not installed; make bench-models sets it up.</p>")
    lines += [figures(protocol.recall, protocol.k, ordered), published(name)]
    return "\n".join(lines)


def figures(recall: str, k: int, results: Sequence[Result]) -> str:
    heads = (
        *("model", "settings", f"NDCG@{k}", f"{recall}@{k}", f"coverage@{k}", "training s", "training CPU s", "users/s"),
        *("peak MiB", "above start", "trainings", "commit"),
    )
    lines = [
        '<div class=wide><table class="sortable"><thead><tr>',
        *(f"<th>{head}</th>" for head in heads),
        "</tr></thead><tbody>",
    ]
    for one in results:
        cells = (
            f'<span class="{one.by}">{escape(one.name)}</span>',
            escape(settings(one.params)),
            html_interval(one.ndcg),
            html_interval(one.recall),
            f"{one.coverage:.3f}",
            f"{min(one.fit):,.2f}",
            f"{min(one.fit_cpu):,.2f}",
            f"{one.users_per_second:,.0f}",
            f"{one.peak_mb:,.0f}",
            f"{one.peak_mb - one.start_mb:,.0f}",
            str(len(one.fit)),
            escape(one.commit),
        )
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "\n".join([*lines, "</tbody></table></div>"])


def settings(params: dict[str, Any]) -> str:
    """What differs from the model's defaults.

    >>> settings({"factors": 64, "equal": True})
    'factors 64, the loss of our als'
    """
    told = [f"{name} {value}" for name, value in params.items() if name != "equal"]
    return ", ".join(told + ["the loss of our als"] * bool(params.get("equal"))) or "defaults"


def html_interval(found: Interval) -> str:
    return f"<b>{found.value:.4f}</b> <small>{found.low:.4f}–{found.high:.4f}</small>"


def published(name: str) -> str:
    protocol = PROTOCOLS[name]
    if not protocol.published:
        return ""
    found = "; ".join(f"{method} {recall:.4f} / {ndcg:.4f}" for method, recall, ndcg in protocol.published)
    return (
        f"<p><small>As papers or their code report it, not measured here, {protocol.recall} / NDCG: {escape(found)}.</small></p>"
    )


def looked(looks: Looks) -> str:
    counts = looks_by_model(looks)
    lines = ['<h2 id="looks">Looks at the test parts</h2>', f"<p>{COUNTED} {HONESTY}</p>"]
    lines.append("<table><thead><tr><th>data set</th><th>looks</th><th>by model</th></tr></thead><tbody>")
    for dataset, models in counts.items():
        told = ", ".join(f"{escape(name)} {times}" for name, times in sorted(models.items()))
        lines.append(f"<tr><td>{escape(dataset)}</td><td>{sum(models.values())}</td><td class=text>{told}</td></tr>")
    return "\n".join([*lines, "</tbody></table>"])


def kernels() -> str:
    """What another benchmark says of kernels beside the same peers, round by round."""
    text = README.read_text("utf-8") if README.exists() else ""
    found = re.search(r"<!-- kernels:begin -->\n(.*?)\n<!-- kernels:end -->", text, re.S)
    if not found:
        return ""
    return f"<h2>Kernels, in interleaved rounds</h2>\n{from_markdown(found[1])}"


def from_markdown(text: str) -> str:
    """Tables and paragraphs, which is all that sections of the README have.

    >>> from_markdown("| a | b |\\n| --- | ---: |\\n| **1** | < 2 |\\n\\nDone.").replace("\\n", "")
    '<div class=wide><table><tr><td>a</td><td>b</td></tr><tr><td><b>1</b></td><td>&lt; 2</td></tr></table></div><p>Done.</p>'
    """
    blocks = []
    for block in text.strip().split("\n\n"):
        told = re.sub(r"`(.+?)`", r"<code>\1</code>", re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(block, quote=False)))
        if not block.startswith("|"):
            blocks.append(f"<p>{told}</p>")
            continue
        rows = [line.strip().strip("|").split("|") for line in told.splitlines() if not re.fullmatch(r"[|\s:-]+", line)]
        cells = ["".join(f"<td>{cell.strip()}</td>" for cell in row) for row in rows]
        blocks.append("<div class=wide><table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table></div>")
    return "\n".join(blocks)


def table(results: Sequence[Result], looks: Looks) -> str:
    """The results as Markdown: a table for each data set."""
    lines = []
    for name, protocol in PROTOCOLS.items():
        own = sorted((one for one in results if one.dataset == name), key=lambda one: -one.ndcg.value)
        if not own:
            continue
        heads = (f"{protocol.title}, @{protocol.k}", "NDCG (95 %)", protocol.recall, "training s", "CPU s", "users/s", "peak MiB")
        lines += ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
        for one in own:
            lines.append(
                f"| {one.name} | **{one.ndcg.value:.4f}** ({one.ndcg.low:.4f}–{one.ndcg.high:.4f}) | {one.recall.value:.4f} "
                f"| {min(one.fit):.2f} | {min(one.fit_cpu):.2f} | {one.users_per_second:,.0f} | {one.peak_mb:.0f} |"
            )
        lines.append("")
    return "\n".join([*lines, remarks(results, looks)])


def remarks(results: Sequence[Result], looks: Looks) -> str:
    """Machine, days, seeds, load and looks in a paragraph."""
    load = max((one.load for one in results), default=0.0)
    said = [f"{', '.join(sorted({one.machine for one in results}))}; {', '.join(sorted({one.date for one in results}))}."]
    said.append(
        "Quality is the mean over seeds 0, 1 and 2 where a model depends on its seed, times are the best of its trainings."
    )
    if load > BUSY:
        said.append(busy(load))
    if looks:
        counts = {dataset: sum(models.values()) for dataset, models in looks_by_model(looks).items()}
        said.append(f"Looks at test parts so far: {', '.join(f'{name} {times}' for name, times in counts.items())}.")
    return " ".join(said)


HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>tastemaker: models beside peers</title>
<style>
:root { color-scheme: light dark; --ink: #1d2430; --paper: #fdfdfc; --soft: #5d6877; --line: #d9dee5; --note: #fff4d6 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e7ee; --paper: #14181f; --soft: #9aa5b5; --line: #323a46; --note: #3a3220 }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem }
h1 { font-size: 1.7rem } h2 { font-size: 1.3rem; margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1rem }
p { max-width: 46rem } small, nav, figcaption, dt { color: var(--soft) } a { color: #2f7fd6 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .9rem } dd { margin: 0 }
figure { margin: 1.5rem 0 } figcaption { font-weight: 600 } svg { width: 100%; max-width: 60rem; height: auto }
svg text { fill: currentColor; font-size: 10px }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child, td:nth-child(2) { text-align: left } td.text { white-space: normal; text-align: left }
.sortable td:nth-child(2) { white-space: normal; min-width: 11rem } th:nth-child(2) { text-align: left }
th { color: var(--soft); font-weight: 600 } .sortable th { cursor: pointer }
.note { background: var(--note); padding: .5rem .8rem }
.tastemaker { color: #2f7fd6 } .implicit { color: #d9782b } .irspack { color: #2a9d6f } .legend span { margin-right: 1.2rem }
</style>
<main>"""

SCRIPT = """<script>
for (const head of document.querySelectorAll(".sortable th")) head.addEventListener("click", () => {
  const body = head.closest("table").tBodies[0], place = head.cellIndex, down = head.dataset.down !== "yes"
  const value = row => { const text = row.cells[place].textContent; const number = parseFloat(text.replaceAll(",", ""));
    return place > 1 && !isNaN(number) ? number : text }
  const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)))
  body.append(...[...body.rows].sort((a, b) => order(value(a), value(b)) * (down ? -1 : 1)))
  head.dataset.down = down ? "yes" : "no"
})
</script>"""
