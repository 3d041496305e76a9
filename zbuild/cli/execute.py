"""``zbuild exec``: one command on the farm, its exit code passed through."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time

from zbuild.cli.capability_flags import add_capability_flags, given_capabilities
from zbuild.cli.farm_flags import CONFIG_KEYS, add_farm_flags
from zbuild.config import ClientConfig
from zbuild.errors import BadInput, ExitCode, ZbuildError

OWN_FAILURE = 100
"""Added to zbuild's own exit codes, as distcc does, so that they are told from the command's."""


def main(arguments: list[str]) -> int:
    """Run the command; its exit code, or OWN_FAILURE and more when it did not run."""
    parser = argparse.ArgumentParser(
        prog="zbuild exec",
        usage="zbuild exec [--input P]... [--output P]... [flags] -- CMD...",
        description="Run one command on a farm, in a sandbox that holds its inputs and nothing else.",
        epilog="Exit codes from 100 up are zbuild's own: 100 plus what zbuild build would exit with.",
    )
    parser.add_argument("--input", action="append", default=[], metavar="P", help="file or directory it reads")
    parser.add_argument("--output", action="append", default=[], metavar="P", help="file it makes")
    parser.add_argument("command", nargs="+", metavar="CMD")
    add_farm_flags(parser)
    add_capability_flags(parser, "capabilities: what the command may do")
    flags = parser.parse_args(arguments)
    try:
        config = ClientConfig.load(flags.config, {key: getattr(flags, key) for key in CONFIG_KEYS})
        return _execute(flags, config)
    except (ZbuildError, OSError) as error:
        print(f"zbuild: error: {error}", file=sys.stderr)
        code = error.exit_code if isinstance(error, ZbuildError) else ExitCode.LOCAL_ENVIRONMENT
        return OWN_FAILURE + int(code)


def _execute(flags: argparse.Namespace, config: ClientConfig) -> int:
    from zbuild.cli.farm_choice import FarmChoice
    from zbuild.model.capabilities import capabilities_of

    directory = os.getcwd()
    _check_paths(flags, directory)
    choice = FarmChoice(flags, config, 1, capabilities_of(given_capabilities(flags)))
    try:
        choice.begin()
        session = choice.open(directory, joins_stderr=False)
        from zbuild.client.remote_job import RemoteRequest
        from zbuild.inputs.description import CommandDescription, Local
        from zbuild.transport.loop import Poller

        description = CommandDescription(
            command=shlex.join(flags.command),
            working_directory=directory,
            inputs=tuple(flags.input),
            outputs=tuple(flags.output),
        )
        analysis = session.analyse(description)
        if isinstance(analysis, Local):
            raise BadInput(f"cannot run it on a farm: {analysis}")
        poller = Poller()
        poller.register(choice.signals.descriptor)
        session.register(poller)
        session.start(0, RemoteRequest(analysis=analysis, weight_s=0.0, expected_s=0.0, has_all_inputs=True))
        session.flush()
        while True:
            until_s = session.next_deadline_s() - time.monotonic()
            events = poller.wait(until_s)
            if choice.signals.descriptor in events:
                session.abandon()
                return OWN_FAILURE + int(ExitCode.INTERRUPTED) % OWN_FAILURE
            for outcome in session.pump(time.monotonic()):
                sys.stdout.buffer.write(outcome.stdout)
                sys.stdout.flush()
                sys.stderr.buffer.write(outcome.stderr)
                sys.stderr.flush()
                if outcome.error:
                    print(f"zbuild: error: {outcome.error}", file=sys.stderr)
                for path in map(os.path.relpath, outcome.undeclared):
                    print(f"zbuild: error: undeclared input: {path} is here; add --input {path}", file=sys.stderr)
                if outcome.error_code:
                    from zbuild.errors import exit_code_of

                    return OWN_FAILURE + int(exit_code_of(outcome.error_code))
                return outcome.exit_code
    finally:
        for problem in choice.close():
            print(f"zbuild: warning: not kept for the next build: {problem}", file=sys.stderr)


def _check_paths(flags: argparse.Namespace, directory: str) -> None:
    for path in flags.input:
        if not os.path.exists(path):
            raise BadInput(f"--input {path}: no such file or directory")
    both = {os.path.abspath(path) for path in flags.input} & {os.path.abspath(path) for path in flags.output}
    if both:
        raise BadInput(f"{os.path.relpath(min(both), directory)} is an --input and an --output: outputs are made anew")
    for path in flags.output:
        if not os.path.abspath(path).startswith(directory.rstrip("/") + "/"):
            raise BadInput(f"--output {path}: outputs must lie below the current directory")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
