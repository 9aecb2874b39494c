"""Which inputs of a model take whole numbers, and which ones: those that its tables have."""

from typing import TYPE_CHECKING, Any

from zoo.errors import InputError

if TYPE_CHECKING:
    import keras

_LEVELS = 256  # of a pixel
_FEWER = {"bool": 2, "int8": 128}


def count(model: "keras.Model", tensor: Any) -> int | None:
    """Count the whole numbers, from 0 on, that an input of a model takes.

    Args:
        model: A functional or Sequential model.
        tensor: One of its inputs.

    Returns:
        As many as every table of the model has, and at most those of a pixel. None where the input
        takes other numbers too: by its dtype, and since no Embedding reads it.

    Raises:
        InputError: It takes text.
    """
    dtype, tables = str(tensor.dtype), _tables(model)
    if dtype == "string":
        raise InputError(
            f"accepted are models of numbers; the input {tensor.name!r} of {model.name!r} takes "
            "text"
        )
    nodes = [node for table in tables for node in table._inbound_nodes]
    is_read = any(tensor is taken for node in nodes for taken in node.input_tensors)
    if dtype.startswith(("float", "bfloat")) and not is_read:
        return None
    sizes = [getattr(table, "input_dim", None) or table.num_tokens for table in tables]
    return min([_FEWER.get(dtype, _LEVELS), *sizes])


def _tables(model: "keras.Model") -> list[Any]:
    """Return the layers that look whole numbers up in a table."""
    import keras

    kinds = (keras.layers.Embedding, keras.layers.CategoryEncoding)
    return [layer for layer in model._flatten_layers() if isinstance(layer, kinds)]
