"""What the flags of a build say of how its plan is carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from zbuild.client.trace import Trace


class BuildOptions(NamedTuple):
    """Flags that change how a plan is carried out.

    Attributes:
        parallelism: local commands at once.
        in_flight: edges under way at once, local and remote.
        failures_allowed: the build stops after so many failures; 0 for never.
        is_verbose: progress shows commands instead of descriptions.
        keeps_depfile, keeps_rspfile: ninja's -d keepdepfile and keeprsp.
        manifest: the file of the graph; what must be declared is said in the language of its generator.
        is_explained: -d explain, which also says of each edge why it runs on this machine.
        max_load: -l.
        trace: --trace, which is told of everything that has ended.
        falls_back: --local-fallback, which runs here what the farm cannot run.
    """

    parallelism: int
    in_flight: int
    failures_allowed: int
    is_verbose: bool = False
    keeps_depfile: bool = False
    keeps_rspfile: bool = False
    is_explained: bool = False
    manifest: str = ""
    max_load: float = 0.0
    falls_back: bool = False
    trace: Trace | None = None
