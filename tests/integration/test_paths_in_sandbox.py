"""The sandbox has paths of its own; what the user gets to see, and what is built, has the user's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.integration.tree import Tree

pytestmark = pytest.mark.needs("bubblewrap", "ninja", "gcc")


@pytest.fixture
def main_c(tree: Tree, token: str) -> Tree:
    """A program of one source that includes ``value.h``."""
    tree.write(
        {"main.c": f'#include <stdio.h>\n#include "value.h"\nint main(void) {{ return VALUE; }} int t{token};\n'}
    )
    return tree


def test_dependencies_are_those_that_ninja_records(main_c: Tree) -> None:
    main_c.write({"include/value.h": "#define VALUE 1\n"})
    main_c.manifest(f"build main.o: cc {main_c.root}/main.c\n  flags = -I{main_c.root}/include\n")
    main_c.zbuild()
    ours = main_c.ninja("-t", "deps", "main.o").stdout.splitlines()[1:]
    (main_c.build / "main.o").unlink()
    main_c.ninja()

    assert ours == main_c.ninja("-t", "deps", "main.o").stdout.splitlines()[1:]
    assert any(line.strip() == f"{main_c.root}/include/value.h" for line in ours)


def test_a_macro_that_is_a_path_of_the_tree_keeps_the_users_path(tree: Tree, token: str) -> None:
    tree.write({"a.c": f'#include <stdio.h>\nint main(void) {{ printf("%s", DATA_DIR); }} int t{token};\n'})
    tree.manifest(f"build a.o: cc a.c\n  flags = '-DDATA_DIR=\"{tree.root}/data\"'\nbuild app: link a.o\n")

    assert tree.zbuild().all_remote
    assert tree.output_of("app") == f"{tree.root}/data"


def test_shared_libraries_are_found_by_the_rpath_of_the_users_build_directory(tree: Tree, token: str) -> None:
    tree.write(
        {
            "f.c": f"int f(void) {{ return 3; }} int t{token};\n",
            "main.c": "int f(void);\nint main(void) { return f() - 3; }\n",
        }
    )
    tree.manifest(
        f"""
        build f.o: cc f.c
          flags = -fPIC
        build lib/libf.so: link f.o
          libs = -shared -Wl,-soname,libf.so
        build main.o: cc main.c
        build app: link main.o | lib/libf.so
          libs = -Wl,-rpath,{tree.build}/lib lib/libf.so
        """
    )
    assert tree.zbuild().all_remote
    assert tree.output_of("app") == ""


def test_diagnostics_have_the_users_paths_also_from_the_cache(tree: Tree, token: str) -> None:
    """A warning goes out under the user's own paths, also from the cache."""
    tree.write({"a.c": f'#include "w.h"\nint a; int t{token};\n', "inc/w.h": "#warning look here\n"})
    tree.manifest(f"build a.o: cc {tree.root}/a.c\n  flags = -I{tree.root}/inc -g\n")
    first = tree.zbuild_plain().stdout
    (tree.build / "a.o").unlink()
    again = tree.zbuild_plain().stdout

    assert f"{tree.root}/inc/w.h:1:2: warning:" in first
    assert "/zb/" not in first
    assert again == first


def test_a_generated_file_names_the_users_own_paths(tree: Tree, token: str) -> None:
    tree.manifest(
        f"""
        build where.txt: sh
          cmd = pwd > where.txt; echo {tree.root}/share >> where.txt; echo {token} >> where.txt
        """
    )
    assert tree.zbuild().exit_code == 0
    assert tree.text("where.txt") == f"{tree.build}\n{tree.root}/share\n{token}\n"


@pytest.mark.needs("cmake")
def test_a_cmake_project_with_a_generator_a_library_and_a_configured_header(
    tmp_path: Path, tree: Tree, token: str
) -> None:
    tree.write(
        {
            "CMakeLists.txt": """
                cmake_minimum_required(VERSION 3.18)
                project(sample C)
                configure_file(config.h.in config.h)
                add_custom_command(OUTPUT table.c
                  COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_CURRENT_BINARY_DIR}
                  COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/table.py ${CMAKE_CURRENT_BINARY_DIR}/table.c
                  DEPENDS table.py)
                add_library(table SHARED table.c)
                add_executable(app main.c)
                target_include_directories(app PRIVATE ${CMAKE_CURRENT_BINARY_DIR})
                target_link_libraries(app table)
                """,
            "config.h.in": '#define WHERE "@CMAKE_CURRENT_SOURCE_DIR@"\n',
            "table.py": f"import sys\nopen(sys.argv[1], 'w').write('int table = 4; // {token}')\n",
            "main.c": f"""
                #include "config.h"
                #include <stdio.h>
                extern int table;
                int main(void) {{ printf("%d %s", table, WHERE); }}
                int t{token};
                """,
        }
    )
    tree.build = tmp_path / "built"
    subprocess.run(
        ["cmake", "-G", "Ninja", "-S", str(tree.root), "-B", str(tree.build)], check=True, capture_output=True
    )

    run = tree.zbuild()

    assert run.all_remote, run.summary["local_reasons"]
    assert tree.output_of("app") == f"4 {tree.root}"
    assert tree.is_up_to_date()


def test_headers_of_a_tree_with_a_space_and_a_symlink_in_its_path(tmp_path: Path, tree: Tree, token: str) -> None:
    real = tmp_path / "real tree"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    other = Tree(tmp_path / "link")
    other.farm_flags = tree.farm_flags
    other.write({"a.c": f'#include "a.h"\nint a = A; int t{token};\n', "include/a.h": "#define A 1\n"})
    other.manifest(f"build a.o: cc a.c\n  flags = '-I{other.root}/include' '-I{real}/include'\n")

    assert other.zbuild().all_remote
    assert other.is_up_to_date()
    assert "/zb/" not in other.ninja("-t", "deps", "a.o").stdout
