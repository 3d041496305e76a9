"""Runs what an analysis says in a file system that holds nothing else: the smallest worker there can be."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from zbuild.inputs.analysis import Remote
from zbuild.inputs.roots import Roots

SYSTEM = [
    *("--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc", "--symlink", "usr/bin", "/bin"),
    *("--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev"),
]


def run_remote(analysis: Remote, roots: Roots, stage: Path) -> subprocess.CompletedProcess[bytes]:
    """Stage the inputs below ``stage``, run, and copy the outputs to where the user expects them."""
    for directory in analysis.directories:
        os.makedirs(f"{stage}{directory}", exist_ok=True)
    for user, canonical in analysis.inputs.items():
        os.makedirs(os.path.dirname(f"{stage}{canonical}"), exist_ok=True)
        shutil.copy(user, f"{stage}{canonical}")
    for canonical, content in analysis.inline_inputs:
        os.makedirs(os.path.dirname(f"{stage}{canonical}"), exist_ok=True)
        Path(f"{stage}{canonical}").write_bytes(content)
    binds = [word for top in os.listdir(stage) for word in ("--bind", f"{stage}/{top}", f"/{top}")]
    environment = [word for name, value in analysis.environment for word in ("--setenv", name, value)]
    command = ["bwrap", "--unshare-all", "--die-with-parent", *SYSTEM, "--tmpfs", "/tmp", *binds, "--clearenv"]
    command += [*environment, "--chdir", analysis.working_directory, *analysis.arguments]
    completed = subprocess.run(command, capture_output=True, check=False)
    for output in analysis.outputs:
        made, user = f"{stage}{output.path}", roots.to_user(output.path)
        if os.path.lexists(made):
            os.makedirs(os.path.dirname(user), exist_ok=True)
            shutil.copy(made, user, follow_symlinks=False)
    return completed
