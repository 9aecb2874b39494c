"""A model of one's own for the studies."""

from zoo import blocks


def builder(norm, dropout):
    """One convolution: it trains and compiles in a second."""
    keras = blocks.keras
    image = keras.Input((8, 8, 3), name="image")
    x = blocks.conv_norm_act(image, 4, 3, norm=norm, stride=2, name="stem")
    x = blocks.pooled(x)
    if dropout:
        x = keras.layers.Dropout(dropout)(x)
    return keras.Model(image, keras.layers.Dense(10, name="logits")(x))
