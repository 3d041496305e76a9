"""Reads the arguments of a gcc or clang driver into a CompileCommand."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from zbuild import limits
from zbuild.inputs import driver_flags
from zbuild.inputs.compile_command import LANGUAGES, CompileCommand
from zbuild.inputs.local_reason import LocalReason
from zbuild.inputs.shell_words import NotAnalysable, tokens


def parse_compile(argv: tuple[str, ...], read_response_file: Callable[[str], str | None]) -> CompileCommand:
    """``argv[0]`` is the compiler. ``read_response_file``: the content of an ``@file``, or None if there is none."""
    parser = _Parser(argv[0], read_response_file)
    parser.read(list(argv[1:]), 0)
    return parser.finish()


def response_words(content: str) -> list[str]:
    """The words of an ``@file``: separated by white space, quotes and backslashes as libiberty's buildargv has them."""
    quoted = content.replace("\r", " ").replace("\n", " ")
    try:
        return [token.value for token in tokens(_SHELL_ONLY.sub(r"\\\g<0>", quoted), {})]
    except NotAnalysable:
        return quoted.split()


_PCH_SOURCES = ("", ".c", ".cxx")
"""CMake makes ``X.pch`` from ``X`` and ``X.cxx``, and clang wants them to be there when it reads it."""

_SHELL_ONLY = re.compile(r"(?<!\\)[$`;&|<>()*?\[#~]")


