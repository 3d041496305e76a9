"""The table of results that the repository shows: chaos/RESULTS.md, and the sums of it in README.md.

Both are made from chaos/results.json, which ``python -m chaos all --report`` writes; a test holds the three together.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from chaos.scenario import SCENARIOS

HERE = Path(__file__).resolve().parent
RESULTS_JSON = HERE / "results.json"
RESULTS_TABLE = HERE / "RESULTS.md"
README = HERE.parent / "README.md"

_BLOCK = re.compile(r"(<!-- chaos results -->\n).*?(<!-- end of chaos results -->)", re.DOTALL)

_COUNTS = ("builds", "actions", "faults", "runs_again")

Row = dict[str, Any]


def write_report(results: Iterable[Row], *, is_full: bool) -> None:
    """Replace the results of the one gate, and everything that shows them."""
    kept: dict[str, list[Row]] = json.loads(RESULTS_JSON.read_text()) if RESULTS_JSON.exists() else {}
    kept["full" if is_full else "quick"] = _rows(results)
    RESULTS_JSON.write_text(json.dumps(kept, indent=1) + "\n")
    RESULTS_TABLE.write_text(table(kept))
    README.write_text(with_sums(README.read_text(), kept))


def table(kept: dict[str, list[Row]]) -> str:
    """RESULTS.md."""
    lines = ["# Chaos: results", ""]
    lines += [
        "Made by `python -m chaos all --quick --report` and `--full --report`; do not edit. Recovery is the longest"
    ]
    lines += ["time from a fault, or from the end of one that lasts, to the next result that a client got."]
    for gate, rows in sorted(kept.items(), reverse=True):
        lines += ["", f"## --{gate}", "", _sum_line(gate, rows), ""]
        lines += [
            "| scenario | seeds | builds | actions | faults | runs again | violations | recovery, s | wall, s | |"
        ]
        lines += ["|---|---|---|---|---|---|---|---|---|---|"]
        for row in rows:
            figures = ", ".join(f"{name} {value:g}" for name, value in row["figures"].items())
            figures += f"**not run: {row['not_run']}**" if row["not_run"] else ""
            counts = " | ".join(str(row[name]) for name in _COUNTS)
            lines.append(
                f"| {row['scenario']} | {row['seeds']} | {counts} | {row['violations']} "
                f"| {row['recovery_s']:.2f} | {row['wall_s']:.1f} | {figures} |"
            )
    return "\n".join([*lines, ""])


def with_sums(readme: str, kept: dict[str, list[Row]]) -> str:
    """README.md with the sums of each gate between its two marks."""
    lines = [f"- {_sum_line(gate, rows)}" for gate, rows in sorted(kept.items(), reverse=True)]
    return _BLOCK.sub(lambda match: match[1] + "\n".join([*lines, ""]) + match[2], readme)


def _sum_line(gate: str, rows: list[Row]) -> str:
    total = {name: sum(row[name] for row in rows) for name in (*_COUNTS, "runs", "violations", "not_run")}
    worst = max(rows, key=lambda row: float(row["recovery_s"]))
    return (
        f"`python -m chaos all --{gate}`: {len(rows)} scenarios, {total['runs']} runs, {total['builds']} builds, "
        f"{total['actions']} actions, {total['faults']} faults, **{total['violations']} violations**; "
        f"slowest recovery {worst['recovery_s']:.1f} s ({worst['scenario']})."
        + (f" Not run: {total['not_run']} more runs." if total["not_run"] else "")
    )


def _rows(results: Iterable[Row]) -> list[Row]:
    """One row for each scenario, over those of its seeds that were run; ``not_run`` counts the others."""
    grouped: dict[str, list[Row]] = {}
    not_run: Counter[str] = Counter()
    for result in results:
        if "absent" in result or "late" in result:
            not_run[result["scenario"]] += 1
        else:
            grouped.setdefault(result["scenario"], []).append(result)
    rows = []
    for name in SCENARIOS:
        runs = grouped.get(name, [])
        if not runs and not not_run[name]:
            continue
        seeds = sorted(run["seed"] for run in runs)
        figures: dict[str, float] = {}
        for run in runs:
            for figure, value in run.get("figures", {}).items():
                figures[figure] = round(max(figures.get(figure, value), value), 2)
        row: Row = {
            "scenario": name,
            "runs": len(runs),
            "seeds": f"{seeds[0]}-{seeds[-1]}" if len(seeds) > 1 else "".join(map(str, seeds)) or "none",
            "not_run": not_run[name],
            "violations": sum(len(run["violations"]) for run in runs),
            "recovery_s": round(max((run.get("recovery_s", 0.0) for run in runs), default=0.0), 2),
            "wall_s": round(max((run["total_s"] for run in runs), default=0.0), 1),
            "figures": figures,
        }
        rows.append(row | {count: sum(run.get(count, 0) for run in runs) for count in _COUNTS})
    return rows
