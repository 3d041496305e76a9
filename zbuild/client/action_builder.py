"""Turns the analysis of a command into an Action: digests for paths, values for property names."""

from __future__ import annotations

from zbuild import digest as digests
from zbuild.digest import Digest
from zbuild.errors import BadInput, NoEligibleWorker
from zbuild.inputs.analysis import Remote
from zbuild.inputs.file_digests import FileDigests
from zbuild.inputs.toolchain import Toolchain
from zbuild.limits import ACTION_INPUTS
from zbuild.model.action import Action, ActionId, InputSpec, check_disjoint, encode_action, worker_property
from zbuild.model.capabilities import Capabilities


class ActionBuilder:
    """Builds the actions of one build.

    Args:
        sandbox: the level that every action asks for.
        capabilities: what every action asks for.
        joins_stderr: stderr goes into stdout, as ninja shows it.
    """

    def __init__(
        self,
        file_digests: FileDigests,
        toolchain: Toolchain,
        sandbox: str,
        capabilities: Capabilities,
        *,
        joins_stderr: bool,
    ) -> None:
        self._file_digests = file_digests
        self._toolchain = toolchain
        self._sandbox = sandbox
        self._capabilities = capabilities
        self._joins_stderr = joins_stderr

    def build(self, analysis: Remote, worker_id: int = 0) -> tuple[ActionId, bytes, dict[Digest, str | bytes]]:
        """The action's id, its encoded form, and where the bytes of each input are: a user path, or the bytes.

        Args:
            worker_id: the worker that alone may run it, and past the action cache; 0 for any, by way of the cache.

        Raises:
            BadInput: an input is too many, is no file any more, or is an output as well.
            NoEligibleWorker: this machine lacks a tool that the command needs.
            OSError: an input cannot be read.
        """
        if len(analysis.inputs) > ACTION_INPUTS:
            raise BadInput(f"{len(analysis.inputs)} inputs are more than the {ACTION_INPUTS} of one action")
        sources: dict[Digest, str | bytes] = {}
        inputs: list[InputSpec] = []
        for path, canonical in analysis.inputs.items():
            digest, is_executable = self._file_digests.examine(path)
            sources[digest] = path
            inputs.append(InputSpec(canonical, digest, is_executable))
        for canonical, data in analysis.inline_inputs:
            digest = digests.of_bytes(data)
            sources[digest] = data
            inputs.append(InputSpec(canonical, digest, False))
        inputs.sort(key=lambda spec: spec.path)
        properties = [(name, self._property(name)) for name in analysis.properties]
        if worker_id:
            properties.append(worker_property(worker_id))
        action = Action(
            platform=tuple(sorted(properties)),
            sandbox=self._sandbox,
            capabilities=self._capabilities,
            is_cacheable=analysis.is_cacheable and not worker_id,
            arguments=analysis.arguments,
            environment=analysis.environment,
            working_directory=analysis.working_directory,
            writable_root=analysis.writable_root,
            inputs=tuple(inputs),
            directories=analysis.directories,
            outputs=analysis.outputs,
            joins_stderr=self._joins_stderr,
        )
        check_disjoint(action)
        action_id, body = encode_action(action)
        return action_id, body, sources

    def _property(self, name: str) -> str:
        value = self._toolchain.evaluate_property(name)
        if value is None:
            raise NoEligibleWorker(f"this machine has no {name}, which the command needs")
        return value
