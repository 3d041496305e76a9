"""Simulations are pure computation: they run on every processor."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    """One for each processor. They are forked: a spawned pool leaves a process to track its resources."""
    count = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(count, multiprocessing.get_context("fork")) as pool:
        yield pool
        pool.shutdown(cancel_futures=True)