class _Parser:
    def __init__(self, compiler: str, read_response_file: Callable[[str], str | None]) -> None:
        self.command = CompileCommand(compiler)
        self._read_response_file = read_response_file
        self._language: str | None = None
        self._linker_words: list[str] = []
        self._by_output: list[tuple[str, ...]] = []
        self._writes_depfile = False
        self._has_depfile = False
        self._clang_flag = ""

    def read(self, words: list[str], depth: int) -> None:
        if depth > limits.RESPONSE_FILE_NESTING:
            self.command.stay_local(LocalReason.SHELL_SYNTAX, "response files that include one another")
            return
        position, count = 0, len(words)
        while position < count:
            word = words[position]
            position += 1
            if word[:1] != "-" or word == "-":
                if word[:1] == "@":
                    self._take_response_file(word, depth)
                elif word:
                    self._take_file(word)
                continue
            alone = driver_flags.ALONE.get(word)
            if alone is not None:
                _ACTIONS[alone](self, word, "")
                continue
            separate = driver_flags.SEPARATE.get(word)
            if separate is not None:
                if position < count:
                    _ACTIONS[separate](self, word, words[position])
                    position += 1
                continue
            joined = driver_flags.JOINED.get(word[:2])
            if joined is not None and not word.startswith("--"):
                _ACTIONS[joined](self, word[:2], word[2:])
            else:
                self._take_long(word)

    def finish(self) -> CompileCommand:
        command = self.command
        self._read_linker_words()
        for suffixes in self._by_output:
            self._add_by_output(suffixes)
        if self._writes_depfile and not self._has_depfile:
            self._add_by_output((".d",))
        return command

    def _take_long(self, word: str) -> None:
        flag, equals, value = word.partition("=")
        kind = driver_flags.VALUE.get(flag) if equals else None
        if kind is not None:
            _ACTIONS[kind](self, flag, value)
        elif word.startswith(("-Wl,", "-Wp,", "-Wa,")):
            self._take_passed_on(word)
        elif word.startswith(("-fdump-", "-fopt-info", "-fcompare-debug")):
            self.command.stay_local(LocalReason.UNKNOWN_OUTPUTS, word)
        elif word.startswith("-fprofile-dir"):
            self.command.own_path_flag = word
        else:
            for prefix in driver_flags.JOINED_LONG:
                if word.startswith(prefix):
                    _ACTIONS[driver_flags.SEPARATE[prefix]](self, prefix, word[len(prefix) :].removeprefix("="))
                    return

    def _take_passed_on(self, word: str) -> None:
        parts = word[4:].split(",")
        if word[2] == "l":
            self._linker_words += parts
        elif word[2] == "p":
            self._take_preprocessor_parts(parts)
        else:
            for part in parts:
                self._take_assembler(part)

    def _take_preprocessor_parts(self, parts: list[str]) -> None:
        """``-Wp,-MD,file``: unlike the driver's flag, the preprocessor's takes the depfile as its value."""
        if parts[0] in ("-MD", "-MMD") and len(parts) > 1:
            self._has_depfile = True
            self.command.extra_outputs.append(parts[1])
        else:
            self.read(parts, 1)

    def _take_assembler(self, part: str) -> None:
        if part.startswith("-I") and len(part) > len("-I"):
            self.command.include_dirs.append(part[2:])
        elif part.startswith(("-a", "--MD")) and "=" in part:
            self.command.extra_outputs.append(part.partition("=")[2])

    def _take_file(self, word: str) -> None:
        command = self.command
        language = self._language or LANGUAGES.get(os.path.splitext(word)[1])
        if word == "-":
            command.stay_local(LocalReason.SHELL_SYNTAX, "the compiler reads its standard input")
        elif language is None:
            command.link_inputs.append(word)
        else:
            command.sources.append((word, language))

    def _take_response_file(self, word: str, depth: int) -> None:
        content = self._read_response_file(word[1:])
        if content is None:
            self._take_file(word)
            return
        self.command.response_files.append(word[1:])
        self.read(response_words(content), depth + 1)

    def _read_linker_words(self) -> None:
        command = self.command
        words = iter(self._linker_words)
        for word in words:
            flag, equals, value = word.partition("=")
            if flag in driver_flags.LINKER_INPUTS:
                command.input_files.append(value if equals else next(words, ""))
            elif flag in driver_flags.LINKER_OUTPUTS:
                command.extra_outputs.append(value if equals else next(words, ""))
            elif flag in driver_flags.LINKER_DIRECTORIES:
                command.library_dirs += (value if equals else next(words, "")).split(":")
            elif flag in driver_flags.LINKER_VALUES:
                if not equals:
                    next(words, "")
            elif word.startswith("-L"):
                command.library_dirs.append(word[2:])
            elif word.startswith("-l"):
                command.libraries.append(word[2:])
            elif word[:1] == "@":
                content = self._read_response_file(word[1:])
                if content is not None:
                    command.response_files.append(word[1:])
            elif word[:1] != "-" and word:
                command.link_inputs.append(word)

    def _add_by_output(self, suffixes: tuple[str, ...]) -> None:
        """Files named after the output, with its suffix replaced; without ``-o`` after each source."""
        command = self.command
        if command.output is not None and not command.is_link:
            stems = [os.path.splitext(command.output)[0]]
        else:
            prefix = "" if command.output is None else command.output + "-"
            names = [os.path.splitext(os.path.basename(path))[0] for path, _ in command.sources]
            stems = [prefix + name for name in names] + names
        command.extra_outputs += [stem + suffix for stem in dict.fromkeys(stems) for suffix in suffixes]

    def _act_output(self, _flag: str, value: str) -> None:
        self.command.output = value

    def _act_language(self, _flag: str, value: str) -> None:
        self._language = None if value == "none" else value

    def _act_define(self, _flag: str, value: str) -> None:
        name, equals, body = value.partition("=")
        self.command.defines[name] = body if equals else "1"

    def _act_undefine(self, _flag: str, value: str) -> None:
        self.command.defines.pop(value, None)

    def _act_include_dir(self, _flag: str, value: str) -> None:
        self.command.include_dirs.append(value)

    def _act_quote_dir(self, _flag: str, value: str) -> None:
        self.command.quote_dirs.append(value)

    def _act_system_dir(self, _flag: str, value: str) -> None:
        self.command.system_dirs.append(value)

    def _act_after_dir(self, _flag: str, value: str) -> None:
        self.command.after_dirs.append(value)

    def _act_embed_dir(self, _flag: str, value: str) -> None:
        self.command.embed_dirs.append(value)

    def _act_split_include(self, flag: str, _value: str) -> None:
        self.command.stay_local(LocalReason.SHELL_SYNTAX, flag)

    def _act_forced_include(self, _flag: str, value: str) -> None:
        self.command.forced_includes.append(value)

    def _act_forced_macros(self, _flag: str, value: str) -> None:
        self.command.forced_macros.append(value)

    def _act_input(self, _flag: str, value: str) -> None:
        self.command.input_files.append(value)

    def _act_module(self, _flag: str, value: str) -> None:
        self.command.input_files.append(value.rpartition("=")[2])

    def _act_modules(self, _flag: str, _value: str) -> None:
        self.command.has_modules = True

    def _act_plugin(self, _flag: str, value: str) -> None:
        if "/" in value:
            self.command.input_files.append(value)

    def _act_input_dir(self, _flag: str, value: str) -> None:
        self.command.input_directories.append(value)

    def _act_tool_dir(self, flag: str, value: str) -> None:
        self.command.input_directories.append(value)
        self.command.tool_flags.append(flag + value)

    def _act_sysroot(self, flag: str, value: str) -> None:
        self.command.sysroot = value
        self.command.tool_flags.append(f"{flag}={value}" if flag.startswith("--") else flag + value)

    def _act_target(self, flag: str, value: str) -> None:
        if flag in driver_flags.SEPARATE:
            self.command.tool_flags += [flag, value]
        else:
            self.command.tool_flags.append(f"{flag}={value}" if value else flag)

    def _act_no_system(self, flag: str, _value: str) -> None:
        self.command.tool_flags.append(flag)

    _act_no_system_cxx = _act_no_system

    def _act_library_dir(self, _flag: str, value: str) -> None:
        self.command.library_dirs.append(value)

    def _act_library(self, _flag: str, value: str) -> None:
        self.command.libraries.append(value)

    def _act_linker(self, _flag: str, value: str) -> None:
        self._linker_words.append(value)

    def _act_linker_name(self, flag: str, value: str) -> None:
        self.command.tool_flags.append(f"{flag}={value}")

    def _act_assembler(self, _flag: str, value: str) -> None:
        self._take_assembler(value)

    def _act_preprocessor(self, _flag: str, value: str) -> None:
        self.read([value], 1)

    def _act_clang(self, flag: str, value: str) -> None:
        """``-Xclang -include -Xclang FILE``: the front end's flags come one word at a time.

        A precompiled header of clang names the files that it was made of, and clang compares them with what is there.
        """
        pending, self._clang_flag = self._clang_flag, ""
        if pending == "-include":
            self.command.forced_includes.append(value)
        elif pending == "-include-pch":
            self.command.input_files += [value, *(value.removesuffix(".pch") + suffix for suffix in _PCH_SOURCES)]
            self.command.own_path_flag = pending
        elif value in ("-include", "-include-pch"):
            self._clang_flag = value
        elif value == "-emit-pch":
            self.command.pch_flag = self.command.own_path_flag = value
        elif value.startswith(("-load", "-fmodule", "-emit")):
            self.command.stay_local(LocalReason.SHELL_SYNTAX, f"{flag} {value}")

    def _act_depfile(self, _flag: str, value: str) -> None:
        self._has_depfile = True
        self.command.extra_outputs.append(value)

    def _act_writes_depfile(self, _flag: str, _value: str) -> None:
        self._writes_depfile = True

    def _act_extra_output(self, _flag: str, value: str) -> None:
        self.command.extra_outputs.append(value)

    def _act_save_temps(self, _flag: str, _value: str) -> None:
        self._by_output.append((".i", ".ii", ".s", ".bc", ".mi", ".res", ".args.0"))

    def _act_split_dwarf(self, _flag: str, value: str) -> None:
        if value != "single":
            self._by_output.append((".dwo",))

    def _act_time_trace(self, _flag: str, _value: str) -> None:
        self._by_output.append((".json",))

    def _act_stack_usage(self, _flag: str, _value: str) -> None:
        self._by_output.append((".su",))

    def _act_callgraph(self, _flag: str, _value: str) -> None:
        self._by_output.append((".ci",))

    def _act_optimization_record(self, _flag: str, _value: str) -> None:
        self._by_output.append((".opt-record.json.gz", ".opt.yaml"))

    def _act_diagnostics(self, _flag: str, value: str) -> None:
        if value.endswith("-file"):
            self._by_output.append((".gcc.json", ".sarif"))

    def _act_dump_prefix(self, flag: str, value: str) -> None:
        self.command.stay_local(LocalReason.UNKNOWN_OUTPUTS, f"{flag} {value}")

    def _act_instrumented(self, flag: str, _value: str) -> None:
        """The object names the directory where the program will write its counters: it must be the user's."""
        self.command.own_path_flag = flag
        if flag in ("--coverage", "-coverage", "-ftest-coverage"):
            self._by_output.append((".gcno",))

    def _act_profile(self, flag: str, value: str) -> None:
        """gcc looks for ``<mangled working directory>#name.gcda`` unless it is given one file."""
        if os.path.splitext(value)[1] in (".gcda", ".profdata", ".afdo"):
            self.command.input_files.append(value)
        else:
            self.command.stay_local(LocalReason.BUILD_PATH, f"{flag}={value}".rstrip("="))

    def _act_cpu(self, flag: str, value: str) -> None:
        if value == "native":
            self.command.cpu_flags.append(f"{flag}={value}")

    def _act_unknown_program(self, flag: str, value: str) -> None:
        self.command.stay_local(LocalReason.TOOL_OUTSIDE, f"{flag} {value}")

    def _act_unknown_directory(self, flag: str, value: str) -> None:
        self.command.stay_local(LocalReason.SHELL_SYNTAX, f"{flag} {value}")

    def _act_object(self, flag: str, _value: str) -> None:
        self.command.mode = {"-c": "object", "-S": "assembly", "-fsyntax-only": "syntax"}.get(flag, "preprocess")

    _act_assembly = _act_preprocess = _act_syntax = _act_object

    def _act_ignored(self, _flag: str, _value: str) -> None:
        """Names no file."""

    _act_shared = _act_static = _act_ignored


_ACTIONS: dict[str, Callable[[_Parser, str, str], None]] = {
    name.removeprefix("_act_"): action for name, action in vars(_Parser).items() if name.startswith("_act_")
}
