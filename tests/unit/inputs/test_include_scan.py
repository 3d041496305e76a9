"""The include scan: a superset over branches, exact along the search path."""

from __future__ import annotations

from tests.unit.inputs.source_files import Flags, Project


def test_quotes_look_beside_the_includer_first() -> None:
    project = Project(
        {
            "/p/a.c": '#include "d/x.h"\n#include "y.h"\n',
            "/p/d/x.h": '#include "y.h"\n',
            "/p/d/y.h": "",
            "/p/inc/y.h": "",
        }
    )
    assert project.files(include=("/p/inc",)) == {"/p/d/x.h", "/p/d/y.h", "/p/inc/y.h"}


def test_angles_look_along_the_flags_only() -> None:
    project = Project({"/p/a.c": "#include <y.h>\n", "/p/y.h": "", "/p/i/y.h": "", "/p/q/y.h": "", "/p/s/y.h": ""})
    assert project.files(quote=("/p/q",), include=("/p/i",), system=("/p/s",)) == {"/p/i/y.h"}
    assert project.files(quote=("/p/q",), system=("/p/s",)) == {"/p/s/y.h"}
    assert project.files(quote=("/p/q",)) == set()


def test_quote_directories_come_before_include_directories() -> None:
    project = Project({"/p/a.c": '#include "y.h"\n', "/p/i/y.h": "", "/p/q/y.h": ""})
    assert project.files(quote=("/p/q",), include=("/p/i",)) == {"/p/q/y.h"}


def test_after_directories_come_after_the_systems() -> None:
    project = Project(
        {"/p/a.c": "#include <y.h>\n#include <z.h>\n", "/usr/include/y.h": "", "/p/f/y.h": "", "/p/f/z.h": ""}
    )
    assert project.files(builtin=("/usr/include",), after=("/p/f",)) == {"/p/f/z.h"}


def test_a_flag_for_a_system_directory_does_not_move_it_forward() -> None:
    """gcc ignores -I for what it searches anyway."""
    project = Project({"/p/a.c": "#include <y.h>\n", "/usr/include/y.h": "", "/p/s/y.h": ""})
    found = project.files(include=("/usr/include",), system=("/p/s",), builtin=("/usr/include",))
    assert found == {"/p/s/y.h"}


def test_a_system_directory_given_by_flag_hides_what_is_behind_it() -> None:
    files = {"/p/a.c": "#include <y.h>\n", "/usr/lib/x/include/y.h": "", "/p/i/y.h": ""}
    result = Project(files).scan(include=("/usr/lib/x/include", "/p/i"))
    assert result.files == {"/p/a.c"}
    assert result.system_directories == {"/usr/lib/x/include"}


def test_include_next_goes_on_behind_the_directory_of_the_includer() -> None:
    project = Project(
        {
            "/p/a.c": "#include <y.h>\n",
            "/p/i/y.h": "#include_next <y.h>\n",
            "/p/j/y.h": "#include_next <y.h>\n",
            "/p/k/y.h": "",
            "/p/l/y.h": "",
        }
    )
    assert project.files(include=("/p/i", "/p/j", "/p/k", "/p/l")) == {"/p/i/y.h", "/p/j/y.h", "/p/k/y.h"}


def test_include_next_in_a_file_found_beside_its_includer_starts_with_the_quote_chain() -> None:
    project = Project({"/p/a.c": '#include "y.h"\n', "/p/y.h": "#include_next <y.h>\n", "/p/q/y.h": "", "/p/i/y.h": ""})
    assert project.files(quote=("/p/q",), include=("/p/i",)) == {"/p/y.h", "/p/q/y.h"}


def test_duplicate_and_missing_directories_do_not_count_for_include_next() -> None:
    project = Project({"/p/a.c": "#include <y.h>\n", "/p/i/y.h": "#include_next <y.h>\n", "/p/j/y.h": ""})
    assert project.files(include=("/p/i", "/p/none", "/p/i", "/p/j")) == {"/p/i/y.h", "/p/j/y.h"}


def test_all_branches_are_taken() -> None:
    project = Project({"/p/a.c": '#if 0\n#include "x.h"\n#else\n#include "y.h"\n#endif\n', "/p/x.h": "", "/p/y.h": ""})
    assert project.files() == {"/p/x.h", "/p/y.h"}


def test_cycles_end() -> None:
    project = Project({"/p/a.c": '#include "x.h"\n', "/p/x.h": '#include "y.h"\n', "/p/y.h": '#include "x.h"\n'})
    assert project.files() == {"/p/x.h", "/p/y.h"}


