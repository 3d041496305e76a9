"""Gathers what a compiler driver reads: headers by the scan, files that flags name, libraries."""

from __future__ import annotations

import os
import re

from zbuild.inputs.compile_command import CompileCommand
from zbuild.inputs.compile_parser import parse_compile
from zbuild.inputs.cxx_modules import compiled_modules
from zbuild.inputs.gathering import Gathering, StayLocal
from zbuild.inputs.include_scan import ScanRequest
from zbuild.inputs.include_search import IncludeDirectories
from zbuild.inputs.local_reason import LocalReason
from zbuild.inputs.paths import absolute, is_below
from zbuild.inputs.shell import SimpleCommand

_ABSOLUTE_INCLUDE = re.compile(rb"(#[ \t]*(?:include|include_next|import)[ \t]*[\"<])(/[^\">\n]+)([\">])")

_TIME = re.compile(r"__(?:DATE|TIME)__")

PREPROCESSED = frozenset({"cpp-output", "c++-cpp-output", "assembler"})


def gather_compile(gathering: Gathering, command: SimpleCommand, argv: tuple[str, ...], compiler: str) -> None:
    """``compiler``: absolute path of ``argv[0]``.

    Raises:
        StayLocal: a flag makes the result depend on this machine, or its outputs unknown.
    """
    directory = command.working_directory
    if command.is_dynamic:
        raise StayLocal(LocalReason.SHELL_SYNTAX, "compiler flags that come from another command")
    parsed = parse_compile(argv, lambda word: gathering.read_response_file(word, directory))
    if parsed.local_reason is not None:
        raise StayLocal(parsed.local_reason, parsed.local_detail)
    if parsed.own_path_flag and gathering.roots.is_canonical:
        raise StayLocal(LocalReason.BUILD_PATH, parsed.own_path_flag)
    if parsed.cpu_flags:
        _spell_out_cpu(gathering, command, parsed, compiler)
    if parsed.pch_flag:
        # Files of the sandbox have times of their own, and clang compares those of headers with what it notes here.
        gathering.replacements.append((command, parsed.pch_flag, f"{parsed.pch_flag} -Xclang -fno-pch-timestamp"))
    gathering.kind = "link" if parsed.is_link else "compile"
    _add_named_files(gathering, parsed, directory)
    if parsed.sources:
        _add_scanned(gathering, parsed, directory, compiler)
    if parsed.is_link:
        _add_linked(gathering, parsed, directory, compiler)


def _spell_out_cpu(gathering: Gathering, command: SimpleCommand, parsed: CompileCommand, compiler: str) -> None:
    """``-march=native`` would mean the worker's CPU; the flags that the driver makes of it here mean this one."""
    flags = tuple(dict.fromkeys(parsed.cpu_flags))
    spelled = gathering.context.toolchain.native_flags(compiler, flags)
    if spelled is None:
        raise StayLocal(LocalReason.NATIVE_CPU, " ".join(flags))
    for position, flag in enumerate(parsed.cpu_flags):
        replacement = " ".join(spelled) if position == 0 else ""
        holders = [] if flag in gathering.description.command else _holders(gathering, command, parsed, flag)
        for path in holders:
            gathering.response[path] = re.sub(rf"(?<!\S){re.escape(flag)}(?!\S)", replacement, gathering.response[path])
        if not holders:
            gathering.replacements.append((command, flag, replacement))


def _holders(gathering: Gathering, command: SimpleCommand, parsed: CompileCommand, flag: str) -> list[str]:
    """The response files that hold ``flag``."""
    paths = [absolute(path, command.working_directory) for path in parsed.response_files]
    return [path for path in dict.fromkeys(paths) if flag in gathering.response.get(path, "").split()]


def _add_named_files(gathering: Gathering, parsed: CompileCommand, directory: str) -> None:
    for path in parsed.input_files:
        gathering.add_spelled(path, directory)
    for path in parsed.input_directories:
        gathering.add_directory_content(absolute(path, directory))
    if parsed.sysroot is not None and not gathering.roots.is_system(absolute(parsed.sysroot, directory)):
        gathering.add_directory_content(absolute(parsed.sysroot, directory))
    if parsed.output is not None and parsed.output != "/dev/null":
        gathering.add_output(absolute(parsed.output, directory))
    for path in parsed.extra_outputs:
        if path not in ("-", "/dev/null", "/dev/stdout"):
            gathering.add_output(absolute(path, directory))


