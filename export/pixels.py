"""Preprocessing inside the ONNX file: its input is what an image decoder makes.

The front takes uint8 images of any size, (batch, height, width, channels), and does what
`zoo.Preprocessing` does by Pillow: it keeps the part that the card says, resizes it with a window
as wide as the reduction ("antialiased"), first along the width and then along the height, rounds to
8 bits after each, and scales and shifts the values. Along one axis, resizing is a product with a
matrix that the graph computes from the image's size. So nothing depends on what ONNX's Resize means
in a runtime or an opset: its antialiased form came with opset 18, in onnxruntime 1.32 its linear
kind weighs a window at the border otherwise than Pillow, and no form of it takes a part of an image
to a fraction of a pixel.

What lies behind the front is the file as it is without one, node by node.

Reference:
    Pillow's documentation, "Filters", https://pillow.readthedocs.io/en/stable/handbook/concepts.html
    Keys 1981, https://doi.org/10.1109/TASSP.1981.1163711 (cubic convolution, here with a = -0.5)
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from export import onnx_metadata
from export.subject import BATCH, INPUT

if TYPE_CHECKING:
    import onnx

    from export.onnx_graph import Shape
    from zoo.preprocessing import Preprocessing

PREFIX = "preprocessing/"
READY = f"{PREFIX}image"  # the tensor that the rest of the file takes
_ANY = (BATCH, *(f"{INPUT}_axis{axis}" for axis in (1, 2, 3)))
_FLOAT32, _INT64, _FLOAT64 = 1, 7, 11  # ONNX's numbers for them
_KEYS = -0.5  # the parameter of the cubic kernel


def embedded(
    proto: "onnx.ModelProto", preprocessing: "Preprocessing", *, nchw: bool
) -> "onnx.ModelProto":
    """Put the preprocessing in front of a file's computation.

    Args:
        proto: A file whose only input is ``image``, preprocessed. It is not changed.
        preprocessing: What makes that input of an image.
        nchw: Whether the file's input has the channels first; the new one has them last.

    Returns:
        A model with the input ``image``, uint8, (batch, height, width, channels).
    """
    import onnx

    whole = onnx.ModelProto()
    whole.CopyFrom(proto)
    front = _Front(preprocessing, nchw=nchw)
    body = [_renamed(node, INPUT, READY) for node in proto.graph.node]
    whole.graph.ClearField("node")
    whole.graph.node.extend([*front.nodes, *body])
    whole.graph.ClearField("initializer")
    whole.graph.initializer.extend([*front.constants, *proto.graph.initializer])
    sizes = [BATCH, "height", "width", preprocessing.channels]
    image = onnx.helper.make_tensor_value_info(INPUT, onnx.TensorProto.UINT8, sizes)
    whole.graph.input[0].CopyFrom(image)
    whole.metadata_props.append(
        onnx.StringStringEntryProto(key=onnx_metadata.INPUT_KEY, value=onnx_metadata.PIXELS)
    )
    return whole


def separated(
    proto: "onnx.ModelProto", shape: "Shape"
) -> "tuple[onnx.ModelProto, onnx.ModelProto]":
    """Take a file with its preprocessing apart.

    Args:
        proto: What `embedded` made. It is not changed.
        shape: The shape of what the front makes, as a file without a front would declare it.

    Returns:
        The front, from ``image`` in pixels to ``preprocessing/image``; and the rest, from ``image``
        as it is preprocessed. Where a node behind the front reads anything else of it, or the
        pixels, the rest lacks that and cannot be loaded.
    """
    import onnx

    float32 = onnx.TensorProto.FLOAT
    front, rest = onnx.ModelProto(), onnx.ModelProto()
    for part in (front, rest):
        part.CopyFrom(proto)
        part.graph.ClearField("node")
        part.graph.ClearField("initializer")
    for node in proto.graph.node:
        if node.name.startswith(PREFIX):
            front.graph.node.append(node)
        else:
            past = _renamed(node, INPUT, f"{PREFIX}pixels")
            rest.graph.node.append(_renamed(past, READY, INPUT))
    for tensor in proto.graph.initializer:
        part = front if tensor.name.startswith(PREFIX) else rest
        part.graph.initializer.append(tensor)
    front.graph.ClearField("output")
    front.graph.output.append(onnx.helper.make_tensor_value_info(READY, float32, shape))
    rest.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info(INPUT, float32, shape))
    return front, rest


def front_of(proto: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return a file's front alone."""
    return separated(proto, _ANY)[0]


