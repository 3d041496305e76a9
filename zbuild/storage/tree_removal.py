"""Removing what an action has left behind, whatever it did to names, modes and depth.

The processes that made it are gone, so nothing moves meanwhile. Directories deeper than PATH_MAX or a
descriptor table are no trouble: each is renamed to the top of a trash directory before it is emptied.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Set

DIRECTORY_MODE = 0o755
FILE_MODE = 0o644
EXECUTABLE_MODE = 0o755
"""What is made below a writable root."""

_FILE_MODES = frozenset({stat.S_IFREG | FILE_MODE, stat.S_IFREG | EXECUTABLE_MODE})


def remove_tree(path: str, trash: str) -> None:
    """Remove ``path``, a file or a directory with everything below it. Symlinks are not followed.

    Args:
        trash: an empty directory on the same file system; it is empty again afterwards.

    Raises:
        OSError: the disk refused.
    """
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        os.unlink(path)
        return
    number = 0
    pending = [_moved(path, f"{trash}/0")]
    while pending:
        directory = pending.pop()
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    number += 1
                    pending.append(_moved(entry.path, f"{trash}/{number}"))
                else:
                    os.unlink(entry.path)
        os.rmdir(directory)


def remove_with_trash(path: str) -> None:
    """Remove ``path`` as remove_tree does, with a trash directory of its own beside it.

    Raises:
        OSError: the disk refused, or a process goes on filling the tree. ``path`` is gone, parts may be in the trash.
    """
    trash = f"{path}.trash.{os.urandom(4).hex()}"
    os.mkdir(trash, 0o700)
    remove_tree(path, trash)
    os.rmdir(trash)


def _moved(directory: str, target: str) -> str:
    # Renaming a directory writes its "..", and emptying it reads it: both need the owner's permissions.
    os.chmod(directory, 0o700)
    os.rename(directory, target)
    return target


def reset_tree(root: str, directories: Set[str], files: Set[str], trash: str) -> None:
    """Remove everything below ``root`` but those of ``directories`` and ``files`` that are fit for use again.

    Consecutive actions write to the same few directories and read the same generated headers. Making and
    removing a directory costs 125 us or more, a file 60 us (ext4, which gets slower with every inode removed
    in the last half minute); checking one costs 4 us. Kept files are there to be overwritten: their contents
    are what the action has made of them.

    Args:
        directories, files: paths below ``root``.
        trash: see remove_tree.

    Raises:
        OSError: the disk refused.
    """
    if not is_pristine(root):
        remove_tree(root, trash)
        os.mkdir(root, DIRECTORY_MODE)
        return
    pending = [root]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.path in directories and is_pristine(entry.path):
                        pending.append(entry.path)
                    else:
                        remove_tree(entry.path, trash)
                elif entry.path not in files or not is_pristine(entry.path):
                    os.unlink(entry.path)


def is_pristine(path: str) -> bool:
    """Whether nothing that an action did clings to a file or directory: modes, links, access control lists."""
    status = os.lstat(path)
    if stat.S_ISDIR(status.st_mode):
        has_own_mode = stat.S_IMODE(status.st_mode) == DIRECTORY_MODE
    else:
        has_own_mode = status.st_mode in _FILE_MODES and status.st_nlink == 1
    return has_own_mode and not os.listxattr(path, follow_symlinks=False)
