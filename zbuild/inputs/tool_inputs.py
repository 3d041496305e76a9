"""Gathers what a program other than a compiler driver reads: itself, what it loads, and what its words name."""

from __future__ import annotations

import os
import re

from zbuild import limits
from zbuild.inputs.gathering import Gathering, StayLocal
from zbuild.inputs.local_reason import LocalReason
from zbuild.inputs.paths import absolute, is_below
from zbuild.inputs.shell import BUILTINS, SimpleCommand

VERSION_CONTROL_PROGRAMS = frozenset({"git", "hg", "svn", "svnversion", "bzr", "fossil", "jj", "darcs"})
NESTED_BUILD_PROGRAMS = frozenset(
    {
        "make",
        "gmake",
        "ninja",
        "ninja-build",
        "samu",
        "ctest",
        "cpack",
        "cargo",
        "go",
        "bazel",
        "npm",
        "yarn",
        "pip",
        "scons",
    }
)
UNKNOWN_OUTPUT_CMAKE = frozenset(
    {"cmake_autogen", "cmake_autorcc", "copy_directory", "copy_directory_if_different", "tar"}
    | {"remove_directory", "rename", "server", "capabilities"}
)
COPYING_CMAKE = frozenset({"copy", "copy_if_different", "create_symlink", "create_hardlink", "touch", "touch_nocreate"})
COPYING_PROGRAMS = frozenset({"cp", "mv", "ln", "install", "touch", "tee"})

MAPPED_SUFFIXES = frozenset(
    {".cmake", ".json", ".py", ".sh", ".pl", ".cfg", ".conf", ".ini", ".toml", ".yaml", ".yml", ".rsp", ".txt", ".list"}
)
"""Files by which the configuring step hands paths to a command: in the build directory they name the user's roots."""

_PYTHON = re.compile(r"(?:python|pypy)[\d.]*")
_NAMED_FILE = re.compile(r"[\w./+@%~-]*[./][\w./+@%~-]*")
_SPLIT_WORD = re.compile(r"[=,;:]")
_GLUED_FLAG = re.compile(r"-[A-Za-z](?=[./\w])")
_RUNS_VERSION_CONTROL = re.compile(
    r"['\"]git['\"]|\bgit\s+(?:describe|rev-parse|log|diff|status|show|ls-files)\b|GIT_EXECUTABLE"
)
_SHELLS = ("sh", "bash", "dash", "zsh", "ksh")
"""A shell script outside system and sources is a version manager's shim: what it runs is not to be seen in it."""
_SHELL_NAMES = ("sh", "bash", "dash", "perl", "awk", "gawk", "mawk", "sed", "m4")


def gather_tool(gathering: Gathering, command: SimpleCommand, argv: tuple[str, ...]) -> None:
    """One program run with its arguments. Raises StayLocal."""
    program = os.path.basename(argv[0])
    if argv[0] in BUILTINS:
        _add_words(gathering, command, argv[1:])
        return
    if program in VERSION_CONTROL_PROGRAMS:
        raise StayLocal(LocalReason.VERSION_CONTROL, program)
    if program in NESTED_BUILD_PROGRAMS:
        raise StayLocal(LocalReason.NESTED_BUILD, program)
    path = use_program(gathering, command, argv[0])
    if path in gathering.outputs:
        _add_words(gathering, command, argv[1:])
        return
    if program == "cmake":
        _check_cmake(gathering, command, argv)
    elif program in COPYING_PROGRAMS:
        _add_destination(gathering, command, argv[1:])
    _add_words(gathering, command, argv[1:])
    _add_scripts(gathering, command, argv, path)


