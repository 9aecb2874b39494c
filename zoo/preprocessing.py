"""What turns an image's bytes into what a model takes; part of every card."""

import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, BinaryIO, Literal

import numpy as np
import pydantic

from zoo.errors import InputError
from zoo.settings import Number, Settings, Whole

# Within these bounds no pixel's value can overflow float32, or a scale vanish in it.
Side = Annotated[Whole, pydantic.Field(ge=1, le=16_384)]
Factor = Annotated[Number, pydantic.Field(ge=1e-9, le=1e9)]
Shift = Annotated[Number, pydantic.Field(ge=-1e9, le=1e9)]
Part = Annotated[Number, pydantic.Field(ge=0, le=1)]

Order = Literal["rgb", "bgr"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]
# An image's file: its path, or what was opened or read of it already.
File = str | os.PathLike[str] | BinaryIO

# The EXIF tag, and those of its values with which height and width change places.
_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)


class Preprocessing(Settings):
    """Size, scale, mean and standard deviation of the images that a model takes.

    A pixel's value v of 0 to 255 becomes ``(v * scale - mean) / std``, channel by channel.

    Args:
        size: Height and width in pixels, each 1 to 16384.
        channels: 3 for colours; 1 for grey.
        order: The order of the colours that the model takes, ``rgb`` or ``bgr``. Raw images are
            always red, green, blue.
        scale: What a pixel's value is multiplied by first, 1e-9 to 1e9.
        mean: What is subtracted from each channel after scaling, -1e9 to 1e9, in the model's order.
        std: What each channel is divided by at the end, 1e-9 to 1e9, in the model's order.
        interpolation: How an image of another size is resized.
        crop: The part that is kept of an image of another size, 0 to 1: the largest rectangle of
            the model's shape in its centre, each side times this. 0.875 is the papers' shorter
            side of 256 with a crop of 224. With 0 the whole image is kept, and its shape is not.

    Raises:
        InputError: A value is out of its range, or mean and std are not one per channel.

    Reference:
        Krizhevsky et al. 2012, section 2 (shorter side and centre crop),
        https://papers.nips.cc/paper/2012/hash/c399862d3b9d6b76c8436e924a68c45b-Abstract.html
    """

    size: tuple[Side, Side]
    channels: Literal[1, 3] = 3
    order: Order = "rgb"
    scale: Factor = 1 / 255
    mean: tuple[Shift, ...] = (0.0, 0.0, 0.0)
    std: tuple[Factor, ...] = (1.0, 1.0, 1.0)
    interpolation: Interpolation = "bilinear"
    crop: Part = 0.0

    @pydantic.model_validator(mode="after")
    def _one_per_channel(self) -> "Preprocessing":
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(
                f"mean and std have one value per channel, that is {self.channels}; "
                f"received mean={self.mean}, std={self.std}"
            )
        if self.order == "bgr" and self.channels == 1:
            raise ValueError("order: accepted for one channel is rgb; received bgr")
        return self

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Turn raw images of the right size into the model's input.

        Args:
            images: uint8, (batch, height, width, channels).

        Returns:
            float32, the same shape.

        Raises:
            InputError: It is no array, or has another dtype or shape.
        """
        expected = (*self.size, self.channels)
        is_array = isinstance(images, np.ndarray)
        if not is_array or images.dtype != np.uint8 or images.shape[1:] != expected:
            received = f"{images.dtype} of shape {images.shape}" if is_array else _kind(images)
            raise InputError(
                f"images: accepted is an array of numpy's, uint8 of shape "
                f"(batch, {', '.join(map(str, expected))}); received {received}"
            )
        if self.order == "bgr":
            images = images[..., ::-1]
        scaled = images.astype(np.float32, order="C")
        scaled *= np.float32(self.scale)
        # One value for each number of a row: numpy is slow over an axis as short as the channels.
        rows = scaled.reshape(len(images), self.size[0], self.size[1] * self.channels)
        rows -= np.tile(np.asarray(self.mean, np.float32), self.size[1])
        rows /= np.tile(np.asarray(self.std, np.float32), self.size[1])
        return scaled

    def layer(self, name: str = "preprocessing") -> Any:
        """Make a Keras layer that does the same in front of a model.

        Args:
            name: The layer's name.

        Returns:
            A `zoo.layers.Preprocess`: it takes raw images of any one size, (batch, height, width,
            channels), and has no weights.

        Example:
            >>> pixels = keras.Input((480, 640, 3), dtype="uint8")
            >>> whole = keras.Model(pixels, model(preprocessing.layer()(pixels)))
        """
        from zoo.layers import Preprocess

        return Preprocess(self, name=name)

    def read(self, path: str | os.PathLike[str]) -> np.ndarray:
        """Read one image file, in any format that Pillow knows, at the model's size.

        The image is turned as its EXIF orientation says. What is transparent is laid on white, as
        pages show it. Grey values of 16 bits are brought to 8.

        Args:
            path: The file.

        Returns:
            uint8, (height, width, channels).

        Raises:
            InputError: The file is missing, is not an image, or has values whose range no one
                knows (32-bit integers, floating point).
        """
        import PIL.Image

        with warnings.catch_warnings():
            # Of a large image; one that is too large is an error of its own.
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            return self.decode(path)

    def decode(self, file: File, name: str = "") -> np.ndarray:
        """Read one image as `read` does it, in any thread.

        Pillow's warning of a large image is shown: to hide it for a while, as `read` does, is for
        all threads at once.

        Args:
            file: The file's path, or a binary file.
            name: What errors call it; empty for the file itself.

        Returns:
            As `read`.

        Raises:
            InputError: As `read`.
        """
        import PIL.Image
        import PIL.ImageOps

        with _reading(file, name), PIL.Image.open(file) as image:
            image.load()
            return self.resize(PIL.ImageOps.exif_transpose(image))

    def pixels(self, path: str | os.PathLike[str]) -> np.ndarray:
        """Read one image file as `read` does it, but at its own size.

        Args:
            path: The file.

        Returns:
            uint8, (its height, its width, channels).

        Raises:
            InputError: As `read`.
        """
        height, width = image_size(path)
        return self.replace(size=(height, width), crop=0.0).read(path)

    def resize(self, image: Any) -> np.ndarray:
        """Bring a Pillow image to the model's size and channels; see `read`.

        The width is resized first, and then the height: from version 13 on, Pillow alone would take
        the height first where it shrinks more, and round to other values than before.

        Raises:
            InputError: It is no Pillow image, or has values whose range no one knows.
        """
        import PIL.Image

        if not isinstance(image, PIL.Image.Image):
            raise InputError(
                f"image: accepted is one of Pillow's, for example PIL.Image.fromarray of a uint8 "
                f"array of shape (height, width, 3); received {_kind(image)}"
            )
        height, width = self.size
        method = PIL.Image.Resampling[self.interpolation.upper()]
        image = _opaque(_eight_bits(image)).convert("RGB" if self.channels == 3 else "L")
        left, top, right, bottom = self.box(*image.size)
        image = image.resize((width, image.height), method, (left, 0, right, image.height))
        image = image.resize((width, height), method, (0, top, width, bottom))
        return np.asarray(image, dtype=np.uint8).reshape(height, width, self.channels)

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Find the part of an image that is kept: what `crop` says, or an image of our size whole.

        Args:
            width: The image's, in pixels.
            height: The image's, in pixels.

        Returns:
            Left, top, right and bottom, in the image's pixels.
        """
        if not self.crop or (height, width) == self.size:
            return 0.0, 0.0, width, height
        scale = self.crop * min(width / self.size[1], height / self.size[0])
        # Rounding must not carry an edge out of the image.
        left = max(0.0, (width - scale * self.size[1]) / 2)
        top = max(0.0, (height - scale * self.size[0]) / 2)
        return left, top, width - left, height - top


