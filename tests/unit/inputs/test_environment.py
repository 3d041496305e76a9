"""What of the user's environment an action sees."""

from __future__ import annotations

from pathlib import Path

from zbuild.inputs.compiler_probe import STANDARD_PATH
from zbuild.inputs.environment import action_environment, canonical_environment, program_directories
from zbuild.inputs.roots import Roots

ROOTS = Roots("/home/u/p", "/home/u/p/b")


def test_a_users_own_variables_do_not_reach_the_action() -> None:
    environment = {
        "HOME": "/home/u",
        "TERM": "xterm",
        "LANG": "de_DE",
        "SECRET": "x",
        "LC_ALL": "de_DE",
        "CFLAGS": "-O3",
    }
    assert action_environment(environment, ROOTS) == {
        "PATH": STANDARD_PATH,
        "LC_ALL": "C.UTF-8",
        "PERL_HASH_SEED": "0",
        "PYTHONHASHSEED": "0",
    }


def test_root_and_ordinary_users_have_the_same_path() -> None:
    for spelled in (
        "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games",
        STANDARD_PATH,
        "/home/u/bin:/usr/bin",
        "",
    ):
        assert program_directories({"PATH": spelled}, ROOTS) == STANDARD_PATH.split(":")


def test_directories_of_the_project_keep_their_place_in_the_path(tmp_path: Path) -> None:
    for name in ("tools", "late"):
        (tmp_path / name).mkdir()
    roots = Roots(str(tmp_path), f"{tmp_path}/b")
    found = program_directories({"PATH": f"{tmp_path}/tools:/usr/bin:{tmp_path}/late:{tmp_path}/none:rel"}, roots)
    assert found == [f"{tmp_path}/tools", *STANDARD_PATH.split(":"), f"{tmp_path}/late"]


def test_what_changes_outputs_is_passed_on_and_mapped() -> None:
    environment = {
        "SOURCE_DATE_EPOCH": "1",
        "CPATH": "/home/u/p/inc:/opt/inc",
        "C_INCLUDE_PATH": ":/x",
        "LD_LIBRARY_PATH": "/home/u/p/b/lib:/home/u/other:/usr/lib/special",
        "PYTHONPATH": "/home/u/p/tools:",
    }
    canonical = canonical_environment(action_environment(environment, ROOTS), ROOTS)
    assert canonical["SOURCE_DATE_EPOCH"] == "1"
    assert canonical["CPATH"] == "/zb/src/inc:/opt/inc"
    assert canonical["C_INCLUDE_PATH"] == "/zb/src/zb-build:/x"
    assert canonical["LD_LIBRARY_PATH"] == "/zb/src/zb-build/lib:/usr/lib/special"
    assert canonical["PYTHONPATH"] == "/zb/src/tools"
