"""The directives `messages`: tables of what the package says, with cause and remedy, read from its source."""

import re
from collections import defaultdict
from html import escape

from docutils import nodes
from said import messages
from sphinx.util.docutils import SphinxDirective

SUBJECTS = {  # modules, the first that fits
    "formulas": ("formula", "columns", "roles"),
    "statsmodels": ("mixedlm/",),
    "optimiser": ("optimize", "polish", "montecarlo"),
    "engines": ("engines/", "likelihood", "engine_comparison"),
    "chunks": ("streaming/",),
    "files": ("storage", "files", "labels"),
    "predictions": ("prediction/",),
    "tests": ("inference/", "comparison/"),
    "means": ("marginal_means/",),
    "profiles": ("profile/",),
    "refits": ("resampling/",),
    "diagnostics": ("diagnostics/", "checkup/"),
    "planning": ("planning/",),
    "display": ("plots/", "tables", "summary", "maketables", "export", "printout", "progress", "datasets/"),
    "data": ("data", "frame", "checks", "terms", "model", "aliasing", "rank", "crossproducts", "merging", "fixed"),
    "use": ("",),
}
IMPERATIVES = (
    "Add|Ask|Build|Call|Check|Centre|Change|Choose|Compare|Compute|Continue|Convert|Correct|Define|Drop|Fill|Fit|Give|Go|"
    "Install|Join|Keep|Leave|List|Make|Name|Open|Pass|Profile|Put|Raise|Read|Refit|Remove|Rename|Save|Say|Scale|Set|"
    "Split|Subtract|Take|Test|Try|Use|Wrap|Write|Yield"
)
REMEDY = re.compile(rf"(?:(?<=[.?] )|(?<=; )|(?<=: ))(?!‹)(?={IMPERATIVES}|{IMPERATIVES.lower()})(?=\w+\b)")
MUST = re.compile(r"(\S+) must be (.*), not (‹\w+›)\.")
SOFTER = r"Its? |With |To |A term |Available|Did you"
LESS = re.compile(rf"(?<=; )|(?<=: )(?=\S+=|pip |\w+ must )|(?=One of ‹)|(?<=\. )(?={SOFTER})")
REASON = "A reason, told by another message."


def subject(module: str) -> str:
    """Return the subject that a module belongs to."""
    return next(name for name, starts in SUBJECTS.items() if module.startswith(starts))


def cause_and_remedy(text: str, is_reason: bool = False) -> tuple[str, str]:
    """Return what was wrong and what to do about it, which is empty where the text has no more than the first."""
    text = re.sub(r"\s+", " ", text.partition("\n    ")[0]).strip()  # without the formula and its mark
    text = text.replace(" (Position ‹position› of the formula.)", "")
    text = re.sub(r" is (?:not one|none) of (?:the [a-z-]+ )?(‹\w+›|1, 2.*'III')", r" is not known. One of \1", text)
    if otherwise := MUST.fullmatch(text):
        return f"{otherwise[1]} is {otherwise[3]}.", f"It must be {otherwise[2]}."
    place = REMEDY.search(text) or LESS.search(text)
    if place is None:
        return text, REASON if is_reason else ""
    cause, remedy = text[: place.start()].rstrip(" :;"), text[place.start() :]
    return cause + ("" if cause.endswith((".", "?")) else "."), remedy[0].upper() + remedy[1:]


def rows_of(name: str) -> list[tuple[str, str, str]]:
    """Return cause, remedy and class of the messages of a subject, those of the same class together."""
    found = {
        (m.kind, *cause_and_remedy(m.text, m.kind == "ProfileError" or m.module == "files.py"))
        for m in messages()
        if subject(m.module) == name
    }
    return [(cause, remedy, kind) for kind, cause, remedy in sorted(found, key=lambda row: (row[0], row[1].lower()))]


class Messages(SphinxDirective):
    """The table of the messages of one subject."""

    required_arguments = 1

    def run(self):
        """Return the table as HTML: thousands of nodes are slow, and a search over rows needs no more."""
        rows = "\n".join(
            f"<tr><td>{marked(cause)}</td><td>{marked(remedy)}</td><td><code>{shown(kind)}</code></td></tr>"
            for cause, remedy, kind in rows_of(self.arguments[0])
        )
        head = "<thead><tr><th>What was wrong</th><th>What to do</th><th>Class</th></tr></thead>"
        return [nodes.raw("", f'<table class="messages">{head}<tbody>\n{rows}\n</tbody></table>', format="html")]


class Search(SphinxDirective):
    """A field that leaves the rows of the tables below that hold all of its words."""

    def run(self):
        """Return the field and its script."""
        return [nodes.raw("", SEARCH, format="html")]


SEARCH = """<input class="messages-search" type="search" aria-label="Search the messages"
placeholder="Words of a message, such as: singular levels">
<script>
document.addEventListener("DOMContentLoaded", () => {
  const field = document.querySelector(".messages-search");
  const rows = [...document.querySelectorAll("table.messages tbody tr")];
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\\s+/).filter(Boolean);
    rows.forEach(row => { row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word)); });
    document.querySelectorAll("table.messages").forEach(table => {
      const empty = !table.querySelector("tbody tr:not([hidden])");
      table.closest("section").hidden = empty;
    });
  });
});
</script>"""


def marked(text: str) -> str:
    """Return a text as HTML, what is known only at run time set off."""
    return re.sub("‹(.*?)›", r"<var>\1</var>", escape(text))


def shown(kind: str) -> str:
    """Return what a class is called in the table."""
    return {"FitRecord": "fit.optimizer.message"}.get(kind, kind)


def setup(app):
    """Register the directives."""
    app.add_directive("messages", Messages)
    app.add_directive("messages-search", Search)
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    counts = defaultdict(int)
    for message in messages():
        if not cause_and_remedy(message.text)[1]:
            print(f"{message.module}:{message.line} {message.kind}: {message.text}")
            counts[message.kind] += 1
    print("without a remedy:", dict(counts))
