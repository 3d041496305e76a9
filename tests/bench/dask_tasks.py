"""No-op tasks on dask.distributed. Prints the seconds from the first submission to the last result.

Run by a Python that has ``distributed``: python dask_tasks.py COUNT SLOTS. It imports nothing of zbuild.
"""

from __future__ import annotations

import sys
import time

from distributed import Client, LocalCluster  # type: ignore[import-not-found]  # the bench installs it for itself


def no_op(number: int) -> int:
    return number


def main(count: int, slots: int) -> None:
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=slots, processes=True, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(2)
        client.gather(client.map(no_op, range(-10, 0), pure=False))
        began_s = time.perf_counter()
        client.gather(client.map(no_op, range(count), pure=False))
        print(time.perf_counter() - began_s)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
