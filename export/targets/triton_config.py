"""Triton's ``config.pbtxt`` in protobuf's own text format, with the fields that bundles use.

Triton's full description of the format comes with its client package, which an export does not
need; the few messages here have the same fields under the same numbers. A field that is not here
is refused when a file is read, as Triton refuses one that it does not know.

Reference:
    https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

import functools
from pathlib import Path
from typing import Any

from export.protobuf import Enums, Messages, message_classes
from zoo.errors import InputError

PACKAGE = "inference"
_DATA_TYPES = (
    *("INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32"),
    *("INT64", "FP16", "FP32", "FP64", "STRING", "BF16"),
)
MESSAGES: Messages = {
    "ModelConfig": (
        ("name", 1, "string", False),
        ("platform", 2, "string", False),
        ("backend", 17, "string", False),
        ("max_batch_size", 4, "int32", False),
        ("input", 5, "ModelInput", True),
        ("output", 6, "ModelOutput", True),
        ("version_policy", 3, "ModelVersionPolicy", False),
        ("instance_group", 7, "ModelInstanceGroup", True),
        ("dynamic_batching", 11, "ModelDynamicBatching", False),
        ("model_warmup", 16, "ModelWarmup", True),
        ("parameters", 14, "Parameter", True),
    ),
    "ModelInput": (
        ("name", 1, "string", False),
        ("data_type", 2, "DataType", False),
        ("dims", 4, "int64", True),
    ),
    "ModelOutput": (
        ("name", 1, "string", False),
        ("data_type", 2, "DataType", False),
        ("dims", 3, "int64", True),
        ("label_filename", 4, "string", False),
    ),
    "ModelVersionPolicy": (("latest", 1, "Latest", False),),
    "Latest": (("num_versions", 1, "uint32", False),),
    "ModelInstanceGroup": (("count", 2, "int32", False), ("kind", 4, "Kind", False)),
    "ModelDynamicBatching": (
        ("preferred_batch_size", 1, "int32", True),
        ("max_queue_delay_microseconds", 2, "uint64", False),
    ),
    "ModelWarmup": (
        ("name", 1, "string", False),
        ("batch_size", 2, "uint32", False),
        ("inputs", 3, "Entry", True),
    ),
    "Entry": (("key", 1, "string", False), ("value", 2, "Input", False)),
    "Input": (
        ("data_type", 1, "DataType", False),
        ("dims", 2, "int64", True),
        ("zero_data", 3, "bool", False),
    ),
    "Parameter": (("key", 1, "string", False), ("value", 2, "ParameterValue", False)),
    "ParameterValue": (("string_value", 1, "string", False),),
}
ENUMS: Enums = {
    "DataType": tuple(f"TYPE_{name}" for name in _DATA_TYPES),
    "Kind": ("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL"),
}


def text(values: dict[str, Any]) -> str:
    """Write a config.

    Args:
        values: Its fields by name, as JSON would hold them.

    Returns:
        The text of ``config.pbtxt``.
    """
    from google.protobuf import json_format, text_format

    message = json_format.ParseDict(values, _classes()[f"{PACKAGE}.ModelConfig"]())
    written: str = text_format.MessageToString(message, use_short_repeated_primitives=True)
    return written


def read(path: Path) -> Any:
    """Read a config.

    Args:
        path: The file.

    Returns:
        The message, with the fields as attributes.

    Raises:
        InputError: It is missing, or is no config with the fields that bundles use.
    """
    from google.protobuf import text_format

    message = _classes()[f"{PACKAGE}.ModelConfig"]()
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), message)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a Triton config of a bundle: {error}") from error


def data_type(number: int) -> str:
    """Return the Open Inference Protocol's name of a type, for example ``FP32``."""
    return _DATA_TYPES[number] if 0 <= number < len(_DATA_TYPES) else "unknown"


def kind(number: int) -> str:
    """Return the name of an instance group's kind."""
    names = ENUMS["Kind"]
    return names[number] if 0 <= number < len(names) else "unknown"


@functools.cache
def _classes() -> dict[str, Any]:
    """Make the messages' classes."""
    return message_classes(PACKAGE, MESSAGES, ENUMS)