def _add_scanned(gathering: Gathering, parsed: CompileCommand, directory: str, compiler: str) -> None:
    context = gathering.context
    sources = []
    for path, _ in parsed.sources:
        if not gathering.add_spelled(path, directory):
            raise StayLocal(LocalReason.UNREADABLE_INPUT, path)
        sources.append(absolute(path, directory))
    if parsed.has_modules:
        _add_modules(gathering, sources, directory)
    request = scan_request(gathering, parsed, directory, compiler, tuple(sources))
    try:
        result = context.scanner.scan(request)
    except OSError as problem:
        raise StayLocal(LocalReason.UNREADABLE_INPUT, str(problem)) from problem
    gathering.files |= result.files
    gathering.directories |= result.directories
    # Whether one of the build directory exists yet depends on which edges have run: the key must not.
    given = (*request.directories.quote, *request.directories.include, *request.directories.system)
    gathering.directories.update(path for path in given if gathering.roots.is_in_build(path))
    for spelled in (*parsed.quote_dirs, *parsed.include_dirs, *parsed.system_dirs, *parsed.after_dirs):
        gathering.add_crossed(spelled, directory)
    gathering.unsure += result.unsure
    if _asks_the_clock(gathering, compiler):
        gathering.uncacheable += result.time_macros
        gathering.uncacheable += [f"the command uses {macro}" for macro in _TIME.findall(gathering.description.command)]
    gathering.search_directories += [directory, *request.directories.quote, *request.directories.include]
    gathering.search_directories += request.directories.system
    for path in result.system_directories:
        if not any(is_below(path, builtin) for builtin in request.directories.builtin):
            gathering.properties.add(f"file:{path}")
    for path in result.absolute_includers:
        _map_absolute_includes(gathering, path)


def _add_modules(gathering: Gathering, sources: list[str], directory: str) -> None:
    for source in sources:
        modules = compiled_modules(gathering.context.tree.read(source))
        for path in modules.written:
            gathering.add_output(absolute(path, directory))
        for path in modules.read:
            gathering.add_file(absolute(path, directory))


def _asks_the_clock(gathering: Gathering, compiler: str) -> bool:
    """Whether ``__DATE__`` is the present date: gcc takes SOURCE_DATE_EPOCH for it since 7, clang only since 16."""
    return "clang" in os.path.basename(gathering.context.real_program(compiler))


def scan_request(
    gathering: Gathering, parsed: CompileCommand, directory: str, compiler: str, sources: tuple[str, ...]
) -> ScanRequest:
    languages = {language for _, language in parsed.sources} - PREPROCESSED
    is_cxx = any("++" in language for language in languages)
    language = "c++" if is_cxx else "c"
    builtin: tuple[str, ...] = ()
    if languages and "-nostdinc" not in parsed.tool_flags:
        found = gathering.context.toolchain.search_directories(compiler, language, tuple(parsed.tool_flags))
        if found is None:
            raise StayLocal(LocalReason.TOOL_NOT_FOUND, f"{compiler} does not say where it looks for headers")
        builtin = found.include
    environment = gathering.context.include_path
    system = environment["CPLUS_INCLUDE_PATH" if is_cxx else "C_INCLUDE_PATH"]
    sysroot = parsed.sysroot or ""

    def absolutes(paths: list[str], more: tuple[str, ...] = ()) -> tuple[str, ...]:
        spelled = [sysroot + path[1:] if path[:1] == "=" else path for path in paths]
        return tuple([absolute(path, directory) for path in spelled]) + more

    return ScanRequest(
        sources=sources,
        working_directory=directory,
        directories=IncludeDirectories(
            quote=absolutes(parsed.quote_dirs),
            include=absolutes(parsed.include_dirs, environment["CPATH"]),
            system=absolutes(parsed.system_dirs, system),
            builtin=builtin,
            after=absolutes(parsed.after_dirs),
        ),
        forced_includes=(*parsed.forced_macros, *parsed.forced_includes),
        defines=parsed.defines,
        embed_directories=absolutes(parsed.embed_dirs),
    )


def _map_absolute_includes(gathering: Gathering, path: str) -> None:
    """Unity sources include by absolute path, which is another path in the sandbox."""
    roots = gathering.roots

    def replaced(match: re.Match[bytes]) -> bytes:
        target = roots.to_canonical(match[2].decode("utf-8", "surrogateescape"))
        return match[1] + target.encode("utf-8", "surrogateescape") + match[3]

    content = gathering.context.tree.read(path)
    mapped = _ABSOLUTE_INCLUDE.sub(replaced, content)
    if mapped != content:
        gathering.inline[roots.to_canonical(path)] = mapped


def _add_linked(gathering: Gathering, parsed: CompileCommand, directory: str, compiler: str) -> None:
    context = gathering.context
    for path in parsed.link_inputs:
        gathering.add_spelled(path, directory)
    named = [absolute(path, directory) for path in (*parsed.link_inputs, *parsed.input_files)]
    for spelled in parsed.library_dirs:
        gathering.add_crossed(spelled, directory)
    library_dirs = [absolute(path, directory) for path in parsed.library_dirs if path and "$" not in path]
    library_dirs += context.include_path["LIBRARY_PATH"]
    builtin = context.toolchain.search_directories(compiler, "c", tuple(parsed.tool_flags))
    system = builtin.library if builtin is not None else ()
    from zbuild.inputs.link_inputs import find_link_inputs

    found = find_link_inputs(named, parsed.libraries, library_dirs, system, gathering.roots.is_system)
    for path in found.files:
        gathering.add_file(path)
    gathering.properties.update(f"file:{path}" for path in found.system)
    gathering.search_directories += [directory, *library_dirs]
    gathering.directories.update(path for path in library_dirs if context.tree.has_directory(path))
    for flag in parsed.tool_flags:
        if flag.startswith("-fuse-ld="):
            gathering.properties.add(f"tool:/usr/bin/ld.{flag.partition('=')[2]}")
