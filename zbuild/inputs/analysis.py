"""Decides for one command of a build whether it can run remotely, and with what."""

from __future__ import annotations

import os
import re

from zbuild.inputs.compile_command import is_compiler
from zbuild.inputs.compile_inputs import gather_compile
from zbuild.inputs.context import AnalysisContext
from zbuild.inputs.description import Analysis, CommandDescription, Local, Remote
from zbuild.inputs.gathering import Gathering, StayLocal, named_variables
from zbuild.inputs.include_scan import ScanRequest
from zbuild.inputs.include_search import IncludeDirectories
from zbuild.inputs.launcher import is_ctest_launch, unwrap, wrapped_compile
from zbuild.inputs.local_reason import LocalReason
from zbuild.inputs.paths import absolute
from zbuild.inputs.shell import BUILTINS, SimpleCommand, parse
from zbuild.inputs.tool_inputs import gather_tool, use_program

__all__ = [
    "Analysis",
    "AnalysisContext",
    "CommandDescription",
    "Local",
    "LocalReason",
    "Remote",
    "analyse",
    "with_more_inputs",
]

_ARCHIVERS = ("ar", "gcc-ar", "llvm-ar", "ranlib", "gcc-ranlib", "llvm-ranlib")
_UTILITY = re.compile(r"(?:^|/)(?:CMakeFiles/[^/]+|meson-internal__[^/]*)\Z")
_APPENDING_TAR = {"-r", "--append", "-u", "--update", "-A", "--concatenate", "--catenate", "-rf", "-uf", "rf", "uf"}
_CLOCKS = ("date", "uuidgen")
_ASSEMBLERS = ("nasm", "yasm")
_LINKERS = ("ld", "ld.bfd", "ld.gold", "ld.lld", "ld.mold")


def analyse(description: CommandDescription, context: AnalysisContext) -> Analysis:
    """All inputs that other edges make must exist by now."""
    gathering = Gathering(description, context)
    try:
        environment = {**named_variables(description.command, context.whole_environment), **context.user_environment}
        parsed = parse(description.command, gathering.working_directory, environment)
        if parsed.reason is not None:
            raise StayLocal(LocalReason.SHELL_SYNTAX, parsed.reason)
        for command in parsed.commands:
            _gather(gathering, command, depth=0)
        _add_declared(gathering)
        _check_outputs(gathering)
        return _checked_text(gathering.remote(parsed.commands))
    except StayLocal as decision:
        return Local(decision.reason, decision.detail)
    except OSError as problem:
        return Local(LocalReason.UNREADABLE_INPUT, str(problem))


def _checked_text(remote: Remote) -> Remote:
    """Messages and the sandbox's paths are UTF-8; a file name of Linux may be any bytes."""
    texts = [*remote.arguments, *remote.inputs.values(), *(output.path for output in remote.outputs)]
    texts += [remote.working_directory, *remote.directories, *(value for _, value in remote.environment)]
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as problem:
        raise StayLocal(LocalReason.NOT_UNICODE, repr(problem.object[problem.start : problem.end])) from problem
    return remote


def with_more_inputs(analysis: Remote, paths: list[str], context: AnalysisContext) -> Remote:
    """``analysis`` with those of ``paths`` (user paths) that exist and were not staged, and what they include.

    The same object when there is nothing to add.
    """
    for path in paths:
        if not context.tree.has_file(path) and context.tree.has_come(path):
            context.invalidate(path)
    canonical = context.roots.to_canonical
    outputs = {output.path for output in analysis.outputs}
    inline = {path for path, _ in analysis.inline_inputs}
    found = [
        path
        for path in paths
        if path not in analysis.inputs and context.tree.has_file(path) and not context.roots.is_system(path)
    ]
    found = [path for path in found if canonical(path) not in outputs and canonical(path) not in inline]
    directories = [
        path for path in paths if context.tree.has_directory(path) and canonical(path) not in analysis.directories
    ]
    directories = [path for path in directories if not context.roots.is_system(path)]
    if not found and not directories:
        return analysis
    files = set(found)
    if analysis.kind == "compile":
        search = IncludeDirectories(include=analysis.search_directories)
        sources = tuple(path for path in found if not context.is_object(path))
        files |= context.scanner.scan(ScanRequest(sources, context.roots.build_dir, search)).files
    inputs = {**analysis.inputs, **{path: canonical(path) for path in files}}
    return analysis._replace(
        inputs={path: there for path, there in inputs.items() if there not in outputs and there not in inline},
        directories=tuple(sorted({*analysis.directories, *map(canonical, directories)})),
    )


def _gather(gathering: Gathering, command: SimpleCommand, depth: int) -> None:
    for operator, target in command.redirects:
        _add_redirect(gathering, command, operator, target)
    if is_ctest_launch(command.argv) and "CTEST_LAUNCH_LOGS" in gathering.context.whole_environment:
        raise StayLocal(LocalReason.UNKNOWN_OUTPUTS, "ctest --launch with CTEST_LAUNCH_LOGS")
    unwrapped = unwrap(command.argv)
    for launcher in unwrapped.launchers:
        use_program(gathering, command, launcher)
    for dropped in unwrapped.dropped:
        gathering.replacements.append((command, dropped, ""))
    argv = unwrapped.argv
    if not argv:
        return
    if unwrapped.script is not None:
        _gather_script(gathering, command, argv, unwrapped.script, depth)
        return
    if "--" in argv and "--internal" in argv:
        inner = argv[argv.index("--") + 1 :]
        gather_tool(gathering, command, argv[: argv.index("--")])
        _gather(gathering, command._replace(argv=inner, redirects=()), depth + 1)
        return
    if (start := wrapped_compile(argv)) and _output_of(argv[start:], command) in gathering.outputs:
        gather_tool(gathering, command, argv[:start])
        gathering.has_tool = True
        argv = argv[start:]
    if is_compiler(argv[0]):
        path = use_program(gathering, command, argv[0])
        if "/ccache" in gathering.context.real_program(path):
            gathering.environment["CCACHE_DISABLE"] = "1"
        gather_compile(gathering, command, argv, path)
        return
    _check_in_place(gathering, command, argv)
    gather_tool(gathering, command, argv)
    _note_kind(gathering, argv)


