"""For any tree of headers, the scan finds all project files that ``gcc -M`` reports."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zbuild.inputs.compile_parser import parse_compile
from zbuild.inputs.file_digests import FileDigests
from zbuild.inputs.include_scan import IncludeScanner, ScanRequest
from zbuild.inputs.include_search import IncludeDirectories
from zbuild.inputs.paths import absolute, is_system
from zbuild.inputs.source_facts import SourceFactsStore
from zbuild.inputs.source_tree import Disk, SourceTree
from zbuild.inputs.toolchain import Toolchain

pytestmark = pytest.mark.needs("gcc")

TOOLCHAIN = Toolchain()

DIRECTORIES = ["s", "s/d", "i", "i/d", "j", "q"]
NAMES = ["a.h", "b.h", "d/a.h", "sys/select.h"]

LINES = [
    '#include "{name}"',
    "#include <{name}>",
    '  # include /* x */ "{name}" // y',
    '/* two\n lines */ #include "{name}"',
    '#inc\\\nlude "{name}"',
    "#if __has_include(<{name}>)\n#include <{name}>\n#endif",
    '#ifdef NEVER\n#include "{name}"\n#else\n#include <{name}>\n#endif',
    '#undef M\n#define M "{name}"\n#include M',
    "#undef M\n#undef N\n#define N <{name}>\n#define M N\n#include M",
    "#include <sys/types.h>",
    '#include "../{name}"',
    '#include "d/../{name}"',
    "#if __has_include_next(<{name}>)\n#include_next <{name}>\n#endif",
    '#if __has_include_next(<{name}>)\n#include_next "{name}"\n#endif',
    '#if __has_include("{name}")\n#include "{name}"\n#endif',
    "#include FLAG",
    "int x;",
]


class Tree(NamedTuple):
    """Headers by path, and the flags of the compile."""

    files: dict[str, str]
    flags: tuple[str, ...]


CONTENTS = st.lists(
    st.builds(lambda line, name: line.format(name=name), st.sampled_from(LINES), st.sampled_from(NAMES)),
    min_size=1,
    max_size=4,
).map(lambda lines: "#pragma once\n" + "\n".join(lines) + "\n")

PATHS = st.builds(lambda directory, name: f"{directory}/{name}", st.sampled_from(DIRECTORIES), st.sampled_from(NAMES))

FLAGS = st.lists(
    st.sampled_from(
        ["-Ii", "-Ij", "-iquoteq", "-isystemi", "-isystemj", "-idirafterj", "-I.", "-Is/d", "-I/usr/include", "-Inone"]
        + ["-includea.h", "-imacrosb.h", '-DFLAG="a.h"', "-DFLAG=<b.h>", "-Ii/../j", "-I./i", "-iquotei"]
    ),
    max_size=5,
).map(lambda flags: (*flags, "-Ii", "-Ij"))

TREES = st.builds(Tree, st.dictionaries(PATHS, CONTENTS, min_size=8, max_size=20), FLAGS)


def reported_by_gcc(directory: Path, flags: tuple[str, ...]) -> set[str]:
    """What gcc opens, whether or not it then finds an error: -H names each file at once, -M none before the end."""
    command = ["gcc", *flags, "-M", "-H", "-o", "/dev/null", "s/main.c"]
    completed = subprocess.run(command, cwd=directory, capture_output=True, check=False, text=True)
    opened = re.findall(r"^\.+ (\S+)$", completed.stderr, re.MULTILINE)
    found = {absolute(path, str(directory)) for path in (*opened, "s/main.c")}
    return {path for path in found if not is_system(path)}


def found_by_scan(directory: Path, flags: tuple[str, ...]) -> frozenset[str]:
    parsed = parse_compile(("gcc", *flags, "-c", "s/main.c"), lambda path: None)
    builtin = TOOLCHAIN.search_directories("/usr/bin/gcc", "c")
    assert builtin is not None

    def absolutes(paths: list[str]) -> tuple[str, ...]:
        return tuple(absolute(path, str(directory)) for path in paths)

    request = ScanRequest(
        sources=(f"{directory}/s/main.c",),
        working_directory=str(directory),
        directories=IncludeDirectories(
            absolutes(parsed.quote_dirs),
            absolutes(parsed.include_dirs),
            absolutes(parsed.system_dirs),
            builtin.include,
            absolutes(parsed.after_dirs),
        ),
        forced_includes=(*parsed.forced_macros, *parsed.forced_includes),
        defines=parsed.defines,
    )
    scanner = IncludeScanner(SourceTree(Disk(FileDigests())), SourceFactsStore(), is_system)
    return scanner.scan(request).files


@settings(max_examples=80)
@given(TREES, CONTENTS)
def test_the_scan_is_a_superset_of_what_gcc_reads(tree: Tree, main: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(os.path.realpath(name))
        for path, content in {**tree.files, "s/main.c": main}.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(content)
        missed = reported_by_gcc(directory, tree.flags) - found_by_scan(directory, tree.flags)
        assert not missed, {os.path.relpath(path, directory) for path in missed}
