"""Write docs/benchmarks.md from the record of race.py: `python benchmarks/report.py docs/benchmarks.json`.

The section Scale is from the record of scale.py, scale.json beside it.
"""

import argparse
import json
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
OURS = "sparselmm"
DEVIANCE_TOLERANCE = 1e-6  # two optimisers at one optimum agree to this many deviance units


def median(result: dict | None) -> float | None:
    """Median seconds of a peer, None where it has no times."""
    return statistics.median(result["seconds"]) if result and result.get("seconds") else None


def same_model(result: dict) -> bool:
    return not result.get("other_model")


@dataclass(frozen=True)
class Goal:
    """A promise about one shape: `value(peers)` may not exceed `limit` (or fall short of it, for `at_least`)."""

    shape: str
    text: str
    value: Callable[[dict], float | None]
    limit: float
    unit: str = "s"
    at_least: bool = False


def our_seconds(peers: dict) -> float | None:
    return median(peers.get(OURS))


def our_evaluations(peers: dict) -> float | None:
    return peers.get(OURS, {}).get("evaluations")


def speed_up(peers: dict) -> float | None:
    theirs, ours = median(peers.get("lme4")), median(peers.get(OURS))
    return theirs / ours if theirs and ours else None


def deviance_above_peers(peers: dict) -> float | None:
    """Our deviance minus the lower of lme4's and mixedlm's."""
    theirs = [peers[p]["deviance"] for p in ("lme4", "mixedlm") if "deviance" in peers.get(p, {})]
    ours = peers.get(OURS, {}).get("deviance")
    return None if ours is None or not theirs else ours - min(theirs)


def numba_imported(peers: dict) -> float | None:
    imported = peers.get(OURS, {}).get("numba")
    return None if imported is None else float(imported)


GOALS = [
    Goal("insteval", "time ≤ 0.35 s", our_seconds, 0.35),
    Goal("insteval", "evaluations ≤ 10", our_evaluations, 10, ""),
    Goal("insteval28", "≥ 12 × faster than lme4", speed_up, 12, "×", at_least=True),
    Goal("maximal4", "time ≤ 0.25 s", our_seconds, 0.25),
    Goal("maximal4", "evaluations ≤ 40", our_evaluations, 40, ""),
    Goal("maximal4", "deviance not above lme4's and mixedlm's", deviance_above_peers, DEVIANCE_TOLERANCE, "units"),
    Goal("maximal8", "time ≤ 3 s", our_seconds, 3),
    Goal("slopes125k", "time ≤ 0.5 s", our_seconds, 0.5),
    Goal("ratings1m", "time ≤ 8 s", our_seconds, 8),
    Goal("sleepstudy", "time ≤ 0.005 s", our_seconds, 0.005),
    Goal("import", "time ≤ 0.6 s", our_seconds, 0.6),
    Goal("import", "numba not imported", numba_imported, 0, "modules"),
]


