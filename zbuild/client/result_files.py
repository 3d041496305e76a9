"""The files of one result on their way into the build directory."""

from __future__ import annotations

from zbuild.client.output_file import FileSink, MemorySink, make_symlink, write_file
from zbuild.client.result_tree import check_result_tree
from zbuild.digest import Digest
from zbuild.inputs.analysis import AnalysisContext, Remote
from zbuild.model.action import ActionResult, OutputFile, OutputKind, ResultStatus

CANONICAL_MARKER = b"/zb/"
"""Where canonical paths begin. A generated text that holds one would be wrong outside the sandbox."""

Sink = FileSink | MemorySink


class ResultFiles:
    """What a result consists of, opened once and then published or discarded."""

    def __init__(self) -> None:
        self._files: list[tuple[str, FileSink]] = []
        self._symlinks: list[tuple[str, str]] = []
        self._depfile: tuple[str, MemorySink] | None = None
        self._keeps_depfile = True
        self._stdout: MemorySink | None = None
        self._stderr: MemorySink | None = None
        self._context: AnalysisContext | None = None
        self._digests: list[tuple[str, Digest]] = []
        self._optional: set[str] = set()

    @property
    def hold_canonical_paths(self) -> bool:
        """Whether a file made by a tool, not a compiler, names paths of the sandbox."""
        return any(sink.holds_marker for _, sink in self._files)

    def open(
        self,
        result: ActionResult,
        depfile: str,
        is_restat: bool,
        analysis: Remote,
        context: AnalysisContext,
        *,
        keeps_depfile: bool = True,
    ) -> list[tuple[Digest, Sink]]:
        """The blobs to fetch and where each goes.

        Args:
            depfile: absolute user path of the depfile, whose paths are respelt; empty for none.
            keeps_depfile: whether ``publish`` writes it.
            is_restat: outputs that are here with the same bytes are left alone.

        Raises:
            BadInput, OutputMissing: see check_result_tree. Nothing has been written then.
        """
        self._context = context
        self._keeps_depfile = keeps_depfile
        wanted = self.open_printed(result)
        if result.status is not ResultStatus.SUCCESS:
            return wanted
        check_result_tree(result.outputs, analysis.outputs, context.roots.to_user, context.roots.build_dir)
        self._optional = {context.roots.to_user(spec.path) for spec in analysis.outputs if spec.optional}
        marker = CANONICAL_MARKER if analysis.kind == "tool" and not analysis.has_own_paths else b""
        for output in result.outputs:
            path = context.roots.to_user(output.path)
            if output.kind is OutputKind.SYMLINK:
                self._symlinks.append((context.roots.to_user(output.target), path))
            elif path == depfile:
                text = MemorySink(output.digest)
                self._depfile = (path, text)
                wanted.append((output.digest, text))
            elif not (is_restat and _is_unchanged(context, path, output)):
                sink = FileSink(output.digest, path, is_executable=output.executable, marker=marker)
                self._files.append((path, sink))
                self._digests.append((path, output.digest))
                wanted.append((output.digest, sink))
        return wanted

    def open_printed(self, result: ActionResult) -> list[tuple[Digest, Sink]]:
        """As ``open``, for what the command has printed alone."""
        wanted: list[tuple[Digest, Sink]] = []
        if result.stdout.size_bytes:
            self._stdout = MemorySink(result.stdout)
            wanted.append((result.stdout, self._stdout))
        if result.stderr.size_bytes:
            self._stderr = MemorySink(result.stderr)
            wanted.append((result.stderr, self._stderr))
        return wanted

    @property
    def stdout(self) -> bytes:
        """What the command printed, with the sandbox's paths; stderr too when the two were joined."""
        return self._stdout.data if self._stdout is not None else b""

    @property
    def stderr(self) -> bytes:
        """What the command printed on stderr, with the sandbox's paths, when the two were not joined."""
        return self._stderr.data if self._stderr is not None else b""

    @property
    def depfile(self) -> bytes | None:
        """What the depfile holds, with the user's own paths; None if there is none, or ``publish`` writes it."""
        if self._depfile is None or self._context is None or self._keeps_depfile:
            return None
        return self._context.roots.unmap_depfile(self._depfile[1].data)

    def publish(self) -> None:
        """Give every file its name.

        Raises:
            StoreFailed: one cannot be renamed or written.
        """
        context = self._context
        if context is None:
            return
        for _, sink in self._files:
            sink.publish()
        for path, digest in self._digests:
            context.digests.seed(path, digest)
        for target, path in self._symlinks:
            make_symlink(target, path)
        if self._depfile is not None and self._keeps_depfile:
            path, text = self._depfile
            write_file(context.roots.unmap_depfile(text.data), path)
        # Of what its edge declares, the build itself tells.
        for path in self._optional.intersection(path for path, _ in self._files):
            context.invalidate(path)
        for _, path in self._symlinks:
            context.invalidate(path)

    def discard(self) -> None:
        """Leave nothing of it behind."""
        for _, sink in self._files:
            sink.abort()
        self._files.clear()
        self._symlinks.clear()
        self._digests.clear()
        self._stdout = self._stderr = None
        self._depfile = None


def _is_unchanged(context: AnalysisContext, path: str, output: OutputFile) -> bool:
    try:
        return context.digests.digest(path) == output.digest
    except OSError:
        return False