def use_program(gathering: Gathering, command: SimpleCommand, word: str) -> str:
    """Require or stage the program, with what it loads; a line may also run what it has just linked.

    Returns its absolute path.

    Raises:
        StayLocal: there is none, or it is neither of the system nor of the project.
    """
    if "/" in word and (made := absolute(word, command.working_directory)) in gathering.outputs:
        _find_loaded(gathering, [path for path in gathering.files if path.endswith(".so") or ".so." in path])
        return made
    path = locate(gathering, command, word)
    if path is None:
        raise StayLocal(LocalReason.TOOL_NOT_FOUND, word)
    if gathering.roots.is_system(path):
        gathering.properties.add(f"tool:{path}")
        return path
    if not gathering.add_file(path):
        raise StayLocal(LocalReason.TOOL_NOT_FOUND, path)
    with open(path, "rb") as stream:
        head = stream.read(limits.SCRIPT_BYTES)
    if head.startswith(b"#!"):
        words = os.fsdecode(head.split(b"\n", 1)[0][2:]).split()
        if words and os.path.basename(words[0]) == "env":
            use_program(gathering, command, words[0])
            words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        if words:
            interpreter = use_program(gathering, command, words[0])
            if os.path.basename(words[0]) in _SHELLS and not gathering.roots.is_inside(path):
                raise StayLocal(LocalReason.TOOL_OUTSIDE, path)
            _add_scripts(gathering, command, (words[0], path), interpreter)
    elif head.startswith(b"\x7fELF"):
        _add_loaded(gathering, path)
    return path


def locate(gathering: Gathering, command: SimpleCommand, word: str) -> str | None:
    if "/" in word:
        path = absolute(word, command.working_directory)
        return path if os.path.isfile(path) else None
    return gathering.context.find_program(word)


def _add_loaded(gathering: Gathering, path: str) -> None:
    """A program that the build made, or one that is kept with the sources, and its shared libraries."""
    if not gathering.roots.is_inside(path):
        if not _is_virtual_python(path):
            raise StayLocal(LocalReason.TOOL_OUTSIDE, path)
        gathering.add_file(f"{os.path.dirname(os.path.dirname(path))}/pyvenv.cfg")
        gathering.properties.add(f"tool:{os.path.realpath(path)}")
        return
    from zbuild.inputs.elf import closure

    loaded = closure(path, gathering.context.include_path["LD_LIBRARY_PATH"])[1:]
    for library in loaded:
        gathering.add_file(library)
    _find_loaded(gathering, loaded)


def _find_loaded(gathering: Gathering, libraries: list[str]) -> None:
    """A program's run path names the user's directories, which in the sandbox have other names."""
    roots = gathering.roots
    directories = sorted({roots.to_canonical(os.path.dirname(path)) for path in libraries if roots.is_inside(path)})
    if roots.is_canonical and directories:
        given = gathering.environment.get("LD_LIBRARY_PATH", "")
        searched = dict.fromkeys([*(given.split(":") if given else []), *directories])
        gathering.environment["LD_LIBRARY_PATH"] = ":".join(searched)


def _is_virtual_python(path: str) -> bool:
    is_python = _PYTHON.fullmatch(os.path.basename(path)) is not None
    has_configuration = os.path.isfile(f"{os.path.dirname(os.path.dirname(path))}/pyvenv.cfg")
    return is_python and has_configuration and os.path.realpath(path).startswith("/usr/")


def _check_cmake(gathering: Gathering, command: SimpleCommand, argv: tuple[str, ...]) -> None:
    if argv[1:2] == ("-E",) and len(argv) > 2:
        if argv[2] in UNKNOWN_OUTPUT_CMAKE:
            raise StayLocal(LocalReason.UNKNOWN_OUTPUTS, f"cmake -E {argv[2]}")
        if argv[2] == "make_directory":
            _check_made_directories(gathering, command, argv[3:])
        elif argv[2] in COPYING_CMAKE:
            _add_destination(gathering, command, argv[3:])
    elif any(word in ("--build", "--install", "-S", "-B") or word.startswith(("-S", "-B", "-H")) for word in argv[1:]):
        raise StayLocal(LocalReason.NESTED_BUILD, " ".join(argv[:3]))
    elif "-P" in argv:
        for modules in sorted(_directories_like("/usr/share", "cmake")):
            gathering.properties.add(f"file:{modules}")


def _check_made_directories(gathering: Gathering, command: SimpleCommand, words: tuple[str, ...]) -> None:
    """One that an output is put into comes back with it; an empty one would not."""
    for word in words:
        path = absolute(word, command.working_directory)
        if not any(is_below(output, path) for output in gathering.outputs):
            raise StayLocal(LocalReason.UNKNOWN_OUTPUTS, f"cmake -E make_directory {word}")


