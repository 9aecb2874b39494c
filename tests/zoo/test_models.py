"""Every model of the registry, over every kind and placement of normalization."""

import dataclasses

import keras
import numpy as np
import pytest

import zoo
from zoo import blocks, registry, residual
from zoo.families import mobilenet_v2
from zoo.norm import PLACEMENTS

from .networks import outline


def trainable(model: keras.Model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def test_every_model_has_a_known_number_of_parameters():
    unknown = [name for name, entry in registry.entries().items() if entry.parameters is None]
    assert unknown == []


@pytest.mark.parametrize("name", zoo.list_models())
def test_parameters_input_output_and_entry(name):
    model = outline(zoo.create_model, name)
    entry = registry.entry(name)
    assert model.name == name
    assert trainable(model) == entry.parameters
    assert [tensor.name for tensor in model.inputs] == ["image"]
    assert model.output_names == ["logits"]
    assert model.input_shape[1:] == entry.input_shape
    assert model.output_shape == (None, entry.num_classes)
    assert "https://" in entry.paper


@pytest.mark.parametrize(("depth", "factor"), [(16, 4), (16, 8), (28, 10), (40, 2)])
def test_a_wide_resnet_has_the_parameters_of_its_table(depth, factor):
    # By hand: 3x3 kernels, 1x1 projections, and a scale and shift wherever there is a norm.
    total, channels = 3 * 3 * 3 * 16, 16
    for filters in (16 * factor, 32 * factor, 64 * factor):
        for block in range((depth - 4) // 6):
            total += 2 * channels + 9 * channels * filters + 2 * filters + 9 * filters**2
            total += channels * filters if block == 0 else 0
            channels = filters
    total += 2 * channels + 10 * channels + 10
    assert total == registry.entry(f"wrn{depth}_{factor}").parameters


def test_resnet8_has_the_parameters_of_its_reference_but_for_useless_biases():
    model = outline(zoo.create_model, "resnet8")
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    biases = sum(layer.filters for layer in convolutions)
    assert (len(convolutions), biases) == (9, 336)
    assert model.count_params() == 78_330
    assert model.count_params() + biases == 78_666  # the reference code's count


@pytest.mark.parametrize(
    ("name", "filters", "count"), [("ds_cnn_s", 64, 4), ("ds_cnn_m", 172, 4), ("ds_cnn_l", 276, 5)]
)
def test_a_ds_cnn_has_the_parameters_of_its_table(name, filters, count):
    # By hand: each convolution's kernel with a scale and shift; then the logits.
    separable = (9 + 2) * filters + (filters + 2) * filters
    total = (10 * 4 + 2) * filters + count * separable + (filters + 1) * 12
    assert total == registry.entry(name).parameters
    if name == "ds_cnn_s":
        # A bias, a mean and a variance for each filter of each convolution are not among ours.
        assert total + 3 * (1 + 2 * count) * filters == 24_908


@pytest.mark.parametrize(
    ("name", "sizes", "growth", "stem", "classes"),
    [
        ("densenet121", (6, 12, 24, 16), 32, 7, 1000),
        ("densenet169", (6, 12, 32, 32), 32, 7, 1000),
        ("densenet201", (6, 12, 48, 32), 32, 7, 1000),
        ("densenet_bc_100_12", (16, 16, 16), 12, 3, 10),
    ],
)
def test_a_densenet_has_the_parameters_of_its_table(name, sizes, growth, stem, classes):
    # By hand: each convolution's kernel and each norm's scale and shift; then the logits.
    channels = 2 * growth
    total = 3 * stem**2 * channels + (2 * channels if stem == 7 else 0)
    for stage, count in enumerate(sizes):
        if stage:
            total += 2 * channels + channels * (channels // 2)
            channels //= 2
        for _ in range(count):
            total += 2 * channels + 4 * growth * channels + 2 * 4 * growth + 9 * 4 * growth**2
            channels += growth
    assert total + 2 * channels + (channels + 1) * classes == registry.entry(name).parameters


def test_a_mobilenet_v2_has_the_parameters_of_its_table():
    # By hand: each convolution's kernel with a scale and shift; then the logits.
    total, channels = 27 * 32 + 2 * 32, 32
    for expansion, filters, count in [
        (1, 16, 1),
        (6, 24, 2),
        (6, 32, 3),
        (6, 64, 4),
        (6, 96, 3),
        (6, 160, 3),
        (6, 320, 1),
    ]:
        for _ in range(count):
            wide = expansion * channels
            total += (channels + 2) * wide if expansion > 1 else 0
            total += (9 + 2) * wide + (wide + 2) * filters
            channels = filters
    total += (320 + 2) * 1280
    assert total + 1281 * 1000 == registry.entry("mobilenet_v2").parameters
    assert total + 1281 * 10 == registry.entry("mobilenet_v2_cifar").parameters


@pytest.mark.parametrize(
    ("channels", "width", "scaled"),
    [(32, 0.35, 16), (24, 0.35, 8), (96, 0.35, 32), (16, 0.7, 16), (16, 1.25, 24), (64, 1.4, 88)],
)
def test_mobilenet_v2_rounds_channels_as_its_paper_does(channels, width, scaled):
    assert mobilenet_v2.scaled(channels, width) == scaled
    factors = np.linspace(0.1, 2, 50)
    assert all(
        mobilenet_v2.scaled(channels, factor) >= 0.9 * channels * factor for factor in factors
    )


@pytest.mark.parametrize(
    ("depth", "convolutions"),
    [(11, (1, 1, 2, 2, 2)), (13, (2,) * 5), (16, (2, 2, 3, 3, 3)), (19, (2, 2, 4, 4, 4))],
)
def test_a_vgg_has_the_parameters_of_its_table(depth, convolutions):
    # By hand: 3x3 kernels with a scale and shift each; then three layers with a bias.
    total, channels = 0, 3
    for filters, count in zip((64, 128, 256, 512, 512), convolutions, strict=True):
        for _ in range(count):
            total += 9 * channels * filters + 2 * filters
            channels = filters
    paper = (512 * 7 * 7 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
    assert total + paper == registry.entry(f"vgg{depth}").parameters
    assert (
        total + 2 * (512 + 1) * 512 + (512 + 1) * 10
        == registry.entry(f"vgg{depth}_cifar").parameters
    )


def test_vgg16_without_a_norm_has_the_published_count():
    assert trainable(outline(zoo.create_model, "vgg16", norm=None)) == 138_357_544


def order(model: keras.Model) -> list[str]:
    """The classes of the first residual block's layers, as they run."""
    kept = ("Conv2D", "BatchNormalization", "Activation", "Add")
    return [
        type(layer).__name__
        for layer in model.layers
        if layer.name.startswith("stage1_block1") and type(layer).__name__ in kept
    ]


def test_placement_is_the_order_of_the_papers():
    orders = {
        placement: order(zoo.create_model("resnet20", norm=zoo.Norm(placement=placement)))
        for placement in PLACEMENTS
    }
    conv, norm, act = "Conv2D", "BatchNormalization", "Activation"
    assert orders["before_activation"] == [conv, norm, act, conv, norm, "Add", act]
    assert orders["after_activation"] == [conv, act, norm, conv, norm, "Add", act]
    assert orders["pre_activation"] == [norm, act, conv, norm, act, conv, "Add"]


def test_a_strided_convolution_is_padded_symmetrically():
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, blocks.conv(image, 1, 3, stride=2, name="c"))
    model.get_layer("c").set_weights([np.ones((3, 3, 1, 1))])
    values = np.asarray(model(np.ones((1, 8, 8, 1), "float32")))[0, :, :, 0]
    # The first window lies over the zeros at the top and left; the last one over none.
    assert values[0, 0] == 4
    assert values[0, 1] == 6
    assert values[-1, -1] == 9


def test_an_even_kernel_and_two_strides_keep_the_windows_of_an_odd_size():
    # 49 frames of 10 coefficients; TensorFlow's "same" begins at the same places.
    image = keras.Input((49, 10, 1))
    ours, theirs = (
        keras.Model(
            image, blocks.conv(image, 2, (10, 4), stride=(2, 1), padding=padding, name=padding)
        )
        for padding in ("symmetric", "same")
    )
    ours.set_weights(theirs.get_weights())
    x = np.random.default_rng(0).normal(size=(1, 49, 10, 1))
    values = np.asarray(ours(x))
    assert values.shape == (1, 25, 10, 2)
    # One addition order may be another one's: float32.
    np.testing.assert_allclose(values, np.asarray(theirs(x)), rtol=1e-5, atol=1e-5)


def test_option_a_takes_every_second_pixel_and_adds_zero_channels():
    image = keras.Input((4, 4, 2))
    model = keras.Model(image, residual.shortcut_pad(image, 6, stride=2, name="s"))
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype("float32")
    values = np.asarray(model(x))
    np.testing.assert_array_equal(values[..., 2:4], x[:, ::2, ::2])
    assert not values[..., :2].any()
    assert not values[..., 4:].any()
    assert not model.weights


def test_width_dropout_top_and_features():
    wide = zoo.create_model("resnet20", width=1.5, dropout=0.3)
    assert wide.get_layer("stem_conv").filters == 24
    assert wide.get_layer("dropout").rate == 0.3
    assert zoo.create_model("resnet20", include_top=False).output_shape == (None, 8, 8, 64)
    features = zoo.create_model("resnet20", features_only=True, input_shape=(None, None, 3))
    assert {name: tensor.shape[-1] for name, tensor in features.output.items()} == {
        "stride_1": 16,
        "stride_2": 32,
        "stride_4": 64,
    }


@pytest.mark.parametrize(
    ("dtype", "computes", "logits"),
    [
        ("mixed_bfloat16", "bfloat16", "float32"),
        ("float16", "float16", "float32"),
        ("float64", "float64", "float64"),
        (None, "float32", "float32"),
    ],
)
def test_a_dtype_is_the_models_alone(dtype, computes, logits):
    model = outline(zoo.create_model, "resnet8", dtype=dtype)
    assert model.get_layer("stem_conv").compute_dtype == computes
    assert model.output.dtype == logits
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("dtype", ["float23", "", 16, ["float16"]])
def test_an_unknown_dtype_is_refused(dtype):
    with pytest.raises(zoo.InputError, match="dtype: accepted is a Keras dtype policy"):
        zoo.create_model("resnet8", dtype=dtype)


def test_images_whose_channels_come_first_are_refused(monkeypatch):
    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    with pytest.raises(zoo.InputError, match="accepted is 'channels_last'; received 'channels_f"):
        zoo.create_model("resnet8")


def test_logits_are_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = zoo.create_model("resnet20", input_shape=(8, 8, 3), width=0.5)
    assert model.get_layer("stem_conv").compute_dtype == "bfloat16"
    assert model(np.zeros((1, 8, 8, 3), "float32")).dtype == "float32"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"name": "resnet21"}, "unknown model 'resnet21'; did you mean resnet"),
        ({"name": "alexnet"}, "unknown model 'alexnet'; "),
        ({"name": "resnet20", "width": 0}, "Options.width: input should be greater than 0"),
        ({"name": "resnet20", "dropout": 1}, "Options.dropout: input should be less than 1"),
        ({"name": "resnet20", "num_classes": 0}, "Options.num_classes"),
        ({"name": "resnet20", "input_shape": (0, 8, 3)}, "Options.input_shape"),
        ({"name": "resnet20", "input_shape": (8, 8)}, "Options.input_shape"),
        ({"name": "resnet20", "norm": "bath"}, "unknown kind 'bath'; did you mean batch"),
        ({"name": "resnet20", "norm": {1: 2}}, "norm: accepted are a kind"),
        ({"name": "resnet20", "input_shape": 32}, "Options.input_shape: input should be a valid"),
        ({"name": "resnet20", "num_classes": True}, "Options.num_classes: input should be a valid"),
        ({"name": "resnet20", "num_classes": "10"}, "Options.num_classes: input should be a valid"),
        ({"name": "resnet20", "include_top": "no"}, "Options.include_top: input should be a valid"),
        ({"name": "resnet20", "dropout": "0.5"}, "Options.dropout: input should be a valid number"),
        (
            {"name": "vgg16", "input_shape": (None, 64, 3)},
            "take a fixed height and width; accepted",
        ),
        ({"name": 123}, "accepted is a model's name, for example 'resnet20'; received 123"),
        ({"name": None}, "received None"),
        ({"name": ["resnet20"]}, "received ['resnet20']"),
    ],
)
def test_a_wrong_argument_is_told_in_one_line(arguments, told):
    with pytest.raises(zoo.InputError) as caught:
        zoo.create_model(**arguments)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arguments", [{"pattern": 5}, {"pattern": None}, {"dataset": 5}])
