"""What ``zbuild verify`` found, for a person and as one JSON object."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from zbuild.client.first_difference import FirstDifference


@dataclass(frozen=True, slots=True)
class ReportedDifference:
    """The first thing in which two runs of one action differ.

    Attributes:
        output: the edge's first output; ``path`` is what differs, as the user spells it.
        what: see Mismatch.
        workers: who ran it; ``shown`` is what each had, in the same order.
        content: where the bytes differ, for ``what`` = content.
        others: further things in which the two runs differ.
    """

    output: str
    command: str
    path: str
    what: str
    workers: tuple[str, str]
    shown: tuple[str, str]
    content: FirstDifference | None = None
    others: int = 0

    def lines(self) -> Iterator[str]:
        path = _printable(self.path)
        where = f"{path}: the {self.what} differs" if self.what != path else f"the {self.what} differs"
        if self.content is not None:
            place = f" ({self.content.place})" if self.content.place else ""
            where = f"{path} differs from byte {self.content.offset} on{place}"
        yield f"DIFFERENT: {self.output}"
        yield f"  {self.command}"
        yield f"  {where}" + (f", and {self.others} more" if self.others else "")
        width = max(map(len, self.workers))
        for worker, text in zip(self.workers, self.shown, strict=True):
            yield f"  {worker:{width}}  {_printable(text) or '(ends here)'}"


def _printable(text: str) -> str:
    """Whoever made the bytes has no say in what the terminal does."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


@dataclass
class VerificationReport:
    """Counts of commands, phony edges left out.

    Attributes:
        actions: commands of the targets; the sum of the next three.
        identical: came out the same on two workers.
        different: did not; ``differences`` has each.
        unverified_reasons: of the rest, by reason.
    """

    workers: tuple[str, ...] = ()
    identical: int = 0
    differences: list[ReportedDifference] = field(default_factory=list)
    unverified_reasons: Counter[str] = field(default_factory=Counter)
    wall_seconds: float = 0.0

    @property
    def different(self) -> int:
        return len(self.differences)

    @property
    def actions(self) -> int:
        return self.identical + self.different + self.unverified_reasons.total()

    def line(self) -> str:
        """One line for a person."""
        parts = [f"{self.actions} actions", f"{self.identical} identical", f"{self.different} different"]
        if self.unverified_reasons:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.unverified_reasons.items()))
            parts.append(f"{self.unverified_reasons.total()} not verified ({reasons})")
        return f"zbuild: {', '.join(parts)}; on {len(self.workers)} workers; {self.wall_seconds:.2f} s"

    def to_json(self) -> str:
        """One object on one line; keys as the attributes are called."""
        differences = [
            {
                "output": each.output,
                "command": each.command,
                "path": each.path,
                "what": each.what,
                "offset": each.content.offset if each.content is not None else None,
                "place": each.content.place if each.content is not None else "",
                "runs": dict(zip(each.workers, each.shown, strict=True)),
                "others": each.others,
            }
            for each in self.differences
        ]
        return json.dumps(
            {
                "actions": self.actions,
                "identical": self.identical,
                "different": self.different,
                "unverified_reasons": dict(sorted(self.unverified_reasons.items())),
                "differences": differences,
                "workers": list(self.workers),
                "wall_seconds": round(self.wall_seconds, 3),
            }
        )
