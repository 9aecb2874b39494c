"""NASNet-A of Zoph et al. 2018, figures 2, 4 and 7, in its mobile and its large form.

    NASNet-A                 mobile (4 @ 1056)   large (6 @ 4032)
    stem, 3x3 stride 2       32                  96                unpadded
    stage 2, 3               1 reduction cell of F / 4 and one of F / 2 filters
    stage 3                  4 normal cells      6 normal cells    of F filters
    stage 4                  a reduction cell and as many normal cells of 2F filters
    stage 5                  a reduction cell and as many normal cells of 4F filters
    F                        44                  168               1056 / 24 and 4032 / 24

A cell takes h, the output of the cell before it, and p, that of the one before that; both are
brought to its filters by relu, a 1x1 convolution and a norm, and p to the size of h by two such
convolutions of half the filters, which see the pixels of even and of odd rows and columns. Then:

    normal                                      reduction, all but the fourth with stride 2
    1   separable 5x5 of h + 3x3 of p           separable 5x5 of h + 7x7 of p
    2   separable 5x5 of p + 3x3 of p           max of h + separable 7x7 of p
    3   mean of h + p                           mean of h + separable 5x5 of p
    4   mean of p + mean of p                   mean of 1 + 2
    5   separable 3x3 of h + h                  separable 3x3 of 1 + max of h
    joined: p and 1 to 5                        joined: 2 to 5

A separable convolution is relu, a depthwise and a 1x1 convolution and a norm, twice; the second has
stride 1. Poolings are 3x3. In the large form the cell after a reduction cell takes as p what the
reduction cell took as p, in the mobile form what it took as h.

Where the norm stands:
    before_activation  as in the paper: relu, conv, norm, relu, conv, norm; no norm is moved, since
                       each has its activation behind it already.
    after_activation   in a separable convolution relu, conv, relu, norm, conv, norm; the norm that
                       ends a branch stays, since an addition follows.
    pre_activation     norm, relu, conv, norm, relu, conv; the stem has none, and a last norm and
                       relu come at the end.

There are no residual branches. The zeros that pad what a reduction cell pools take part in it, as
in keras.applications, whose weights compute the same here with the padding ``same`` (of an unknown
size, as of an even one).

Reference:
    Zoph et al. 2018, https://arxiv.org/abs/1707.07012
"""

from dataclasses import dataclass
from typing import Any

from zoo import blocks
from zoo.norm import Norm
from zoo.registry import Options, register_model

PAPER = "Zoph et al. 2018, https://arxiv.org/abs/1707.07012"
# The epsilon of the authors' code.
NORM = Norm(epsilon=1e-3)


@dataclass(frozen=True)
class Form:
    """What differs between the forms.

    Args:
        stem: The stem's filters.
        filters: The filters of the cells of stage 3.
        cells: The number of normal cells in each of the stages from 3 on.
        skips: Whether the cell after a reduction cell skips that one's inputs.
        last: The number of the last stage.
    """

    stem: int
    filters: int
    cells: int
    skips: bool
    last: int = 5


MOBILE = Form(stem=32, filters=44, cells=4, skips=False)
LARGE = Form(stem=96, filters=168, cells=6, skips=True)


@dataclass(frozen=True)
class Map:
    """A feature map and its stride."""

    tensor: Any
    stride: int


def separable(
    x: Any, filters: int, kernel_size: int, *, stride: int = 1, options: Options, name: str
) -> Any:
    """Convolve separably, twice."""
    norm = options.norm
    pre = norm.placement == "pre_activation"
    x = blocks.norm_act(x, norm, name=f"{name}_1") if pre else relu(x, name=f"{name}_1")
    x = separable_conv(
        x,
        filters,
        kernel_size,
        stride=stride,
        bias=blocks.bias_before(norm),
        options=options,
        name=f"{name}_1",
    )
    x = blocks.norm_act(x, norm, name=f"{name}_2")
    bias = blocks.needs_bias(norm, followed_by="norm")
    x = separable_conv(x, filters, kernel_size, bias=bias, options=options, name=f"{name}_2")
    return x if pre else blocks.normalize(x, norm, name=f"{name}_end_norm")


