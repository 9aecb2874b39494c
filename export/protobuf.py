"""Classes of protobuf messages that are described in Python, without a compiler of theirs."""

from collections.abc import Mapping
from typing import Any

_OPTIONAL, _REPEATED = 1, 3  # as descriptors number them

# Message: fields as name, number, type, and whether there may be several.
Messages = Mapping[str, tuple[tuple[str, int, str, bool], ...]]
# Enum: names as their numbers.
Enums = Mapping[str, tuple[str, ...]]


def message_classes(package: str, messages: Messages, enums: Enums) -> dict[str, Any]:
    """Make protobuf's classes of messages, in a pool of their own.

    Args:
        package: The package that all are in.
        messages: The messages. A field's type is a scalar's name as in a ``.proto`` file, or that
            of a message or an enum here. A map is a repeated message with the fields ``key`` (1)
            and ``value`` (2), which is how protobuf writes it.
        enums: The enums.

    Returns:
        The classes by full name, for example ``inference.ModelConfig``.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(
        name=f"foldzoo/{package}.proto", package=package, syntax="proto3"
    )
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            label = _REPEATED if repeated else _OPTIONAL
            typed = _typed(kind, package, messages, enums)
            message.field.add(name=field, number=number, label=label, **typed)
    for name, constants in enums.items():
        enum = file.enum_type.add(name=name)
        for number, constant in enumerate(constants):
            enum.value.add(name=constant, number=number)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClassesForFiles([file.name], pool)


def _typed(kind: str, package: str, messages: Messages, enums: Enums) -> dict[str, Any]:
    """Name a field's type as a descriptor does."""
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto

    if kind in messages:
        return {"type": FieldDescriptorProto.TYPE_MESSAGE, "type_name": f".{package}.{kind}"}
    if kind in enums:
        return {"type": FieldDescriptorProto.TYPE_ENUM, "type_name": f".{package}.{kind}"}
    return {"type": FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")}
