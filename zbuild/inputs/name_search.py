"""Files of the project that a failed command may have meant, when nothing lies where its message points."""

from __future__ import annotations

from collections.abc import Iterable

from zbuild.inputs.context import AnalysisContext
from zbuild.inputs.gathering import IGNORED_DIRECTORIES
from zbuild.limits import NAMES_IN_MESSAGE, SEARCHED_ENTRIES


def files_called(names: Iterable[str], context: AnalysisContext) -> list[str]:
    """User paths of files whose path ends with one of ``names``, sorted. The search ends after SEARCHED_ENTRIES."""
    endings = tuple({"/" + name.removeprefix("./") for name in names if name and ".." not in name.split("/")})
    found: list[str] = []
    pending = list(dict.fromkeys((context.roots.source_root, context.roots.build_dir)))
    seen = 0
    while pending and endings and seen < SEARCHED_ENTRIES:
        directory = pending.pop()
        listing = context.tree.list(directory)
        if listing is None:
            continue
        seen += len(listing.files) + len(listing.directories)
        found += [path for name in listing.files if (path := f"{directory}/{name}").endswith(endings)]
        pending += [f"{directory}/{name}" for name in listing.directories if name not in IGNORED_DIRECTORIES]
    return sorted(set(found))[:NAMES_IN_MESSAGE]