def separable_conv(
    x: Any,
    filters: int,
    kernel_size: int,
    *,
    stride: int = 1,
    bias: bool,
    options: Options,
    name: str,
) -> Any:
    """Filter each channel by itself and mix them."""
    x = blocks.depthwise(
        x, kernel_size, stride=stride, padding=options.padding, name=f"{name}_depthwise_conv"
    )
    return blocks.conv(x, filters, 1, bias=bias, name=f"{name}_conv")


def relu(x: Any, *, name: str) -> Any:
    """Activate."""
    return blocks.keras.layers.Activation("relu", name=f"{name}_act")(x)


def add(one: Any, other: Any, *, name: str) -> Any:
    """Add two feature maps, which are no branch and shortcut."""
    return blocks.keras.layers.Add(name=f"{name}_add")([one, other])


def mean(x: Any, *, name: str) -> Any:
    """Average 3x3 windows, of what is inside the image."""
    return blocks.keras.layers.AveragePooling2D(3, strides=1, padding="same", name=f"{name}_pool")(
        x
    )


def fitted(x: Any, filters: int, *, halves: bool = False, options: Options, name: str) -> Any:
    """Bring a cell's input to the cell's filters, and to half the size if asked."""
    norm = options.norm
    pre = norm.placement == "pre_activation"
    x = blocks.norm_act(x, norm, name=name) if pre else relu(x, name=name)
    bias = blocks.needs_bias(norm, followed_by="norm")
    if halves:
        x = halved(x, filters, bias=bias, name=name)
    else:
        x = blocks.conv(x, filters, 1, bias=bias, name=f"{name}_conv")
    return x if pre else blocks.normalize(x, norm, name=f"{name}_norm")


