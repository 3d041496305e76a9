"""What a benchmark has found: tables, aims, and everything that was left out."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Row = dict[str, object]


def machine() -> Row:
    """What the figures depend on. The load says whether anybody else was at work when the run began."""
    return {"processors": len(os.sched_getaffinity(0)), "load": round(os.getloadavg()[0], 2)}


@dataclass(frozen=True)
class Aim:
    """A figure that the project has set itself.

    Attributes:
        measured: None when it could not be measured; the aim is then not met.
        relation: ``<=`` or ``>=``.
    """

    name: str
    measured: float | None
    relation: str
    bound: float

    @property
    def is_met(self) -> bool:
        if self.measured is None:
            return False
        return self.measured <= self.bound if self.relation == "<=" else self.measured >= self.bound

    def to_row(self) -> Row:
        return {
            "aim": self.name,
            "measured": self.measured,
            "bound": f"{self.relation} {self.bound:g}",
            "met": "met" if self.is_met else "NOT MET",
        }


@dataclass
class Report:
    """The outcome of one benchmark.

    Attributes:
        tables: title to rows; all rows of a table have the keys of its first.
        notes: what was left out and why, and how to read the figures.
    """

    benchmark: str
    tables: dict[str, list[Row]] = field(default_factory=dict)
    aims: list[Aim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    machine: Row = field(default_factory=machine)

    def to_json(self) -> str:
        return json.dumps(
            {
                "benchmark": self.benchmark,
                "machine": self.machine,
                "tables": self.tables,
                "aims": [{**aim.to_row(), "met": aim.is_met} for aim in self.aims],
                "notes": self.notes,
            },
            indent=1,
        )

    def to_text(self) -> str:
        blocks = [f"{self.benchmark}: " + ", ".join(f"{name} {value}" for name, value in self.machine.items())]
        blocks += [f"{title}\n{_table(rows)}" for title, rows in self.tables.items() if rows]
        if self.aims:
            blocks.append(_table([aim.to_row() for aim in self.aims]))
        blocks += [f"note: {note}" for note in self.notes]
        return "\n\n".join(blocks)


def spread(values: Sequence[float]) -> Row:
    """Median, extremes and, from 20 values on, the 99th percentile (nearest rank)."""
    row: Row = {
        "median_s": round(statistics.median(values), 4),
        "min_s": round(min(values), 4),
        "max_s": round(max(values), 4),
    }
    if len(values) >= 20:
        row["p99_s"] = round(sorted(values)[-(-99 * len(values) // 100) - 1], 4)
    return row


def ratio(values: Sequence[float], to: Sequence[float]) -> float:
    """The median of the quotients of each round: the load of the machine drifts, and one round shares it."""
    return round(statistics.median(value / base for value, base in zip(values, to, strict=True)), 3)


def _table(rows: Iterable[Row]) -> str:
    rows = list(rows)
    names = list(rows[0])
    cells = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
