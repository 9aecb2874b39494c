"""What holds for a small network of every family, over the kinds and placements of norms."""

import re

import keras
import numpy as np
import pytest

import export
import zoo
from export.certificate import ALGEBRA_LIMIT
from export.folding import fold_as
from zoo import registry
from zoo.norm import KINDS, PLACEMENTS

from ..export.models import randomize
from .networks import FAMILIES, SMALL, outline, small

# The designs whose units are norm, activation, convolution.
PREACTIVATED = ("densenet", "densenet_imagenet", "wide_resnet")
# One of each design: the others differ in their depths.
STRIDES = {
    "convnext_tiny": (4, 8, 16, 32),
    "densenet121": (4, 8, 16, 32),
    "densenet_bc_100_12": (1, 2, 4),
    "efficientnet_b0": (2, 4, 8, 16, 32),
    "efficientnet_v2_s": (2, 4, 8, 16, 32),
    "ghostnet": (2, 4, 8, 16, 32),
    "inception_resnet_v2": (2, 4, 8, 16, 32),
    "inception_v3": (2, 4, 8, 16, 32),
    "mobilenet": (2, 4, 8, 16, 32),
    "mobilenet_v2": (2, 4, 8, 16, 32),
    "mobilenet_v2_cifar": (1, 2, 4, 8),
    "mobilenet_v3_large": (2, 4, 8, 16, 32),
    "mobilenet_v3_small": (4, 8, 16, 32),
    "nasnet_large": (2, 4, 8, 16, 32),
    "nasnet_mobile": (2, 4, 8, 16, 32),
    "repvgg_a0": (2, 4, 8, 16, 32),
    "repvgg_cifar": (1, 2, 4),
    "resnet8": (1, 2, 4),
    "shufflenet_v2_x1_0": (2, 4, 8, 16, 32),
    "vgg11": (1, 2, 4, 8, 16, 32),
    "vgg11_cifar": (1, 2, 4, 8, 16, 32),
    "wrn16_4": (1, 2, 4),
}
# The sizes of the maps where not all layers are padded, at the default size.
UNPADDED = {
    "inception_resnet_v2": (147, 71, 35, 17, 8),
    "inception_v3": (147, 71, 35, 17, 8),
    "nasnet_large": (165, 83, 42, 21, 11),
    "nasnet_mobile": (111, 56, 28, 14, 7),
}

# The BatchNorms that cannot be folded after_activation.
KEPT = {
    # It is both an addend and a convolution's input.
    "resnet8": ["stem_norm"],
    "resnet_cifar": ["stem_norm"],
    # It is an addend too; or SiLU precedes, and an addition follows.
    "efficientnet_v2": ["stem_norm", "stage1_block1_fused_norm", "stage1_block2_fused_norm"],
    # It is both an addend and a convolution's input; or squeeze and excitation multiplies it.
    "ghostnet": ["stem_norm", "stage2_block2_1_norm", "stage2_block2_1_cheap_norm"],
    # A max pooling follows, where gamma is negative the maximum is another; or an addition to what
    # has no norm.
    "inception_resnet_v2": [
        "stem_3_norm",
        "stem_5_norm",
        *(f"stage3_block1_branch{place}_norm" for place in ("1_1", "2_2", "3_3", "4_2")),
        *(f"stage4_block1_branch{place}_norm" for place in ("1_1", "2_3")),
    ],
    "inception_v3": [
        "stem_3_norm",
        "stem_5_norm",
        *(f"stage3_block1_branch{place}_norm" for place in ("1_1", "2_2", "3_3", "4_2")),
    ],
    # A max pooling follows, and where gamma is negative the maximum is another.
    "densenet_imagenet": ["stem_norm"],
    "shufflenet_v2": ["stem_norm"],
    "vgg": [f"stage{place}_norm" for place in ("1_1", "2_1", "3_2", "4_2", "5_2")],
}
# And those pre_activation.
KEPT_PREACTIVATED = {
    # SiLU follows, and it takes what is added too.
    "efficientnet_v2": ["stage1_block1_fused_norm", "stage1_block2_fused_norm"],
    # Squeeze and excitation multiplies it, and another norm takes half of its input.
    "ghostnet": ["stage2_block2_2_norm"],
    # Others take its input too, and a border of zeros follows, of which every second one is taken.
    "nasnet": ["stage3_block2_previous_norm", "stage3_block1_previous_norm"],
}
# The kinds of norm with a bias before them, where these are more than those that need one.
BIASED = {"convnext": ("group", "layer", "rms", "none")}
# Norms that a family has not of a kind.
LEFT_OUT = {("convnext", "instance"): 1}


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_kind_and_placement_builds_and_learns_no_useless_bias(family, kind, placement):
    model = outline(small, family, norm=zoo.Norm(kind, placement=placement))
    assert model.output_shape == (None, 10)
    norms = [layer for layer in model.layers if layer.name.endswith("norm")]
    left_out = LEFT_OUT.get((family, kind), 0)
    assert len(norms) == (0 if kind == "none" else SMALL[family][1] - left_out)
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


@pytest.mark.parametrize("family", FAMILIES)
def test_names_tell_where_a_layer_is(family):
    place = r"image|(stem|stage\d+(_block\d+)?(_\w+)?|final|head)_\w+|pool|logits"
    for layer in outline(small, family).layers:
        assert re.fullmatch(place, layer.name), layer.name


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
    listed = {"after_activation": KEPT, "pre_activation": KEPT_PREACTIVATED}
    assert kept == listed.get(placement, {}).get(family, [])
    assert len(folded.report.entries) == SMALL[family][1]
    x = np.random.default_rng(1).normal(size=(2, *model.input_shape[1:]))
    reference = np.asarray(export.rebuild(model, "float64")(x))
    values = np.asarray(folded.model(x))
    assert np.max(np.abs(values - reference)) <= ALGEBRA_LIMIT * np.max(np.abs(reference))


@pytest.mark.parametrize("name", sorted(STRIDES))
def test_features_are_the_last_maps_at_each_stride(name):
    maps = outline(zoo.create_model, name, features_only=True).output
    assert list(maps) == [f"stride_{stride}" for stride in STRIDES[name]]
    size = registry.entry(name).input_shape[0]
    sizes = UNPADDED.get(name, tuple(size // stride for stride in STRIDES[name]))
    assert tuple(tensor.shape[1] for tensor in maps.values()) == sizes
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
