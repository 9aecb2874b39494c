"""What holds for a small network of every family, over the kinds and placements of norms."""

import math
import re

import keras
import numpy as np
import pytest

import export
import zoo
from export.certificate import ALGEBRA_LIMIT
from export.folding import fold_as
from zoo import counting, registry
from zoo.norm import KINDS, PLACEMENTS
from zoo.policies import policy

from ..export.models import randomize
from .networks import FAMILIES, SIZES, norm_count, outline, small

# The designs whose units are norm, activation, convolution.
PREACTIVATED = ("densenet", "densenet_imagenet", "preact_resnet", "resnet_v2", "wide_resnet")
# One of each design: the others differ in their depths.
STRIDES = {
    "convnext_tiny": (4, 8, 16, 32),
    "densenet121": (2, 4, 8, 16, 32),
    "densenet_bc_100_12": (1, 2, 4),
    "ds_cnn_m": (2, 4),
    "efficientnet_b0": (2, 4, 8, 16, 32),
    "efficientnet_v2_s": (2, 4, 8, 16, 32),
    "fastnet": (1, 2, 4, 8),
    "ghostnet": (2, 4, 8, 16, 32),
    "inception_resnet_v2": (2, 4, 8, 16, 32),
    "inception_v3": (2, 4, 8, 16, 32),
    "lenet5": (1, 2, 4),
    "mobilenet": (2, 4, 8, 16, 32),
    "mobilenet_v2": (2, 4, 8, 16, 32),
    "mobilenet_v2_cifar": (1, 2, 4, 8),
    "mobilenet_v3_large": (2, 4, 8, 16, 32),
    "mobilenet_v3_small": (2, 4, 8, 16, 32),
    "mobileone_s0": (2, 4, 8, 16, 32),
    "nasnet_large": (2, 4, 8, 16, 32),
    "nasnet_mobile": (2, 4, 8, 16, 32),
    "preact_resnet18": (1, 2, 4, 8),
    "regnetx_002": (2, 4, 8, 16, 32),
    "regnety_002": (2, 4, 8, 16, 32),
    "repvgg_a0": (2, 4, 8, 16, 32),
    "repvgg_cifar": (1, 2, 4),
    "resnet18": (2, 4, 8, 16, 32),
    "resnet18_cifar": (1, 2, 4, 8),
    "resnet50": (2, 4, 8, 16, 32),
    "resnet50_v1_5": (2, 4, 8, 16, 32),
    "resnet50_v2": (2, 4, 8, 16, 32),
    "resnet8": (1, 2, 4),
    "resnext50_32x4d": (2, 4, 8, 16, 32),
    "se_resnet50": (2, 4, 8, 16, 32),
    "squeezenet1_0": (2, 4, 8, 16),
    "squeezenet1_1": (2, 4, 8, 16),
    "shufflenet_v2_x1_0": (2, 4, 8, 16, 32),
    "vgg11": (1, 2, 4, 8, 16, 32),
    "vgg11_cifar": (1, 2, 4, 8, 16, 32),
    "wrn16_4": (1, 2, 4),
    "xception": (2, 4, 8, 16, 32),
}
# The sides of their maps, by the papers' tables, where the design leaves convolutions unpadded.
UNPADDED = {
    "fastnet": [31, 15, 7, 3],
    "inception_resnet_v2": [147, 71, 35, 17, 8],
    "inception_v3": [147, 71, 35, 17, 8],
    "lenet5": [28, 10, 1],
    "nasnet_large": [165, 83, 42, 21, 11],
    "nasnet_mobile": [111, 56, 28, 14, 7],
    "squeezenet1_0": [111, 55, 27, 13],
    "squeezenet1_1": [113, 56, 27, 13],
    "xception": [147, 74, 37, 19, 10],
}

