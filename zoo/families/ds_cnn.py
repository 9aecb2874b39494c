"""The depthwise separable networks for keyword spotting of Zhang et al. 2017.

    layer              stem: 10x4      separable 3x3, each
    S, 64 filters      stride 2, 2     1, 1, 1, 1
    M, 172 filters     stride 2, 1     2, 1, 1, 1
    L, 276 filters     stride 2, 1     2, 1, 1, 1, 1

An image is 49 frames of 10 cepstral coefficients, the frames from top to bottom; the classes are
ten words, silence and any other word. A separable convolution is a 3x3 depthwise and a 1x1
convolution, each with a norm and relu, and an average over all positions comes before the logits.
The network S is the one that MLPerf Tiny's keyword spotting has.

The feature maps are named by their stride from frame to frame.

Where the norm stands:
    before_activation  as in the paper: conv, norm, relu.
    after_activation   conv, relu, norm.
    pre_activation     norm, relu, conv: the stem takes the image as it is, and a norm and relu
                       stand at the end.

Reference:
    Zhang et al. 2017, https://arxiv.org/abs/1711.07128
"""

from typing import Any

from zoo import blocks
from zoo.registry import Options, register_model

PAPER = "Zhang et al. 2017, https://arxiv.org/abs/1711.07128"
KERNEL = (10, 4)


def separable(x: Any, filters: int, *, stride: int, options: Options, name: str) -> Any:
    """Convolve each channel by itself, and then the channels of each position."""
    norm, place = options.norm, f"{name}_depthwise"
    pre = norm.placement == "pre_activation"
    x = blocks.norm_act(x, norm, name=place) if pre else x
    x = blocks.depthwise(
        x,
        3,
        stride=stride,
        bias=blocks.bias_before(norm),
        padding=options.padding,
        name=f"{place}_conv",
    )
    x = x if pre else blocks.norm_act(x, norm, name=place)
    return blocks.conv_norm_act(x, filters, 1, norm=norm, name=f"{name}_pointwise")


def ds_cnn(
    options: Options,
    filters: int,
    stem_stride: tuple[int, int],
    strides: tuple[int, ...],
    name: str,
) -> Any:
    """Build the network of so many filters, and of a separable convolution for each stride."""
    norm, wide = options.norm, options.channels(filters)
    inputs = blocks.image(options)
    x = blocks.conv(
        inputs,
        wide,
        KERNEL,
        stride=stem_stride,
        bias=blocks.bias_before(norm),
        padding=options.padding,
        name="stem_conv",
    )
    pre = norm.placement == "pre_activation"
    x = x if pre else blocks.norm_act(x, norm, name="stem")
    total_stride = stem_stride[0]
    features = {total_stride: x}
    for stage, stride in enumerate(strides, start=1):
        total_stride *= stride
        x = separable(x, wide, stride=stride, options=options, name=f"stage{stage}")
        features[total_stride] = x
    if pre:
        features[total_stride] = blocks.norm_act(x, norm, name="final")
    return blocks.model(options, inputs, features, name=name)


# Parameters: MLPerf Tiny's reference code has 24,908 for DS-CNN S with its biases before norms and
# the moving statistics; counted likewise for M and L.
@register_model(input_shape=(49, 10, 1), num_classes=12, paper=PAPER, parameters=23_180)
def ds_cnn_s(options: Options) -> Any:
    """Build DS-CNN S: 0.023 million parameters."""
    return ds_cnn(options, 64, (2, 2), (1, 1, 1, 1), "ds_cnn_s")


@register_model(input_shape=(49, 10, 1), num_classes=12, paper=PAPER, parameters=136_580)
def ds_cnn_m(options: Options) -> Any:
    """Build DS-CNN M: 0.14 million parameters."""
    return ds_cnn(options, 172, (2, 1), (2, 1, 1, 1), "ds_cnn_m")


@register_model(input_shape=(49, 10, 1), num_classes=12, paper=PAPER, parameters=413_736)
def ds_cnn_l(options: Options) -> Any:
    """Build DS-CNN L: 0.42 million parameters."""
    return ds_cnn(options, 276, (2, 1), (2, 1, 1, 1, 1), "ds_cnn_l")
