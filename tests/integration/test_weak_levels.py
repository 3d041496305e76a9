"""Levels process and none: nothing is mounted read-only there, and the store's blobs are safe all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.farm import running_farm
from tests.integration.tree import run_zbuild

SPOIL = "chmod u+w $1; echo spoilt >> $1; cp $1 $2\n"
MANIFEST = """\
rule spoil
  command = sh ../src/spoil.sh $in $out
rule copy
  command = cp $in $out
build first: spoil ../src/in | ../src/spoil.sh
build second: copy ../src/in || first
"""


@pytest.mark.parametrize("level", ["process", "none"])
def test_what_an_action_does_to_an_input_is_gone_with_it(tmp_path: Path, level: str) -> None:
    """Inputs were links to the stored blobs: the next action, and every later build, got what the first had written."""
    source, build = tmp_path / "src" / "in", tmp_path / "build"
    source.parent.mkdir()
    build.mkdir()
    source.write_text("good\n")
    source.with_name("spoil.sh").write_text(SPOIL)
    (build / "build.ninja").write_text(MANIFEST)
    with running_farm(tmp_path / "farm", workers=0) as farm:
        farm.add_worker("weak", 1, "--sandbox", level)
        run = run_zbuild("build", "--json", "--sandbox", level, "--coordinator", farm.endpoint, cwd=build)
        assert run.exit_code == 0, run.stderr
        assert (run.summary["remote"], run.summary["local"]) == (2, 0), run.stderr
    assert (build / "first").read_text() == "good\nspoilt\n"
    assert (build / "second").read_text() == "good\n"
    assert source.read_text() == "good\n"