def number(value: float | None, digits: int = 3) -> str:
    """A number to so many significant digits without an exponent, a dash where there is none."""
    if value is None:
        return "–"
    if not math.isfinite(value) or value == int(value):
        return f"{value:,.0f}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{round(value, decimals):,.{decimals}f}" if decimals < 12 else f"{value:.1e}"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table, every column but the first aligned to the right."""
    ruler = [":--"] + ["--:"] * (len(head) - 1)
    return [f"| {' | '.join(row)} |" for row in (head, ruler, *rows)]


def goals_table(races: dict) -> list[str]:
    """Goal against measurement, met or missed and by how much."""
    rows = []
    for goal in GOALS:
        race = races.get(goal.shape, {"reduced": True})
        value = None if race["reduced"] else goal.value(race["peers"])
        verdict = "not measured"
        if value is not None:
            met = value >= goal.limit if goal.at_least else value <= goal.limit
            verdict = "met" if met else "**missed**"
            if goal.limit and goal.unit != "units":
                verdict += f", {number(value / goal.limit, 2)} of the goal"
            elif not met:
                verdict += f" by {number(value - goal.limit)}"
        rows.append(
            [goal.shape, goal.text, f"{number(value)} {goal.unit if value is not None else ''}".strip(), verdict]
        )
    return table(["shape", "goal", "measured", "verdict"], rows)


def peer_row(peer: str, result: dict, ours: float | None, best: float | None) -> list[str]:
    """One line of a race: time, ratio, work, deviance above the best, memory, remarks."""
    if result["status"] != "ok":
        reason = result.get("reason", "")
        time = f"> {reason:g} s" if result["status"] == "timeout" else "–"
        remark = "stopped" if result["status"] == "timeout" else f"{result['status']}: {reason}"
        return [peer, time, "–", "–", "–", "–", "–", remark]
    seconds = median(result)
    spread = f" ({number(min(result['seconds']))}–{number(max(result['seconds']))})"
    work = f"{result['iterations']} it." if "iterations" in result else f"{result.get('evaluations', '–')}"
    deviance = "–"
    if "deviance" in result and same_model(result):
        deviance = f"+{result['deviance'] - best:.1e}" if result["deviance"] > best else "best"
    remarks = [result.get("other_model") and f"other model: {result['other_model']}", result.get("note")]
    remarks += ["one call, the first" if result.get("once") else None, "imports numba" if result.get("numba") else None]
    return [
        peer,
        number(seconds) + (spread if len(result["seconds"]) > 1 else ""),
        number(seconds / ours, 2) if ours else "–",
        work,
        deviance,
        number(result.get("peak_mb")),
        number(result.get("first_call")),
        "; ".join(filter(None, remarks)),
    ]


def losses(peers: dict) -> list[str]:
    """One plain sentence for every comparison that sparselmm does not win."""
    ours = peers.get(OURS)
    if ours is None:
        return [f"{OURS} was not raced here."]
    if ours["status"] != "ok":
        return [f"**{OURS} has no result here ({ours['status']}).**"]
    told = []
    comparisons = [("slower", median, "s"), ("higher in peak memory", lambda r: r.get("peak_mb"), "MB")]
    comparisons += [("higher in evaluations", lambda r: r.get("evaluations"), "")]
    comparisons += [("slower in its first call", lambda r: r.get("first_call"), "s")]
    for peer, result in peers.items():
        if peer == OURS or result["status"] != "ok":
            continue
        other = "" if same_model(result) else " (which fits another model)"
        for word, measure, unit in comparisons:
            mine, theirs = measure(ours), measure(result)
            if mine and theirs and mine > theirs and number(mine) != number(theirs):
                figures = f"{number(mine)} against {number(theirs)} {unit}".strip()
                told.append(f"{OURS} is {word} than {peer}{other} here: {figures}.")
        if same_model(result) and "deviance" in result and ours["deviance"] - result["deviance"] > DEVIANCE_TOLERANCE:
            above = ours["deviance"] - result["deviance"]
            told.append(f"{OURS} is higher in deviance than {peer} here, by {above:.1e}.")
    return told or [f"{OURS} is behind no peer in time, evaluations, deviance or memory here."]


def race_section(name: str, race: dict) -> list[str]:
    """Title, formula, table and losses of one race."""
    peers = race["peers"]
    deviances = [r["deviance"] for r in peers.values() if "deviance" in r and r["status"] == "ok" and same_model(r)]
    best = min(deviances, default=None)
    about = []
    if "formula" in race:
        levels = ", ".join(f"{count:,} {factor}" for factor, count in race["levels"].items())
        lowest = "" if best is None else f", lowest deviance {best:.6f}"
        about = [f"`{race['formula']}`, {race['criterion']}, {race['rows']:,} rows, {levels}{lowest}.", ""]
    about += [f"Other work on the machine during this race: {race['others']:.2f} cores.", ""]
    head = ["peer", "median s (range)", "× sparselmm", "evaluations", "deviance", "peak MB", "first call s", "remarks"]
    rows = [peer_row(peer, result, median(peers.get(OURS)), best) for peer, result in peers.items()]
    reduced = " (reduced data)" if race["reduced"] else ""
    return [
        f"### {name}: {race['title']}{reduced}",
        "",
        *about,
        *table(head, rows),
        "",
        *[f"* {t}" for t in losses(peers)],
        "",
    ]


def versions(races: dict) -> list[str]:
    """One line for each peer: the versions and threaded libraries its worker reported."""
    known = {p: r["versions"] for race in races.values() for p, r in race["peers"].items() if "versions" in r}
    return [f"* {peer}: " + ", ".join(f"{k} {v}" for k, v in found.items()) for peer, found in known.items()]


def report(record: dict, notes: str, scale: dict | None = None) -> str:
    """The whole page as Markdown; `scale` is the record of scale.py."""
    here, races = record["machine"], record["races"]
    where = f"{here['cores']} cores, {here['cpu']}, {here['memory_gb']} GB, {here['system']}"
    where += "".join(f", {name}={value}" for name, value in here["settings"].items())
    sections = [text for name, race in races.items() for text in race_section(name, race)]
    page = ["# Races", "", "Written by `benchmarks/report.py` from the record of `benchmarks/race.py`.", ""]
    page += [f"Machine: {where}.", "", *versions(races), "", "## Goals", "", *goals_table(races), ""]
    page += ["## Results", "", *sections]
    if scale is not None:
        from scale_report import scale_section

        page += scale_section(scale)
    page += [notes.strip()]
    return "\n".join(page) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=Path, nargs="?", default=HERE.parent / "docs" / "benchmarks.json")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "benchmarks.md")
    asked = parser.parse_args()
    record, scale = json.loads(asked.record.read_text()), asked.record.with_name("scale.json")
    scale = json.loads(scale.read_text()) if scale.exists() else None
    asked.out.write_text(report(record, (HERE / "notes.md").read_text(), scale))


if __name__ == "__main__":
    main()