def test_forced_includes_look_in_the_working_directory_first() -> None:
    """``-include`` of CMake's precompiled headers, and of config.h."""
    files = {"/p/src/a.c": "", "/p/f.h": '#include "g.h"\n', "/p/g.h": "", "/p/i/f.h": "", "/p/src/f.h": ""}
    assert Project(files).files("/p/src/a.c", include=("/p/i",), forced=("f.h",)) == {"/p/f.h", "/p/g.h"}
    del files["/p/f.h"]
    assert Project(files).files("/p/src/a.c", include=("/p/i",), forced=("f.h",)) == {"/p/i/f.h"}


def test_precompiled_headers_are_taken_with_or_without_their_header() -> None:
    files = {"/p/a.c": "#include <x.h>\n", "/p/i/x.h": "", "/p/i/x.h.gch": '#include "never scanned.h"'}
    project = Project(files)
    assert project.files(include=("/p/i",)) == {"/p/i/x.h", "/p/i/x.h.gch"}
    assert project.disk.reads["/p/i/x.h.gch"] == 0
    del files["/p/i/x.h"]
    assert Project(files).files(include=("/p/i",)) == {"/p/i/x.h.gch"}
    files["/p/b.c"] = ""
    assert Project(files).files("/p/b.c", include=("/p/i",), forced=("x.h",)) == {"/p/i/x.h.gch"}


def test_absolute_includes_are_found_and_reported() -> None:
    """CMake's unity sources include by absolute path, which the sandbox spells otherwise."""
    project = Project(
        {"/p/b/unity.c": '#include "/p/x.c"\n', "/p/x.c": '#include "/usr/include/y.h"\n', "/usr/include/y.h": ""}
    )
    result = project.scan("/p/b/unity.c")
    assert result.files == {"/p/b/unity.c", "/p/x.c"}
    assert result.absolute_includers == ("/p/b/unity.c",)


def test_a_directory_of_the_headers_name_is_passed_over() -> None:
    project = Project({"/p/a.c": "#include <vector>\n", "/p/i/vector/x.h": "", "/p/j/vector": ""})
    assert project.files(include=("/p/i", "/p/j")) == {"/p/j/vector"}


def test_climbing_out_needs_the_directories_on_the_way() -> None:
    project = Project(
        {"/p/a.c": '#include "d/../x.h"\n#include "none/../y.h"\n', "/p/x.h": "", "/p/y.h": "", "/p/d/z.h": ""}
    )
    result = project.scan()
    assert result.files == {"/p/a.c", "/p/x.h"}
    assert "/p/d" in result.directories


def test_directories_on_the_way_belong_to_the_compile_that_climbs_and_to_no_other() -> None:
    """Or the key of one compile would depend on which others were looked at before it."""
    files = {"/p/a.c": '#include "d/../x.h"\n', "/p/b.c": '#include "x.h"\n', "/p/x.h": "", "/p/d/z.h": ""}
    project = Project(files)
    assert project.scan("/p/a.c").directories == {"/p/d"}
    assert project.scan("/p/b.c").directories == frozenset()
    assert project.scan("/p/a.c").directories == {"/p/d"}


def test_search_directories_that_exist_are_reported_for_the_compilers_warnings() -> None:
    project = Project({"/p/a.c": ""}, directories=("/p/empty",))
    result = project.scan(include=("/p/empty", "/p/missing"))
    assert result.directories == {"/p/empty"}


def test_has_include_operands_are_staged_when_they_exist() -> None:
    """Table: ``__has_include`` on an absent file. The sandbox holds it exactly when it exists here."""
    project = Project({"/p/a.c": '#if __has_include("opt.h")\n#endif\n'})
    assert project.files() == set()
    project.make("/p/opt.h", "")
    assert project.files() == {"/p/opt.h"}


def test_a_generated_header_that_was_absent_is_found_once_it_is_made() -> None:
    """Table: header generated during the build, scanned earlier as absent (distcc pump's negative cache)."""
    project = Project({"/p/a.c": "#include <gen/x.h>\n#include <y.h>\n", "/p/i/y.h": ""})
    options: Flags = {"include": ("/p/b/inc", "/p/i")}
    assert project.files(**options) == {"/p/i/y.h"}
    project.make("/p/b/inc/gen/x.h", '#include "z.h"\n')
    assert project.files(**options) == {"/p/i/y.h", "/p/b/inc/gen/x.h"}
    project.make("/p/b/inc/gen/z.h", "")
    assert project.files(**options) == {"/p/i/y.h", "/p/b/inc/gen/x.h", "/p/b/inc/gen/z.h"}


def test_a_new_header_shadows_an_old_one() -> None:
    """Table: new header shadows an old one."""
    project = Project({"/p/a.c": "#include <y.h>\n", "/p/i/x.h": "", "/p/j/y.h": ""})
    assert project.files(include=("/p/i", "/p/j")) == {"/p/j/y.h"}
    project.make("/p/i/y.h", "")
    assert project.files(include=("/p/i", "/p/j")) == {"/p/i/y.h"}


