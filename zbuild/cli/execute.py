"""``zbuild exec``: one command on the farm, its exit code passed through."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from typing import TYPE_CHECKING

from zbuild.cli.capability_flags import add_capability_flags, given_capabilities
from zbuild.cli.farm_flags import CONFIG_KEYS, FALLBACK_KEYS, add_fallback_flag, add_farm_flags
from zbuild.config import ClientConfig
from zbuild.errors import BadInput, ExitCode, ZbuildError, exit_code_of
from zbuild.limits import SILENCE_S

if TYPE_CHECKING:
    from zbuild.client.remote_job import RemoteOutcome
    from zbuild.transport.loop import Poller

OWN_FAILURE = 100
"""Added to zbuild's own exit codes, as distcc does, so that they are told from the command's."""

INTERRUPTED = OWN_FAILURE + int(ExitCode.INTERRUPTED) % OWN_FAILURE


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
    add_fallback_flag(parser)
    add_capability_flags(parser, "capabilities: what the command may do")
    flags = parser.parse_args(arguments)
    try:
        config = ClientConfig.load(flags.config, {key: getattr(flags, key) for key in CONFIG_KEYS + FALLBACK_KEYS})
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
    began_s = shown_s = time.monotonic()
    choice = FarmChoice(flags, config, 1, capabilities_of(given_capabilities(flags)))
    try:
        choice.begin()
        session = choice.open(directory, joins_stderr=False, falls_back=config.local_fallback)
        from zbuild.client.remote_job import RemoteRequest
        from zbuild.client.repeat_reason import fallback_reason
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
            until_s = min(session.next_deadline_s(), shown_s + SILENCE_S)
            events = poller.wait(until_s - time.monotonic())
            if choice.signals.descriptor in events:
                session.abandon()
                return INTERRUPTED
            now_s = time.monotonic()
            for outcome in session.pump(now_s):
                if config.local_fallback and fallback_reason(outcome.error_code):
                    print(f"zbuild: warning: runs here, in no sandbox: {outcome.error}", file=sys.stderr, flush=True)
                    return _run_here(flags, poller, choice.signals.descriptor)
                return _reported(outcome)
            if now_s - shown_s > SILENCE_S:
                text = f"zbuild: waiting for {now_s - began_s:.0f} s: {session.waiting_for(now_s)}"
                print(text, file=sys.stderr, flush=True)
                shown_s = now_s
    finally:
        for problem in choice.close():
            print(f"zbuild: warning: not kept for the next build: {problem}", file=sys.stderr)


def _reported(outcome: RemoteOutcome) -> int:
    """Print what the command has printed, and what kept it from running; the exit code."""
    sys.stdout.buffer.write(outcome.stdout)
    sys.stdout.flush()
    sys.stderr.buffer.write(outcome.stderr)
    sys.stderr.flush()
    if outcome.error:
        print(f"zbuild: error: {outcome.error}", file=sys.stderr)
    for path in map(os.path.relpath, outcome.undeclared):
        print(f"zbuild: error: undeclared input: {path} is here; add --input {path}", file=sys.stderr)
    if outcome.error_code:
        return OWN_FAILURE + int(exit_code_of(outcome.error_code))
    return outcome.exit_code


def _run_here(flags: argparse.Namespace, poller: Poller, stop_descriptor: int) -> int:
    """Run the command as a shell would; its exit code."""
    from zbuild.client.local_process import LocalProcesses

    for path in flags.output:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    processes = LocalProcesses()
    try:
        descriptor = processes.start(0, shlex.join(flags.command), is_console=True)
        poller.register(descriptor)
        while True:
            events = poller.wait(SILENCE_S)
            if stop_descriptor in events:
                processes.stop()
                return INTERRUPTED
            if descriptor in events and (outcome := processes.read(descriptor)) is not None:
                return outcome.exit_code
    finally:
        processes.kill()


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
