"""``zbuild doctor``: what on this machine keeps zbuild from working, or from working well."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from zbuild.cli.doctor_checks import Check, Verdict, checks, worst
from zbuild.config import ClientConfig, normalise_endpoint
from zbuild.errors import ExitCode, ZbuildError


def main(arguments: list[str]) -> int:
    """Print the report; 0 when zbuild can work here, and 1 when it cannot."""
    parser = argparse.ArgumentParser(
        prog="zbuild doctor",
        description="See whether zbuild can work on this machine, and say how to mend what it lacks.",
    )
    parser.add_argument("--coordinator", metavar="URL", help="a broker that should answer, http://HOST:9000")
    parser.add_argument("--cache-dir", metavar="DIR", help="where blobs are to be kept")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file of settings; flags override it")
    parser.add_argument("--json", dest="is_json", action="store_true", help="print one JSON object")
    flags = parser.parse_args(arguments)
    try:
        settings = {"coordinator": flags.coordinator, "cache_dir": flags.cache_dir}
        config = ClientConfig.load(flags.config, settings)
        broker = normalise_endpoint(config.coordinator) if config.coordinator else ""
        cache_dir = config.directory(os.environ)
    except ZbuildError as error:
        print(f"zbuild: error: {error}", file=sys.stderr)
        return int(error.exit_code)
    from zbuild.cli.doctor_facts import gather

    found = checks(gather(cache_dir, broker))
    verdict = worst(found)
    if flags.is_json:
        print(json.dumps({"verdict": verdict.value, "checks": [_as_object(check) for check in found]}))
    else:
        print("\n".join(line for check in found for line in _as_lines(check)))
    return int(ExitCode.ACTION_FAILED if verdict is Verdict.FAIL else ExitCode.OK)


def _as_object(check: Check) -> dict[str, str]:
    return {"name": check.name, "verdict": check.verdict.value, "said": check.said, "fix": check.fix}


def _as_lines(check: Check) -> list[str]:
    lines = [f"{check.verdict.value:5} {check.name + ':':18} {check.said}"]
    return [*lines, f"{'':25}fix: {check.fix}"] if check.fix else lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