# The BatchNorms that cannot be folded, by placement.
KEPT = {
    # It is both an addend and a convolution's input.
    ("resnet8", "after_activation"): ["stem_norm"],
    ("resnet_cifar", "after_activation"): ["stem_norm"],
    # It is an addend too; or SiLU precedes, and an addition follows.
    ("efficientnet_v2", "after_activation"): [
        "stem_norm",
        "stage1_block1_fused_norm",
        "stage1_block2_fused_norm",
    ],
    # SiLU follows, and it takes what is added too.
    ("efficientnet_v2", "pre_activation"): ["stage1_block1_fused_norm", "stage1_block2_fused_norm"],
    # It is both an addend and a convolution's input; or squeeze and excitation multiplies it.
    ("ghostnet", "after_activation"): [
        "stem_norm",
        "stage2_block2_1_norm",
        "stage2_block2_1_cheap_norm",
    ],
    # Squeeze and excitation multiplies it, and another norm takes half of its input.
    ("ghostnet", "pre_activation"): ["stage2_block2_2_norm"],
    # A max pooling follows, where gamma is negative the maximum is another; or an addition to what
    # has no norm.
    ("inception_resnet_v2", "after_activation"): [
        "stem_3_norm",
        "stem_5_norm",
        *(f"stage3_block1_branch{place}_norm" for place in ("1_1", "2_2", "3_3", "4_2")),
        *(f"stage4_block1_branch{place}_norm" for place in ("1_1", "2_3")),
    ],
    ("inception_v3", "after_activation"): [
        "stem_3_norm",
        "stem_5_norm",
        *(f"stage3_block1_branch{place}_norm" for place in ("1_1", "2_2", "3_3", "4_2")),
    ],
    # Others take its input too, and a border of zeros follows, of which every second one is taken.
    ("nasnet", "pre_activation"): ["stage3_block2_previous_norm", "stage3_block1_previous_norm"],
    # Squeeze and excitation takes what is normalized twice.
    ("regnet_y", "after_activation"): [
        f"stage{place}_2_norm" for place in ("1_block1", "2_block1", "2_block2")
    ],
    # A max pooling follows, and where gamma is negative the maximum is another.
    ("densenet_imagenet", "after_activation"): ["stem_norm"],
    ("fastnet", "after_activation"): ["stage3_2_norm"],
    ("resnet", "after_activation"): ["stem_norm"],
    ("resnet_bottleneck", "after_activation"): ["stem_norm"],
    ("resnext", "after_activation"): ["stem_norm"],
    ("se_resnet", "after_activation"): ["stem_norm"],
    ("shufflenet_v2", "after_activation"): ["stem_norm"],
    ("squeezenet", "after_activation"): [
        "stem_norm",
        "stage1_block1_expand_1x1_norm",
        "stage1_block1_expand_3x3_norm",
    ],
    ("vgg", "after_activation"): [
        f"stage{place}_norm" for place in ("1_1", "2_1", "3_2", "4_2", "5_2")
    ],
    # A max pooling comes before.
    ("fastnet", "before_activation"): [f"stage{number}_1_norm" for number in (1, 2, 3)],
    ("fastnet", "pre_activation"): [f"stage{number}_2_norm" for number in (1, 2, 3)],
}
# The kinds of norm with a bias before them, where these are more than those that need one.
BIASED = {"convnext": ("group", "layer", "rms", "none")}
# Where a norm stands before an average: in the head, in squeeze and excitation, or on one position.
QUICK = {
    ("lenet", "before_activation"),
    ("mobilenet_v2", "after_activation"),
    ("se_resnet", "after_activation"),
    ("ghostnet", "after_activation"),
    ("mobileone", "before_activation"),
}
# Norms that a family has not as instance normalization: of vectors, not maps.
LEFT_OUT = {"convnext": 1}


def constants(family: str, placement: str) -> list[str]:
    """The norms of maps that instance normalization would make the same for every image."""
    model = outline(small, family, norm=zoo.Norm(placement=placement))
    norms = [layer for layer in model.layers if layer.name.endswith("norm")]
    maps = [layer for layer in norms if len(layer.output.shape) == 4]
    return [
        layer.name
        for layer in maps
        if layer.output.shape[1:3] == (1, 1)
        or [type(node.operation).__name__ for node in layer._outbound_nodes]
        == ["GlobalAveragePooling2D"]
    ]


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_kind_and_placement_builds_and_learns_no_useless_bias(family, kind, placement):
    model = outline(small, family, norm=zoo.Norm(kind, placement=placement))
    assert model.output_shape == (None, 10)
    norms = [layer for layer in model.layers if layer.name.endswith("norm")]
    wanted = 0 if kind == "none" else norm_count(family, placement)
    if kind == "instance":
        wanted -= LEFT_OUT.get(family, 0) + len(constants(family, placement))
    assert len(norms) == wanted
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            # A norm undoes a bias only where nothing else, as a shortcut, takes the output.
            used = [node.operation for node in layer._outbound_nodes]
            undone = all(user in norms for user in used) and kind not in BIASED.get(
                family, ("rms", "none")
            )
            assert not (undone and layer.use_bias), f"{layer.name}: the norm undoes its bias"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["convnext", "resnet_cifar"])
def test_every_kind_computes(family, kind):
    model = small(family, norm=zoo.Norm(kind))
    logits = np.asarray(model(np.random.default_rng(0).normal(size=(2, 8, 8, 3))))
    assert logits.shape == (2, 10)
    assert np.all(np.isfinite(logits))
    assert np.std(logits) > 0


