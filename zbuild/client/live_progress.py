"""The line that moves, on a terminal: how much is done, and what was done last. rich draws it."""

from __future__ import annotations

import time
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from zbuild.limits import REFRESH_S

_BAR_WIDTH = 20


class LiveProgress:
    """A bar and a text at the bottom of the terminal. It draws only when asked, so no thread is needed."""

    def __init__(self, stream: TextIO) -> None:
        text = TextColumn("{task.fields[text]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))
        self._progress = Progress(
            BarColumn(bar_width=_BAR_WIDTH),
            text,
            console=Console(file=stream),
            auto_refresh=False,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, text="")
        self._is_shown = False
        self._next_refresh_s = 0.0

    def show(self, text: str, done: int, total: int) -> None:
        """Draw anew, but not more often than the eye can follow."""
        self._progress.update(self._task, completed=done, total=total, text=text)
        now_s = time.monotonic()
        if not self._is_shown:
            self._progress.start()
            self._is_shown = True
        elif now_s < self._next_refresh_s:
            return
        self._progress.refresh()
        self._next_refresh_s = now_s + REFRESH_S

    def hide(self) -> None:
        """Give the terminal back, without a trace of the bar."""
        if self._is_shown:
            self._progress.stop()
            self._is_shown = False