def without_front(proto: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return what lies behind a file's front, for preprocessed images of any size."""
    return separated(proto, _ANY)[1]


def _renamed(node: "onnx.NodeProto", old: str, new: str) -> "onnx.NodeProto":
    """Copy a node, with one tensor that it takes under another name."""
    import onnx

    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.ClearField("input")
    copy.input.extend(new if name == old else name for name in node.input)
    return copy


class _Front:
    """Builds the nodes and constants of the front.

    Args:
        made: The preprocessing.
        nchw: Whether the channels come first in what it makes.
    """

    def __init__(self, made: "Preprocessing", *, nchw: bool) -> None:
        self.made = made
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._count: dict[str, int] = {}
        height, width = self._sides()
        parts = self._parts(height, width)
        if made.interpolation == "nearest":
            x = self._picked(INPUT, width, parts[1], made.size[1], axis=2)
            x = self._picked(x, height, parts[0], made.size[0], axis=1)
            x = self._op("Cast", x, to=_FLOAT32)
            x = x if not nchw else self._op("Transpose", x, perm=[0, 3, 1, 2])
        else:
            x = self._op("Cast", self._op("Transpose", INPUT, perm=[0, 3, 1, 2]), to=_FLOAT32)
            across = self._weights(width, parts[1], made.size[1])
            x = self._eight_bits(self._op("MatMul", x, self._op("Transpose", across, perm=[1, 0])))
            x = self._eight_bits(
                self._op("MatMul", self._weights(height, parts[0], made.size[0]), x)
            )
            x = x if nchw else self._op("Transpose", x, perm=[0, 2, 3, 1])
        if made.order == "bgr":
            turned = self._constant(np.array([2, 1, 0]), "order")
            x = self._op("Gather", x, turned, axis=1 if nchw else 3)
        shape = (-1, 1, 1) if nchw else (-1,)
        mean, std = (np.asarray(v, np.float32).reshape(shape) for v in (made.mean, made.std))
        x = self._op("Mul", x, self._constant(np.float32(made.scale), "scale"))
        x = self._op("Sub", x, self._constant(mean, "mean"))
        self._op("Div", x, self._constant(std, "std"), out=READY)

    def _sides(self) -> list[str]:
        """Read the image's height and width, as float64 numbers."""
        sizes = self._op("Cast", self._op("Shape", INPUT), to=_FLOAT64)
        axes = [self._constant(np.int64(axis), "axis") for axis in (1, 2)]
        return [self._op("Gather", sizes, axis, axis=0) for axis in axes]

    def _parts(self, height: str, width: str) -> list[tuple[str, str]]:
        """Find the part that is kept along each axis: where it begins and how long it is."""
        if not self.made.crop:
            return [(self._number(0.0), side) for side in (height, width)]
        sides = list(zip((height, width), self.made.size, strict=True))
        ratios = [self._op("Div", side, self._number(size)) for side, size in sides]
        scale = self._op("Mul", self._op("Min", *ratios), self._number(self.made.crop))
        # An image of the model's own size is kept whole.
        same = self._op("And", *(self._op("Equal", r, self._number(1.0)) for r in ratios))
        parts = []
        for side, size in sides:
            kept = self._op("Mul", scale, self._number(size))
            outside = self._op("Div", self._op("Sub", side, kept), self._number(2.0))
            outside = self._op("Max", outside, self._number(0.0))
            begin = self._op("Where", same, self._number(0.0), outside)
            twice = self._op("Mul", begin, self._number(2.0))
            parts.append((begin, self._op("Sub", side, twice)))
        return parts

    def _centers(self, part: tuple[str, str], size: int) -> tuple[str, str]:
        """Place each new pixel's centre on the old ones, (size, 1); return the step too."""
        begin, length = part
        step = self._op("Div", length, self._number(size))
        middles = self._constant(np.arange(size).reshape(-1, 1) + 0.5, "middles")
        return self._op("Add", self._op("Mul", middles, step), begin), step

    def _weights(self, side: str, part: tuple[str, str], size: int) -> str:
        """Make the matrix that resizes an axis, float32, (size, old size)."""
        centers, step = self._centers(part, size)
        reach = self._op("Max", step, self._number(1.0))
        old = self._op("Range", self._number(0.5), side, self._number(1.0))
        distance = self._op("Abs", self._op("Div", self._op("Sub", old, centers), reach))
        if self.made.interpolation == "bilinear":
            kernel = self._op("Max", self._op("Sub", self._number(1.0), distance), self._number(0))
        else:
            kernel = self._cubic(distance)
        axes = self._constant(np.array([1]), "axes")
        total = self._op("ReduceSum", kernel, axes, keepdims=1)
        return self._op("Cast", self._op("Div", kernel, total), to=_FLOAT32)

    def _cubic(self, distance: str) -> str:
        """Evaluate the cubic kernel, piece by piece."""
        near = self._polynomial(distance, (_KEYS + 2, -(_KEYS + 3), 0.0, 1.0))
        far = self._polynomial(distance, (_KEYS, -5 * _KEYS, 8 * _KEYS, -4 * _KEYS))
        outer = self._op(
            "Where", self._op("Less", distance, self._number(2.0)), far, self._number(0.0)
        )
        return self._op("Where", self._op("Less", distance, self._number(1.0)), near, outer)

    def _polynomial(self, x: str, coefficients: tuple[float, ...]) -> str:
        """Evaluate a polynomial, its highest power first."""
        value = self._number(coefficients[0])
        for coefficient in coefficients[1:]:
            value = self._op("Add", self._op("Mul", value, x), self._number(coefficient))
        return value

    def _picked(self, x: str, side: str, part: tuple[str, str], size: int, *, axis: int) -> str:
        """Take the pixel at each new pixel's centre along an axis."""
        centers, _ = self._centers(part, size)
        last = self._op("Sub", side, self._number(1.0))
        index = self._op("Cast", self._op("Min", self._op("Floor", centers), last), to=_INT64)
        flat = self._op("Reshape", index, self._constant(np.array([size]), "size"))
        return self._op("Gather", x, flat, axis=axis)

    def _eight_bits(self, x: str) -> str:
        """Round to whole numbers of 0 to 255, halves up, as Pillow stores what it resized."""
        half = self._constant(np.float32(0.5), "half")
        bounds = [self._constant(np.float32(value), "bound") for value in (0, 255)]
        return self._op("Clip", self._op("Floor", self._op("Add", x, half)), *bounds)

    def _number(self, value: float) -> str:
        """Make a float64 constant: sizes in pixels need more digits than float32 has."""
        return self._constant(np.float64(value), "number")

    def _constant(self, value: Any, role: str) -> str:
        """Put a constant in, once for each value."""
        import onnx

        array = np.asarray(value)
        for tensor in self.constants:
            known = onnx.numpy_helper.to_array(tensor)
            if (known.dtype, known.shape) == (array.dtype, array.shape) and (known == array).all():
                return tensor.name
        name = self._name(role)
        self.constants.append(onnx.numpy_helper.from_array(array, name))
        return name

    def _op(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """Add a node; return what it makes."""
        import onnx

        name = self._name(kind)
        node = onnx.helper.make_node(kind, list(inputs), [out or name], name=name, **attributes)
        self.nodes.append(node)
        return out or name

    def _name(self, role: str) -> str:
        """Name a node or constant; with a number from the second of its kind on."""
        self._count[role] = self._count.get(role, 0) + 1
        number = self._count[role]
        return f"{PREFIX}{role}" if number == 1 else f"{PREFIX}{role}_{number}"


def undone(images: np.ndarray, made: "Preprocessing | None") -> np.ndarray:
    """Turn a model's inputs back into pixels: exactly where it is known how they were made.

    Args:
        images: Preprocessed images, (number, height, width, channels).
        made: Their preprocessing; None where nobody knows.

    Returns:
        uint8 images of that shape.
    """
    if made is not None:
        pixels = (images * np.asarray(made.std) + np.asarray(made.mean)) / made.scale
        pixels = pixels[..., ::-1] if made.order == "bgr" else pixels
    else:
        low, high = images.min(), images.max()
        pixels = 255 * (images - low) / max(high - low, np.finfo(np.float32).tiny)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
