"""Run the Python blocks of pages that show no output: python docs/_extensions/examples.py docs/inference/*.md ...

The blocks of a page share one namespace. A block after the comment ``<!-- not run: reason -->`` is left out.
"""

import os
import re
import sys
import time
import warnings
from collections import Counter
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run.*?-->\s*\Z")


def blocks(text):
    """Return (line, code) of the blocks of a page that are to be run."""
    for match in BLOCK.finditer(text):
        if not NOT_RUN.search(text[: match.start()]):
            yield text[: match.start(1)].count("\n"), match[1]


def run(page):
    """Execute the blocks of a page and return what became of them; an error's traceback has the page's lines."""
    from matplotlib import pyplot as plt

    namespace, counts = {"__name__": "__main__"}, Counter()
    for line, code in blocks(page.read_text()):
        try:
            with redirect_stdout(StringIO()):
                exec(compile("\n" * line + code, page, "exec"), namespace)
            counts["run"] += 1
        except ModuleNotFoundError as error:  # of an optional package
            counts[f"left out without {error.name}"] += 1
        plt.close("all")
    return ", ".join(f"{count} {what}" for what, count in counts.items()) or "no blocks"


if __name__ == "__main__":
    os.environ["MPLBACKEND"] = "agg"
    warnings.simplefilter("error")
    for name in sys.argv[1:]:
        begin = time.perf_counter()
        print(f"{name}: {run(Path(name))} ({time.perf_counter() - begin:.1f} s)", flush=True)
