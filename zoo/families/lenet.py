"""LeNet-5 of LeCun et al. 1998, figure 2.

    layer         C1      S2      C3      S4      C5     F6
    output size   28x28   14x14   10x10   5x5     1x1
    channels      6       6       16      16      120    84

C1, C3 and C5 are 5x5 convolutions that are not padded, S2 and S4 are 2x2 average poolings, F6 is
fully connected, and the activation is tanh. As is usual since, every map of C3 sees all of S2's,
the poolings learn nothing, the activation comes before them, and F6 is followed by logits: 61,706
parameters, where the paper has 60,000. C5 is a convolution as in the paper, so larger images give
more of its vectors, which are averaged. The paper pads MNIST's 28x28 to 32x32.

The paper has no norm, and neither has the default. With one, the three convolutions have it:
    before_activation  conv, norm, tanh.
    after_activation   conv, tanh, norm.
    pre_activation     norm, tanh, conv: the first convolution takes the image as it is, and the
                       last norm and tanh come before the averaging. A pooling then stands before
                       the norm and tanh that it follows otherwise.

Reference:
    LeCun et al. 1998, https://doi.org/10.1109/5.726791
"""

from typing import Any

from zoo import blocks
from zoo.norm import Norm
from zoo.registry import Options, register_model

PAPER = "LeCun et al. 1998, https://doi.org/10.1109/5.726791"
FILTERS = (6, 16, 120)


@register_model(
    input_shape=(32, 32, 1),
    num_classes=10,
    paper=PAPER,
    min_size=32,
    norm=Norm("none"),
    parameters=61_706,  # as LeNet-5 is usually built today
)
def lenet5(options: Options) -> Any:
    """Build LeNet-5: 0.062 million parameters."""
    norm, layers = options.norm, blocks.keras.layers
    pre = norm.placement == "pre_activation"
    x = inputs = blocks.image(options)
    features = {}
    for stage, filters in enumerate(FILTERS, start=1):
        name, bias = f"stage{stage}", blocks.bias_before(norm)
        if pre and stage > 1:
            x = blocks.norm_act(x, norm, activation="tanh", name=name)
        wide = options.channels(filters)
        x = blocks.conv(x, wide, 5, bias=bias, padding="valid", name=f"{name}_conv")
        if not pre:
            x = blocks.norm_act(x, norm, activation="tanh", name=name)
        features[2 ** (stage - 1)] = x
        if stage < len(FILTERS):
            x = layers.AveragePooling2D(2, name=f"{name}_pool")(x)
    if pre:
        features[max(features)] = blocks.norm_act(x, norm, activation="tanh", name="final")

    def head(x: Any) -> Any:
        dense = layers.Dense(options.channels(84), activation="tanh", name="head_dense")
        return dense(blocks.pooled(x))

    return blocks.model(options, inputs, features, head=head, name="lenet5")
