"""One zbuild at a time in a build directory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from zbuild.directory_lock import lock_directory
from zbuild.errors import LockHeld


@contextlib.contextmanager
def locked_directory(warn: Callable[[str], None]) -> Iterator[None]:
    """Keep a second zbuild out of the working directory.

    Without locks the build goes on as ninja's would, which takes none, and ``warn`` is told.

    Raises:
        LockHeld: another zbuild builds here.
    """
    descriptor = -1
    try:
        descriptor = lock_directory(".", waits=False)
    except BlockingIOError:
        raise LockHeld(f"another zbuild is building in {os.getcwd()}") from None
    except OSError as error:
        warn(f"cannot lock {os.getcwd()} ({error.strerror}): a second build here would not be noticed")
    try:
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)