def test_a_pattern_is_a_text(arguments):
    with pytest.raises(zoo.InputError, match=r"(pattern|dataset): accepted is a shell-style"):
        zoo.list_models(**arguments)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_parameters", "5M"),
        ("max_parameters", [1]),
        ("max_parameters", float("nan")),
        ("max_parameters", True),
        ("max_parameters", 0),
        ("min_accuracy", "0.5"),
        ("min_accuracy", float("nan")),
        ("min_accuracy", 1.5),
        ("min_accuracy", True),
    ],
)
def test_a_bound_is_a_number(key, value):
    with pytest.raises(zoo.InputError, match=f"{key}: accepted is .*; received"):
        zoo.list_models(**{key: value})


def test_a_bound_may_be_of_numpy_or_infinite_and_leaves_out_what_is_unknown(monkeypatch):
    entry = registry.entry("resnet20")
    unknown = dataclasses.replace(entry, name="unknown", parameters=None)
    monkeypatch.setattr(registry, "_MODELS", {**registry.entries(), "unknown": unknown})
    for bound in (np.float32(1e9), np.int64(10**9), 1e300, float("inf")):
        found = zoo.list_models("[ru][en][sk]n[eo]*", max_parameters=bound)
        assert "resnet20" in found
        assert "unknown" not in found


def test_list_models_takes_a_pattern():
    assert zoo.list_models("*110") == ["resnet110"]
    assert zoo.list_models("alex*") == []
