"""The modules that a Python script may import."""

from __future__ import annotations

from pathlib import Path

import pytest

from zbuild.inputs.python_imports import imports_of


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {
        "gen.py": "#!/usr/bin/env python3\nimport os, one, two.deep as t\nfrom pkg import (\n    first,\n    second)\n",
        "one.py": "def f():\n    import lazy\n",
        "lazy.py": "try:\n    import absent\nexcept ImportError:\n    from jinja import x\n",
        "two/deep.py": "",
        "pkg/__init__.py": "from .third import x\nfrom . import fourth\nfrom .. import nothing\n",
        "pkg/first.py": "from .sub.fifth import y\n",
        "pkg/second.py": "",
        "pkg/third.py": "",
        "pkg/fourth.py": "",
        "pkg/sub/__init__.py": "",
        "pkg/sub/fifth.py": "from ..second import z\n",
        "unused.py": "",
        "dist/jinja/__init__.py": "import markup\n",
        "dist/markup.py": "",
        "dist/other.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_imports_are_followed_through_the_project_and_into_the_system(tree: Path) -> None:
    dist = f"{tree}/dist"
    found = imports_of([f"{tree}/gen.py"], [dist], lambda path: path.startswith(dist))
    names = {path.removeprefix(f"{tree}/") for path in found.files}
    assert names == {
        *("gen.py", "one.py", "lazy.py", "two/deep.py", "pkg/__init__.py", "pkg/first.py", "pkg/second.py"),
        *("pkg/third.py", "pkg/fourth.py", "pkg/sub/__init__.py", "pkg/sub/fifth.py"),
    }
    assert found.system == {f"{dist}/jinja", f"{dist}/markup.py"}


def test_an_import_cycle_ends(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import b\n")
    (tmp_path / "b.py").write_text("import a\n")
    assert imports_of([f"{tmp_path}/a.py"], [], lambda path: False).files == {f"{tmp_path}/a.py", f"{tmp_path}/b.py"}


def test_a_relative_import_does_not_leave_its_package_for_another_place(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "x.py").write_text("")
    (tmp_path / "p/a.py").write_text("from . import x\n")
    assert imports_of([f"{tmp_path}/p/a.py"], [str(tmp_path)], lambda path: False).files == {f"{tmp_path}/p/a.py"}