def _directories_like(parent: str, stem: str) -> list[str]:
    return [f"{parent}/{name}" for name in os.listdir(parent) if name == stem or name.startswith(f"{stem}-")]


def _add_destination(gathering: Gathering, command: SimpleCommand, words: tuple[str, ...]) -> None:
    """The last word is written, whether the edge declares it or not; a directory gets files of the same names."""
    paths = [absolute(word, command.working_directory) for word in words if word and not word.startswith("-")]
    if not paths:
        return
    targets = paths if argv_touches(words, paths) else paths[-1:]
    for target in targets:
        if target in gathering.outputs or not gathering.roots.is_in_build(target):
            if target not in gathering.outputs:
                raise StayLocal(LocalReason.OUTPUT_OUTSIDE, target)
        elif gathering.context.tree.has_directory(target):
            for source in paths[:-1]:
                gathering.add_output(f"{target}/{os.path.basename(source)}")
        else:
            gathering.add_output(target)


def argv_touches(words: tuple[str, ...], paths: list[str]) -> bool:
    """One path is a thing to make, not a source."""
    return len(paths) == 1 and bool(words)


def _add_words(gathering: Gathering, command: SimpleCommand, words: tuple[str, ...]) -> None:
    """Every word, or part of one, that is the name of a file or of a directory here."""
    directory = command.working_directory
    for word in words:
        if not word or len(word) > limits.PATH_BYTES:
            continue
        parts = {word, _GLUED_FLAG.sub("", word, count=1)}
        parts.update(_SPLIT_WORD.split(word))
        for part in parts:
            if part.startswith("@") and gathering.read_response_file(part[1:], directory) is not None:
                _add_words(gathering, command, tuple(gathering.response[absolute(part[1:], directory)].split()))
            elif part and not part.startswith("-"):
                _add_word(gathering, part, directory)


def _add_word(gathering: Gathering, word: str, directory: str) -> None:
    path = absolute(word, directory)
    tree = gathering.context.tree
    if gathering.add_spelled(word, directory):
        _map_configured(gathering, path)
        if not gathering.roots.is_system(path):
            gathering.search_directories.append(os.path.dirname(path))
    elif tree.has_directory(path) and path != "/" and word not in (".", ".."):
        gathering.add_directory_content(path)
        gathering.search_directories.append(path)


def _map_configured(gathering: Gathering, path: str) -> None:
    """A file that the configuring step wrote names the user's directories; in the sandbox they are called otherwise."""
    roots = gathering.roots
    is_data = path.endswith(".dat") and "/meson-private/" in path
    if not roots.is_in_build(path) or not (is_data or os.path.splitext(path)[1] in MAPPED_SUFFIXES):
        return
    content = gathering.context.tree.read(path)
    if len(content) > limits.MAPPED_FILE_BYTES:
        return
    directory = gathering.working_directory
    if is_data:
        from zbuild.inputs import meson_data

        mapped = meson_data.mapped(content, lambda text: roots.map_command(text, directory))
        command = SimpleCommand(("meson",), directory)
        for text in meson_data.strings_in(content) or ():
            _add_meson_string(gathering, command, text)
    else:
        mapped = roots.map_absolute(content)
    if mapped is not None and mapped != content:
        gathering.inline[roots.to_canonical(path)] = mapped


def _add_meson_string(gathering: Gathering, command: SimpleCommand, text: str) -> None:
    path = absolute(text, command.working_directory)
    if "\n" in text or len(text) > limits.PATH_BYTES or not text:
        return
    if text.startswith("/") and os.path.isfile(path) and os.access(path, os.X_OK):
        use_program(gathering, command, text)
    elif not gathering.roots.is_system(path):
        _add_words(gathering, command, (text,))
    if path.endswith(".py") and gathering.context.tree.has_file(path):
        _add_python(gathering, [path], "/usr/bin/python3")


