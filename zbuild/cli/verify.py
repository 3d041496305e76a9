"""``zbuild verify``: whether the commands of a build make the same thing wherever they run."""

from __future__ import annotations

import argparse
import os
import sys
import time

from zbuild.cli.build_lock import locked_directory
from zbuild.cli.farm_flags import CONFIG_KEYS, add_farm_flags
from zbuild.client.verification_report import VerificationReport
from zbuild.config import ClientConfig
from zbuild.errors import BadInput, ExitCode, ZbuildError


def main(arguments: list[str]) -> int:
    """Verify targets; 0 when no difference was found, 1 when one was."""
    parser = argparse.ArgumentParser(
        prog="zbuild verify",
        description="Run each command of the targets twice, on different workers, and compare what they make."
        " Nothing comes from the cache, nothing goes into it, and the build directory stays as it is.",
        epilog="The inputs are those on disk: build first, with zbuild build.",
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: the manifest's defaults")
    parser.add_argument("-C", dest="directory", metavar="DIR", help="change to DIR first")
    parser.add_argument("-f", dest="file", default="build.ninja", metavar="FILE", help="the manifest [build.ninja]")
    parser.add_argument("--json", dest="is_json", action="store_true", help="print the report on stdout as JSON")
    add_farm_flags(parser)
    flags = parser.parse_args(arguments)
    began_s = time.monotonic()
    report = VerificationReport()
    try:
        code = _verify(flags, report)
    except (ZbuildError, OSError) as error:
        print(f"zbuild: error: {error}", file=sys.stderr)
        code = int(error.exit_code) if isinstance(error, ZbuildError) else int(ExitCode.LOCAL_ENVIRONMENT)
    report.wall_seconds = time.monotonic() - began_s
    if not flags.is_json:
        for difference in report.differences:
            print("\n".join(difference.lines()))
    sys.stdout.flush()
    if report.workers:
        print(report.line(), file=sys.stderr)
    if flags.is_json:
        print(report.to_json(), flush=True)
    return code


def _verify(flags: argparse.Namespace, report: VerificationReport) -> int:
    if flags.directory is not None:
        try:
            os.chdir(flags.directory)
        except OSError as error:
            raise BadInput(f"cannot change to {flags.directory!r}: {error.strerror}") from error
    config = ClientConfig.load(flags.config, {key: getattr(flags, key) for key in CONFIG_KEYS})
    from zbuild.cli.verify_run import VerifyRun

    with locked_directory(lambda text: print(f"zbuild: warning: {text}", file=sys.stderr)):
        return VerifyRun(flags, config, report).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
