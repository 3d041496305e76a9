"""A real client process that has a farm run no-op actions.

Prints the seconds from the first submission to the last result.

Usage: python -m tests.bench.dispatch_client BROKER COUNT SALT
"""

from __future__ import annotations

import sys

from tests.bench.bare_client import run_all
from zbuild.model.action import Action, encode_action
from zbuild.model.capabilities import Capabilities
from zbuild.protocol.messages import Submission


def no_op(number: int, salt: str) -> Action:
    """An action like no other: nothing is to come from the cache, and nothing is to be joined."""
    return Action(
        platform=(),
        sandbox="hermetic",
        capabilities=Capabilities(timeout_s=1.0),
        arguments=("/bin/true", str(number), salt),
        environment=(("LANG", "C.UTF-8"),),
        working_directory="/zb/src",
        writable_root="/zb/src",
        inputs=(),
        directories=(),
        outputs=(),
    )


def main(broker: str, count: int, salt: str) -> None:
    submissions = [
        Submission(*encode_action(no_op(number, salt)), weight_s=1.0, expected_s=0.0005) for number in range(count)
    ]
    print(run_all(broker, submissions).makespan_s)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
