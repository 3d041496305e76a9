"""What has happened in a simulation: a hash to compare runs by, and lines to read after a failure."""

from __future__ import annotations

from collections.abc import Iterator

from blake3 import blake3

from zbuild.model.action import ActionId


class Story:
    """Every event in order.

    Attributes:
        names: what actions and peers are called in the lines.
    """

    def __init__(self) -> None:
        self.names: dict[bytes, str] = {}
        self.events = 0
        self._hasher = blake3()
        self._lines: list[tuple[float, str, str, object]] = []

    def tell(self, now_s: float, who: str, what: str, detail: object = "", data: bytes = b"") -> None:
        """Add an event. ``data`` takes part in the hash; ``detail`` is only for the reader."""
        self.events += 1
        self._hasher.update(b"%.9f %b %b %b\n" % (now_s, who.encode(), what.encode(), data))
        self._lines.append((now_s, who, what, detail))

    def trace_hash(self) -> str:
        return self._hasher.hexdigest()

    def lines(self, about: ActionId | None = None) -> Iterator[str]:
        """The events as text; with ``about``, those that name this action, and the faults."""
        for now_s, who, what, detail in self._lines:
            text = repr(detail) if detail != "" else ""
            if about is None or what == "fault" or repr(about) in text:
                yield f"{now_s:10.4f}  {who:<10} {what:<12} {self._with_names(text)}".rstrip()

    def _with_names(self, text: str) -> str:
        for raw, name in self.names.items():
            text = text.replace(repr(raw), name)
        return text if len(text) <= 600 else f"{text[:600]}..."
