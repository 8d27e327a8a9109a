"""The fields of a task, whichever way the space file gives them: typed fields, a string signature, or a module's names.

Invariant: no name is used twice, and every output has an `OutputField`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from offramp.errors import SpaceError, problem
from offramp.ids import content_hash
from offramp.media import MediaKind
from offramp.space.model import OutputField, Signature, TaskPart
from offramp.space.signature import parse_signature


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFields:
    """Inputs in order, outputs with their types, and what the file says about each input.

    Attributes:
        input_descs: by input name; None where the file says nothing.
        media: inputs that are images, audio or files, with which of them.
        optional_inputs: those that a row may leave out.
        strict: whether an answer counts only if it is exactly of its type, as `program.strict` says.
        checks: functions of the user's that check answers in place of a verifying call, by import path; not part of
            the hash, since a study knows the code.
    """

    inputs: tuple[str, ...]
    outputs: Mapping[str, OutputField]
    input_descs: Mapping[str, str | None] = field(default_factory=dict)
    media: Mapping[str, MediaKind] = field(default_factory=dict)
    optional_inputs: frozenset[str] = frozenset()
    strict: bool = False
    checks: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """Content hash over names, order, types and descriptions, and whether answers are read strictly."""
        return content_hash(
            {
                "inputs": [[name, self.input_descs.get(name)] for name in self.inputs],
                "outputs": [[name, output.model_dump(mode="json")] for name, output in self.outputs.items()],
                **({"media": dict(self.media)} if self.media else {}),
                **({"strict": True} if self.strict else {}),
            }
        )


def task_fields(part: TaskPart, where: str) -> TaskFields:
    """The fields of a task. Raises SpaceError for a signature that cannot be read and for a name used twice.

    Args:
        part: the `task` of a space file.
        where: the space file, for messages.
    """
    descs: list[tuple[str, str | None]]
    if isinstance(part.signature, Signature):
        descs = [(name, given.desc if given else None) for name, given in part.signature.inputs.items()]
        outputs = [(name, given or OutputField()) for name, given in part.signature.outputs.items()]
    elif part.signature is not None:
        parsed, typed = parse_signature(part.signature, where)
        descs, outputs = [(name, None) for name, _ in parsed], list(typed)
    else:
        given = part.inputs if isinstance(part.inputs, dict) else dict.fromkeys(part.inputs or ())
        descs = [(name, described.desc if described else None) for name, described in given.items()]
        outputs = [(name, OutputField()) for name in part.outputs or ()]
        if not descs or not outputs:
            raise SpaceError(problem(where, "task: a module needs at least one name in `inputs` and one in `outputs`"))
    names = [name for name, _ in (*descs, *outputs)]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise SpaceError(problem(where, f"task: duplicate field {name!r}", do="Give each field a name of its own."))
    return TaskFields(
        inputs=tuple(name for name, _ in descs),
        outputs=MappingProxyType(dict(outputs)),
        input_descs=MappingProxyType(dict(descs)),
        media=MappingProxyType(part.media),
        optional_inputs=frozenset(name for name, described in part.described.items() if described.optional),
    )