def _note_kind(gathering: Gathering, argv: tuple[str, ...]) -> None:
    """What sort of program other than a compiler the action runs."""
    name = os.path.basename(argv[0])
    if name in _CLOCKS:
        gathering.uncacheable.append(f"{name} prints something else each time")
    if name.rpartition("-")[2] in _ARCHIVERS or name in _ARCHIVERS:
        gathering.kind = "archive"
    elif name in _LINKERS:
        gathering.kind = "link"
    elif name in _ASSEMBLERS and all(map(gathering.context.is_object, gathering.description.outputs)):
        # As a compiler does, it names the source in the object, and there may be what it is told by -D.
        gathering.kind = "assembly"
        gathering.has_tool = True
    elif argv[0] not in BUILTINS and argv[:3] != (argv[0], "-E", "rm"):
        gathering.has_tool = True


def _output_of(argv: tuple[str, ...], command: SimpleCommand) -> str | None:
    named = (argv[position + 1] for position, word in enumerate(argv[:-1]) if word == "-o")
    return next((absolute(word, command.working_directory) for word in named), None)


def _check_in_place(gathering: Gathering, command: SimpleCommand, argv: tuple[str, ...]) -> None:
    """A program that keeps what its output holds already, unless an earlier command of the line has removed that.

    ninja leaves the outputs of the last time where they are; in the sandbox there are none.
    """
    name = os.path.basename(argv[0])
    paths = {absolute(word, command.working_directory) for word in argv[1:]}
    if name == "rm" or argv[1:3] in (("-E", "rm"), ("-E", "remove")):
        gathering.removed |= paths
    elif name == "zip" or name.rpartition("-")[2] in _ARCHIVERS or (name == "tar" and _APPENDING_TAR & {*argv[1:]}):
        for path in sorted(paths & gathering.outputs.keys() - gathering.removed):
            if gathering.context.tree.has_file(path):
                raise StayLocal(LocalReason.APPENDS, path)


def _gather_script(gathering: Gathering, command: SimpleCommand, argv: tuple[str, ...], text: str, depth: int) -> None:
    """``sh -c 'text'``: the text is mapped with the rest of the line; its commands are looked at like any others."""
    use_program(gathering, command, argv[0])
    parsed = parse(text, command.working_directory, gathering.context.user_environment)
    if parsed.reason is not None or depth > 2:
        raise StayLocal(LocalReason.SHELL_SYNTAX, parsed.reason or "deeply nested commands")
    for inner in parsed.commands:
        if inner.working_directory != command.working_directory:
            raise StayLocal(LocalReason.SHELL_SYNTAX, "cd inside sh -c")
        _gather(gathering, inner, depth + 1)


def _add_redirect(gathering: Gathering, command: SimpleCommand, operator: str, target: str) -> None:
    if target.isdigit() or target == "-" or target.startswith("/dev/"):
        return
    path = absolute(target, command.working_directory)
    if operator in ("<", "<>"):
        gathering.add_file(path)
        return
    if operator == ">>" and path not in gathering.removed and gathering.context.tree.has_file(path):
        raise StayLocal(LocalReason.APPENDS, path)
    if operator == ">":
        gathering.removed.add(path)
    if path not in gathering.outputs:
        gathering.add_output(path)


def _check_outputs(gathering: Gathering) -> None:
    """CMake's utility and Meson's run targets declare an output that nobody makes, and not what they do make."""
    outputs = gathering.description.outputs
    if gathering.kind == "tool" and outputs and all(_UTILITY.search(path) for path in outputs):
        raise StayLocal(LocalReason.UNKNOWN_OUTPUTS, f"utility target {outputs[0]}")


def _add_declared(gathering: Gathering) -> None:
    """What the edge declares. A compile does not read objects and programs just because it waits for them.

    What a compile read last time is of use only where the scan is unsure: it may name headers that are no longer
    included, and would then give the action another key than it has for somebody who builds for the first time.
    """
    context = gathering.context
    directory = gathering.working_directory
    is_compile = gathering.kind == "compile"
    archives = []
    for spelled in gathering.description.inputs:
        path = absolute(spelled, directory)
        if context.tree.has_file(path):
            if not (is_compile and context.is_object(path)):
                gathering.add_file(path)
                archives.append(path)
        elif context.tree.has_directory(path) and not is_compile:
            gathering.add_directory_content(path, is_declared=True)
    is_scanned = is_compile and not gathering.unsure
    for spelled in () if is_scanned else gathering.description.known_deps or ():
        path = absolute(spelled, directory)
        if not context.roots.is_system(path):
            gathering.add_file(path)
    if gathering.kind in ("link", "archive"):
        from zbuild.inputs.link_inputs import find_link_inputs

        found = find_link_inputs(archives, (), (), (), context.roots.is_system)
        for path in found.files:
            gathering.add_file(path)