def test_a_header_that_is_made_again_is_read_again() -> None:
    project = Project({"/p/a.c": '#include "g.h"\n', "/p/g.h": "", "/p/x.h": ""})
    assert project.files() == {"/p/g.h"}
    project.make("/p/g.h", '#include "x.h"\n')
    assert project.files() == {"/p/g.h", "/p/x.h"}


def test_headers_that_shadow_the_systems_are_staged_though_nobody_in_the_project_includes_them() -> None:
    """A system header includes <sys/select.h>; gnulib's replacement must be seen by it, or the result is wrong."""
    files = {
        "/p/a.c": "#include <sys/types.h>\n",
        "/p/lib/sys/select.h": '#include "part.h"\n',
        "/p/lib/sys/part.h": "",
        "/p/lib/own.h": "",
        "/usr/include/sys/types.h": "",
        "/usr/include/sys/select.h": "",
    }
    project = Project(files)
    options: Flags = {"include": ("/p/lib",), "builtin": ("/usr/include",)}
    assert project.files(**options) == {"/p/lib/sys/select.h", "/p/lib/sys/part.h"}
    project.make("/p/lib/sys/types.h", "")
    assert "/p/lib/sys/types.h" in project.files(**options)


def test_computed_includes_take_every_value_that_is_seen() -> None:
    """Table: ``#include MACRO`` from -D. Values come from flags and from all scanned files."""
    files = {
        "/p/a.c": '#include "c.h"\n#include A\n#include B\n#include C\n',
        "/p/c.h": '#ifdef X\n#define B "b1.h"\n#else\n#define B <b2.h>\n#endif\n#define C D\n#define D "d.h"\n',
        "/p/a.h": '#include "e.h"\n',
        "/p/b1.h": "",
        "/p/i/b2.h": "",
        "/p/d.h": "",
        "/p/e.h": "",
    }
    result = Project(files).scan(include=("/p/i",), defines={"A": '"a.h"'})
    assert result.files == {"/p/a.c", "/p/c.h", "/p/a.h", "/p/b1.h", "/p/i/b2.h", "/p/d.h", "/p/e.h"}
    assert result.unsure == ()


def test_a_macro_defined_in_a_file_found_by_a_macro() -> None:
    files = {"/p/a.c": "#include A\n#include B\n", "/p/a.h": '#define B "b.h"\n', "/p/b.h": ""}
    result = Project(files).scan(defines={"A": '"a.h"'})
    assert result.files == set(files)
    assert result.unsure == ()


def test_what_cannot_be_computed_is_unsure() -> None:
    result = Project({"/p/a.c": "#include NOWHERE\n#include CAT(a, b)\n"}).scan()
    assert set(result.unsure) == {"/p/a.c: #include NOWHERE", "/p/a.c: #include CAT(...)"}


def test_assembler_includes_and_binaries() -> None:
    """Table: assembler ``.incbin``, ``.include``, also inside C."""
    files = {
        "/p/s/a.S": '#include "a.h"\n.include "x.inc"\n.incbin "y.bin"\n',
        "/p/s/a.h": "",
        "/p/x.inc": '.include "z.inc"\n',
        "/p/i/z.inc": "",
        "/p/i/y.bin": '.include "not scanned"',
        "/p/c.c": 'asm(".incbin \\"y.bin\\"");\n',
    }
    project = Project(files)
    found = project.files("/p/s/a.S", include=("/p/i",))
    assert found == {"/p/s/a.h", "/p/x.inc", "/p/i/z.inc", "/p/i/y.bin"}
    assert project.disk.reads["/p/i/y.bin"] == 0
    assert project.files("/p/c.c", include=("/p/i",)) == {"/p/i/y.bin"}


def test_embedded_files() -> None:
    files = {"/p/a.c": '#embed "x.bin"\n#embed <y.bin>\n', "/p/x.bin": "", "/p/e/y.bin": ""}
    assert Project(files).files(embed=("/p/e",)) == {"/p/x.bin", "/p/e/y.bin"}


def test_time_macros_anywhere_in_the_closure_are_reported() -> None:
    """Table: ``__DATE__``/``__TIME__``."""
    result = Project({"/p/a.c": '#include "v.h"\n', "/p/v.h": "char *d = __DATE__;\n"}).scan()
    assert result.time_macros == ("/p/v.h uses __DATE__",)


def test_each_content_is_scanned_once() -> None:
    files = {"/p/a.c": '#include "x.h"\n', "/p/b.c": '#include "x.h"\n', "/p/x.h": "", "/p/copy/x.h": ""}
    project = Project(files)
    for source in ("/p/a.c", "/p/b.c", "/p/a.c"):
        project.scan(source, include=("/p/copy",))
    assert project.disk.reads == {"/p/a.c": 1, "/p/x.h": 1}
