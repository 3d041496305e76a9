"""What a build did, counted: the one line at its end, and the same as one JSON object."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zbuild.client.undeclared_read import UndeclaredRead


class Summary:
    """Counts of edges, phony ones left out.

    Attributes:
        actions: edges that were carried out, in whichever way, failed ones included.
        executed: commands that really ran: all but the cache hits.
        remote: edges that the farm answered, cache hits included.
        local: edges that ran here, outside the farm; ``local_reasons`` says why, by reason.
        retried: attempts beyond the first, after the loss of a worker or a failure of the farm.
        undeclared: commands that needed files which their edges do not declare.
        restaged: times that an action was sent again, as its failure named a further input or it left further outputs.
        stolen: actions that another worker ran than the one that the broker had given them to.
    """

    def __init__(self, sandbox: str) -> None:
        self.sandbox = sandbox
        self.actions = 0
        self.executed = 0
        self.cache_hits = 0
        self.remote = 0
        self.local = 0
        self.local_reasons: Counter[str] = Counter()
        self.failed = 0
        self.retried = 0
        self.undeclared: list[UndeclaredRead] = []
        self.restaged = 0
        self.stolen = 0
        self.uncacheable_reasons: Counter[str] = Counter()
        self.wall_seconds = 0.0

    def line(self) -> str:
        """One line for a person."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.local_reasons.items()))
        parts = [
            f"{self.actions} actions",
            f"{self.cache_hits} cache hits",
            f"{self.remote - self.cache_hits} remote",
            f"{self.local} local" + (f" ({reasons})" if reasons else ""),
            f"{self.retried} retried",
        ]
        if self.stolen:
            parts.append(f"{self.stolen} stolen")
        if self.restaged:
            parts.append(f"{self.restaged} sent again with more files")
        if self.undeclared:
            parts.append(f"{len(self.undeclared)} read undeclared files (-v says which)")
        if self.uncacheable_reasons:
            parts.append(f"{self.uncacheable_reasons.total()} not cacheable")
        if self.failed:
            parts.append(f"{self.failed} failed")
        return f"zbuild: {', '.join(parts)}; {self.wall_seconds:.2f} s; sandbox {self.sandbox}"

    def to_json(self) -> str:
        """One object on one line; keys as the attributes are called."""
        import json

        return json.dumps(
            {
                "actions": self.actions,
                "executed": self.executed,
                "cache_hits": self.cache_hits,
                "remote": self.remote,
                "local": self.local,
                "local_reasons": dict(sorted(self.local_reasons.items())),
                "failed": self.failed,
                "retried": self.retried,
                "restaged": self.restaged,
                "undeclared": [each._asdict() for each in self.undeclared],
                "stolen": self.stolen,
                "uncacheable_reasons": dict(sorted(self.uncacheable_reasons.items())),
                "wall_seconds": round(self.wall_seconds, 3),
                "sandbox": self.sandbox,
            }
        )
