"""What chaos tests may switch on in a daemon through its environment; see zbuild/testing."""

from __future__ import annotations

from collections.abc import Mapping

VARIABLES = ("ZBUILD_FAILPOINT", "ZBUILD_HISTORY")


def install(role: str, environ: Mapping[str, str]) -> None:
    """Install what the environment asks for. Without a request nothing is even imported.

    Args:
        role: broker, worker or store.

    Raises:
        BadInput: a failpoint is named that does not exist.
    """
    if not any(environ.get(variable) for variable in VARIABLES):
        return
    from zbuild.testing.failpoints import arm
    from zbuild.testing.recorder import record

    if role != "store":
        record(role, environ)
    arm(role, environ)
