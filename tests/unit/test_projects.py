"""Fetching real projects: what can be known without a registry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import projects
from tests.projects import PROJECTS, Unobtainable, as_source_entries, source


def test_the_projects_cover_both_languages_both_build_systems_and_both_registries() -> None:
    kinds = {(project.language, project.build_system) for project in PROJECTS.values()}
    assert {("C", "cmake"), ("C++", "cmake"), ("C", "meson"), ("C++", "meson")} <= kinds
    assert {project.registry for project in PROJECTS.values()} == {"PyPI", "Debian"}


def test_package_lists_of_binaries_become_lists_of_sources() -> None:
    assert as_source_entries("deb [signed-by=/k] http://mirror/debian stable main\n# deb x\n") == (
        "deb-src [signed-by=/k] http://mirror/debian stable main\n# deb x\n"
    )
    assert as_source_entries("deb-src http://mirror/debian stable main\n") == ""
    assert as_source_entries("Types: deb deb-src\nURIs: http://mirror/debian\n") == (
        "Types: deb-src\nURIs: http://mirror/debian\n"
    )


def test_an_unreachable_registry_is_named_with_what_its_client_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projects, "CACHE", tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(Unobtainable, match=r"pycares==5.2.1 from PyPI: (.|\n)*No matching distribution"):
        source(PROJECTS["c-ares"])
    assert list(tmp_path.iterdir()) == []


def test_a_fetched_project_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = PROJECTS["c-ares"]
    archive = tmp_path / "package.tar.gz"
    (tmp_path / "package-1").mkdir()
    (tmp_path / "package-1" / "CMakeLists.txt").write_text("project(x C)\n")
    subprocess.run(["tar", "-czf", archive, "-C", tmp_path, "package-1"], check=True)
    fetched = []

    def fetch(_project: object, _scratch: Path) -> Path:
        fetched.append(1)
        return archive

    monkeypatch.setattr(projects, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(projects, "_from_pypi", fetch)
    assert source(project) == source(project)
    assert (source(project) / "CMakeLists.txt").read_text() == "project(x C)\n"
    assert fetched == [1]
    assert list((tmp_path / "cache").iterdir()) == [source(project)]


def test_a_wrong_name_is_a_usage_error() -> None:
    command = [sys.executable, "-m", "tests.projects", "nothing", "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage: python -m tests.projects [c-ares|" in done.stderr