def _add_scripts(gathering: Gathering, command: SimpleCommand, argv: tuple[str, ...], interpreter: str) -> None:
    """What the scripts among the words import, include or name."""
    name = os.path.basename(os.path.realpath(interpreter))
    tree = gathering.context.tree
    paths = [absolute(word, command.working_directory) for word in argv[1:] if word and not word.startswith("-")]
    scripts = [path for path in paths if tree.has_file(path)]
    python = _python_of_script(gathering, interpreter)
    if python is not None:
        _add_python(gathering, [interpreter], python)
    elif _PYTHON.fullmatch(name):
        python_scripts = [path for path in scripts if path.endswith((".py", ".pyw"))] + scripts[:1]
        if "-m" in argv[:-1]:
            python_scripts += _module_files(gathering, command, argv[argv.index("-m") + 1], interpreter)
        _add_python(gathering, [path for path in dict.fromkeys(python_scripts) if _is_text(path)], interpreter)
    if name in _SHELL_NAMES:
        for path in scripts[:1]:
            _add_named_in(gathering, path, command.working_directory)
    if name == "cmake":
        for path in scripts:
            if path.endswith(".cmake"):
                _add_named_in(gathering, path, command.working_directory)


def _module_files(gathering: Gathering, command: SimpleCommand, module: str, interpreter: str) -> list[str]:
    stem = module.replace(".", "/")
    directories = [command.working_directory, *_python_search(gathering, interpreter)]
    names = (f"{stem}.py", f"{stem}/__main__.py", f"{stem}/__init__.py")
    found = [f"{directory}/{name}" for directory in directories for name in names]
    return [path for path in found if os.path.isfile(path)]


def _python_search(gathering: Gathering, interpreter: str) -> list[str]:
    found = list(gathering.context.include_path["PYTHONPATH"])
    found += gathering.context.toolchain.python_directories(interpreter)
    return found


def _add_python(gathering: Gathering, scripts: list[str], interpreter: str) -> None:
    search = _python_search(gathering, interpreter)
    try:
        from zbuild.inputs.python_imports import imports_of

        found = imports_of(scripts, search, gathering.roots.is_system)
    except OSError as problem:
        raise StayLocal(LocalReason.UNREADABLE_INPUT, str(problem)) from problem
    for path in found.files:
        gathering.add_file(path)
        if not is_below(path, "/usr"):
            _check_version_control(gathering, path)
    gathering.properties.update(f"file:{path}" for path in found.system)
    gathering.search_directories += [os.path.dirname(script) for script in scripts] + search


def _add_named_in(gathering: Gathering, path: str, working_directory: str) -> None:
    """Words of a shell, perl or cmake script that name files, beside the script or from the working directory."""
    if gathering.roots.is_system(path):
        return
    text = gathering.context.tree.read(path)[: limits.SCRIPT_BYTES].decode("utf-8", "replace")
    _check_version_control(gathering, path)
    for word in dict.fromkeys(_NAMED_FILE.findall(text)):
        if word.startswith("/") and not gathering.roots.is_inside(word):
            continue
        for directory in (os.path.dirname(path), working_directory):
            candidate = absolute(word, directory)
            if candidate not in gathering.outputs and gathering.add_file(candidate):
                _map_configured(gathering, candidate)


def _check_version_control(gathering: Gathering, path: str) -> None:
    text = gathering.context.tree.read(path)[: limits.SCRIPT_BYTES].decode("utf-8", "replace")
    if _RUNS_VERSION_CONTROL.search(text):
        raise StayLocal(LocalReason.VERSION_CONTROL, path)


def _python_of_script(gathering: Gathering, path: str) -> str | None:
    """The interpreter of a program that is a Python script: meson, and whatever pip installs."""
    with open(path, "rb") as stream:
        first = stream.readline(limits.PATH_BYTES)
    words = os.fsdecode(first[2:]).split() if first.startswith(b"#!") else []
    for word in words:
        if _PYTHON.fullmatch(os.path.basename(word)):
            return word if word.startswith("/") else gathering.context.find_program(word)
    return None


def _is_text(path: str) -> bool:
    with open(path, "rb") as stream:
        return b"\0" not in stream.read(limits.KIB)