def image_size(file: File, name: str = "") -> tuple[int, int]:
    """Read the size of an image from its header alone, turned as its EXIF orientation says.

    Args:
        file: The file's path, or a binary file.
        name: What errors call it; empty for the file itself.

    Returns:
        Height and width in pixels.

    Raises:
        InputError: As `Preprocessing.read`.
    """
    import PIL.Image

    with _reading(file, name), PIL.Image.open(file) as image:
        width, height = image.size
        lying = image.getexif().get(_ORIENTATION) in _LYING
        return (width, height) if lying else (height, width)


@contextmanager
def _reading(file: File, name: str) -> Iterator[None]:
    """Tell what Pillow raises for a file in one line."""
    import PIL.Image

    called = name or file
    if not (isinstance(file, str | bytes | os.PathLike) or hasattr(file, "read")):
        raise InputError(f"accepted is an image's path or binary file; received {file!r}")
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"there is no file {called}") from error
    except InputError as error:
        raise InputError(f"{called}: {error}") from error
    # What Pillow's many decoders raise for damaged files.
    except (
        OSError,
        EOFError,
        SyntaxError,
        ValueError,
        IndexError,
        struct.error,
        PIL.Image.DecompressionBombError,
    ) as error:
        # Pillow names a binary file by its place in memory.
        told = str(error).replace(repr(file), name) if name else str(error)
        raise InputError(f"{called} is not an image that can be read: {told}") from error


def _kind(value: Any) -> str:
    """Name the type of what was received, whose values may fill pages."""
    return f"an object of type {type(value).__name__}"


def _eight_bits(image: Any) -> Any:
    """Scale grey values of 16 bits to 8, which Pillow would cut off; refuse unknown ranges."""
    import PIL.Image

    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        # A value that is transparent is none of 8 bits: it becomes white here.
        clear = image.info.get("transparency")
        values = np.where(values == clear, 255, np.rint(values / 257))  # 65535 becomes 255
        return PIL.Image.fromarray(values.astype(np.uint8))
    if image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "floating-point numbers"
        raise InputError(
            f"accepted are values of 8 or 16 bits, whose range is known; received {kind}"
        )
    return image


def _opaque(image: Any) -> Any:
    """Lay what is transparent on white."""
    import PIL.Image

    if image.mode[-1] not in "Aa" and "transparency" not in image.info:
        return image
    image = image.convert("RGBA")
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image)
