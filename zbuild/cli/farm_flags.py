"""The flags by which a client command chooses its farm."""

from __future__ import annotations

import argparse

CONFIG_KEYS = ("coordinator", "local_workers", "sandbox", "priority", "cache_dir")
"""Flags of ``add_farm_flags`` that override a setting of the same name."""

FALLBACK_KEYS = ("local_fallback",)
"""That of ``add_fallback_flag``."""


def add_fallback_flag(parser: argparse.ArgumentParser) -> None:
    """For the commands that may run here what the farm cannot run."""
    parser.add_argument(
        "--local-fallback",
        action="store_const",
        const=True,
        help="run here, in no sandbox, what the farm cannot: no broker, no worker left, or none that could",
    )


def add_farm_flags(parser: argparse.ArgumentParser) -> None:
    """Add them, as a group of their own in the help."""
    farm = parser.add_argument_group("farm")
    farm.add_argument("--distributed", action="store_true", help="use a farm: --coordinator, config, or LAN discovery")
    farm.add_argument("--coordinator", metavar="URL", help="the broker of the farm, http://HOST:9000")
    farm.add_argument("--local-workers", type=int, metavar="N", help="workers here beside the farm's")
    farm.add_argument("--sandbox", metavar="LEVEL", help="hermetic, process or none")
    farm.add_argument("--priority", metavar="P", help="low, normal, high or critical")
    farm.add_argument("--own-paths", action="store_true", help="run under this tree's own paths; see README")
    farm.add_argument("--cache-dir", metavar="DIR", help="where digests, results and the embedded farm are kept")
    farm.add_argument("--config", metavar="FILE", help="TOML file of settings; flags override it")