def halved(x: Any, filters: int, *, bias: bool, name: str) -> Any:
    """Convolve the pixels of even rows and columns, and those of odd ones, and join both."""
    layers = blocks.keras.layers
    shifted = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_odd_border")(x)
    shifted = layers.Cropping2D(((1, 0), (1, 0)), name=f"{name}_odd_crop")(shifted)
    ends = []
    for pixels, place in ((x, f"{name}_even"), (shifted, f"{name}_odd")):
        # A 1x1 mean of stride 2 picks.
        picked = layers.AveragePooling2D(1, strides=2, name=f"{place}_pick")(pixels)
        ends.append(blocks.conv(picked, filters // 2, 1, bias=bias, name=f"{place}_conv"))
    return layers.Concatenate(name=f"{name}_join")(ends)


def inputs_of_cell(
    current: Map, previous: Map | None, filters: int, options: Options, name: str
) -> tuple[Any, Any]:
    """Bring what a cell takes, h and p, to its filters and to one size."""
    h = fitted(current.tensor, filters, options=options, name=f"{name}_current")
    if previous is None:  # the first cell has but one input
        return h, current.tensor
    p = previous.tensor
    halves = previous.stride != current.stride
    if halves or p.shape[-1] != filters:
        p = fitted(p, filters, halves=halves, options=options, name=f"{name}_previous")
    return h, p


def normal(current: Map, previous: Map | None, filters: int, *, options: Options, name: str) -> Map:
    """Build a cell that keeps the size."""
    h, p = inputs_of_cell(current, previous, filters, options, name)

    def convolved(x: Any, kernel_size: int, place: str) -> Any:
        return separable(x, filters, kernel_size, options=options, name=f"{name}_{place}")

    p_mean = mean(p, name=f"{name}_4_p")
    ends = [
        p,
        add(convolved(h, 5, "1_h"), convolved(p, 3, "1_p"), name=f"{name}_1"),
        add(convolved(p, 5, "2_wide"), convolved(p, 3, "2_narrow"), name=f"{name}_2"),
        add(mean(h, name=f"{name}_3_h"), p, name=f"{name}_3"),
        add(p_mean, p_mean, name=f"{name}_4"),
        add(convolved(h, 3, "5_h"), h, name=f"{name}_5"),
    ]
    joined = blocks.keras.layers.Concatenate(name=f"{name}_join")(ends)
    return Map(joined, current.stride)


def reduction(
    current: Map, previous: Map | None, filters: int, *, options: Options, name: str
) -> Map:
    """Build a cell that halves the size."""
    layers = blocks.keras.layers
    h, p = inputs_of_cell(current, previous, filters, options, name)
    padded = layers.ZeroPadding2D(border(h, options), name=f"{name}_border")(h)
    largest = layers.MaxPooling2D(3, strides=2, name=f"{name}_max_pool")(padded)
    average = layers.AveragePooling2D(3, strides=2, name=f"{name}_mean_pool")(padded)

    def convolved(x: Any, kernel_size: int, place: str, stride: int = 2) -> Any:
        return separable(
            x, filters, kernel_size, stride=stride, options=options, name=f"{name}_{place}"
        )

    first = add(convolved(h, 5, "1_h"), convolved(p, 7, "1_p"), name=f"{name}_1")
    second = add(largest, convolved(p, 7, "2_p"), name=f"{name}_2")
    ends = [
        second,
        add(average, convolved(p, 5, "3_p"), name=f"{name}_3"),
        add(second, mean(first, name=f"{name}_4"), name=f"{name}_4"),
        add(convolved(first, 3, "5", stride=1), largest, name=f"{name}_5"),
    ]
    return Map(layers.Concatenate(name=f"{name}_join")(ends), 2 * current.stride)


def border(x: Any, options: Options) -> tuple[tuple[int, int], ...]:
    """Give the zeros around what 3x3 windows of stride 2 pool, as convolutions are padded."""
    if options.padding == "symmetric":
        return (1, 1), (1, 1)
    return tuple((1 if side is not None and side % 2 else 0, 1) for side in x.shape[1:3])


def network(options: Options, form: Form, name: str) -> Any:
    """Build the stem, the cells and the activation of the last one."""
    norm = options.norm
    pre = norm.placement == "pre_activation"
    inputs = blocks.image(options)
    bias = blocks.needs_bias(norm, followed_by="norm")
    x = blocks.conv(
        inputs,
        options.channels(form.stem),
        3,
        stride=2,
        bias=bias,
        padding="valid",
        name="stem_conv",
    )
    current, previous = Map(x if pre else blocks.normalize(x, norm, name="stem_norm"), 2), None
    features = {2: current.tensor}
    full = options.channels(form.filters)
    for stage in range(2, form.last + 1):
        # Of the reduction cell and of the normal cells; stage 2 has none of these.
        filters = {2: (full // 4, 0), 3: (full // 2, full)}.get(
            stage, (full * 2 ** (stage - 3),) * 2
        )
        place = f"stage{stage}_block"
        reduced = reduction(current, previous, filters[0], options=options, name=f"{place}1")
        previous = previous if form.skips and stage > 3 else current
        current = reduced
        for number in range(2, form.cells + 2 if stage > 2 else 2):
            made = normal(current, previous, filters[1], options=options, name=f"{place}{number}")
            current, previous = made, current
        features[current.stride] = current.tensor
    last = current.tensor
    features[current.stride] = (
        blocks.norm_act(last, norm, name="final") if pre else relu(last, name="final")
    )
    return blocks.model(options, inputs, features, name=name)


# Parameters: keras.applications' NASNetMobile and NASNetLarge, without their moving statistics.
@register_model(
    input_shape=(224, 224, 3),
    num_classes=1000,
    paper=PAPER,
    norm=NORM,
    min_size=3,
    parameters=5_289_978,
)
def nasnet_mobile(options: Options) -> Any:
    """Build NASNet-A (4 @ 1056), the mobile form: 5.3 million parameters."""
    return network(options, MOBILE, "nasnet_mobile")


@register_model(
    input_shape=(331, 331, 3),
    num_classes=1000,
    paper=PAPER,
    norm=NORM,
    min_size=3,
    parameters=88_753_150,
)
def nasnet_large(options: Options) -> Any:
    """Build NASNet-A (6 @ 4032), the large form: 88.8 million parameters."""
    return network(options, LARGE, "nasnet_large")