@pytest.mark.parametrize(
    ("family", "placement"),
    [
        pytest.param(
            family,
            placement,
            marks=() if (family, placement) in QUICK else pytest.mark.slow,
            id=f"{family}-{placement}",
        )
        for family in FAMILIES
        for placement in PLACEMENTS
    ],
)
def test_instance_norm_leaves_averages_and_logits_that_tell_of_the_image(family, placement):
    norm = zoo.Norm("instance", placement=placement)
    # At 8x8 a pooling in the middle of a DenseNet would take the average of the whole map.
    size = SIZES.get(family, 16)
    with policy("float64"):  # in which nothing but a constant has so small a spread
        model = small(family, norm=norm, input_shape=(size, size, 3))
    pools = [layer for layer in model.layers if "GlobalAveragePooling" in type(layer).__name__]
    averages = {layer.name: layer.output for layer in pools}
    random = np.random.default_rng(0)
    images = random.normal(size=(3, *model.input_shape[1:])) * random.uniform(1, 2, (3, 1, 1, 1))
    found = keras.Model(model.input, {**averages, "logits": model.output})(images)
    spreads = {name: float(np.ptp(np.asarray(x), axis=0).max()) for name, x in found.items()}
    assert [name for name, spread in spreads.items() if spread < 1e-9] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_names_tell_where_a_layer_is(family):
    place = r"image|(stem|stage\d+(_block\d+)?(_\w+)?|final|head)_\w+|pool|logits(_\w+)?"
    models = [outline(small, family) for _ in range(2)]
    names = [[layer.name for layer in counting.operations(model)] for model in models]
    assert names[0] == names[1]
    for name in names[0]:
        assert re.fullmatch(place, name), name


def classes(model: keras.Model) -> list[str]:
    """The classes of the layers that normalize, activate and convolve, as they run."""
    kept = ("Conv2D", "DepthwiseConv2D", "BatchNormalization", "Activation")
    return [type(layer).__name__ for layer in model.layers if type(layer).__name__ in kept]


@pytest.mark.parametrize("family", PREACTIVATED)
def test_a_preactivated_design_takes_both_names_for_its_order(family):
    designs = [
        outline(small, family, norm=zoo.Norm(placement=placement)).get_config()
        for placement in ("before_activation", "pre_activation")
    ]
    assert designs[0] == designs[1]
    order = classes(outline(small, family))
    other = classes(outline(small, family, norm=zoo.Norm(placement="after_activation")))
    swap = {"BatchNormalization": "Activation", "Activation": "BatchNormalization"}
    assert other == [swap.get(name, name) for name in order]


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_batchnorms_fold(family, placement):
    model = randomize(small(family, norm=zoo.Norm(placement=placement)))
    folded = fold_as(model, "float64")
    kept = [entry.layer for entry in folded.report.kept]
    assert kept == KEPT.get((family, placement), [])
    assert len(folded.report.entries) == norm_count(family, placement)
    x = np.random.default_rng(1).normal(size=(2, *model.input_shape[1:]))
    reference = np.asarray(export.rebuild(model, "float64")(x))
    values = np.asarray(folded.model(x))
    assert np.max(np.abs(values - reference)) <= ALGEBRA_LIMIT * np.max(np.abs(reference))


@pytest.mark.parametrize("name", ["densenet_bc_100_12", "lenet5", "ds_cnn_m", "resnet20"])
def test_more_width_is_never_less_network(name):
    widths = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
    counts = [outline(zoo.create_model, name, width=width).count_params() for width in widths]
    assert counts == sorted(counts)
    assert counts[0] < counts[2] < counts[3] < counts[4] < counts[-1]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_exports_and_validates(family, tmp_path):
    model = randomize(small(family))
    path = export.to_onnx(export.fold(model), tmp_path / "model.onnx")
    validation = export.validate(model, path)
    assert validation.ok, [check for check in validation.checks if not check.ok]


@pytest.mark.parametrize("name", sorted(STRIDES))
def test_features_are_the_last_maps_at_each_stride(name):
    maps = outline(zoo.create_model, name, features_only=True).output
    assert list(maps) == [f"stride_{stride}" for stride in STRIDES[name]]
    size = registry.entry(name).input_shape[0]
    sides = UNPADDED.get(name, [math.ceil(size / stride) for stride in STRIDES[name]])
    assert [tensor.shape[1] for tensor in maps.values()] == sides
    last = outline(zoo.create_model, name, include_top=False).output
    assert last.shape == list(maps.values())[-1].shape


@pytest.mark.parametrize("name", [name for name in STRIDES if registry.entry(name).min_size > 1])
def test_the_smallest_size_is_exact(name):
    least = registry.entry(name).min_size
    shape = (least, least, 3)
    model = outline(zoo.create_model, name, input_shape=shape, include_top=False)
    assert model.output_shape[1:3] == (1, 1)
    smaller = zoo.Options(input_shape=(least - 1, least, 3), num_classes=10, include_top=False)
    with pytest.raises(ValueError, match="output size would be zero"):
        outline(registry.entry(name).build, smaller)
    with pytest.raises(zoo.InputError, match=f"at least {least}x{least} pixels; received"):
        zoo.create_model(name, input_shape=(least, least - 1, 3))
