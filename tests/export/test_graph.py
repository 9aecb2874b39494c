"""Models of every shape survive being read and built again: names, structure, weights, answers."""

import keras
import numpy as np
import pytest
from keras import layers

import export
import zoo
from export import graph, graph_reading
from export.certificate_inputs import batches
from export.folding import Folded
from export.running import outputs

from .models import with_weights

BatchNorm = layers.BatchNormalization
# A copy runs the same operations on the same numbers; float32 sums may be split over threads.
COPY = 1e-6


def weighted(inputs, outs) -> keras.Model:
    return with_weights(keras.Model(inputs, outs), 5, "both")


def assert_copy(model: keras.Model, **options) -> Folded:
    """Check that rebuilding changes nothing, and folding nothing but rounding; return the fold."""
    copy = export.rebuild(model, "float32")
    assert names(copy.inputs) == names(model.inputs)
    assert names(copy.outputs) == names(model.outputs)
    assert not {id(w) for w in copy.weights} & {id(w) for w in model.weights}
    inputs = next(batches(model))[0]
    for one, other in zip(outputs(copy, inputs), outputs(model, inputs), strict=True):
        np.testing.assert_allclose(one, other, rtol=COPY, atol=COPY * np.abs(other).max())
    folded = export.fold(model, **options)
    assert names(folded.model.outputs) == names(model.outputs)
    certificate = export.certify(model, folded)
    assert certificate.ok, certificate.why()
    return folded


def names(tensors) -> list[str]:
    """The names by which a model's inputs and outputs are known: those of the layers."""
    return [tensor._keras_history.operation.name for tensor in tensors]


def block(filters: int = 3, **options) -> list:
    return [layers.Conv2D(filters, 3, **options), BatchNorm(), layers.ReLU()]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "policy", ["mixed_bfloat16", "mixed_float16", "float16", "bfloat16", "float64"]
)
def test_any_policy_becomes_one_dtype(policy, dtype):
    keras.config.set_dtype_policy(policy)
    image = keras.Input((6, 6, 2))
    x = image
    for layer in block():
        x = layer(x)
    x = layers.Dense(3, dtype="float32")(keras.ops.cast(x, "float32"))
    model = weighted(image, x)
    copy = export.rebuild(model, dtype)
    assert {layer.compute_dtype for layer in copy.layers} == {dtype}
    assert {weight.dtype for weight in copy.weights} == {dtype}
    assert copy.output.dtype == dtype
    for new, old in zip(copy.weights, model.weights, strict=True):
        values = keras.ops.convert_to_numpy(old).astype(dtype)
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(new), values)
    assert keras.config.dtype_policy().name == policy


def test_a_refused_dtype_is_told_in_one_line():
    model = weighted(image := keras.Input((2,)), layers.Dense(1)(image))
    with pytest.raises(
        zoo.InputError, match="dtype: accepted are float32, float64; received 'int8'"
    ):
        export.rebuild(model, "int8")


def test_a_sequential_model_with_and_without_an_input_layer():
    with_input = keras.Sequential([keras.Input((6, 6, 2)), *block()])
    later = keras.Sequential(block())
    later.build((None, 6, 6, 2))
    for model in (with_input, later):
        assert not assert_copy(with_weights(model, 1, "both")).report.kept


def test_layers_of_nested_models_keep_their_names():
    inner = keras.Sequential([keras.Input((6, 6, 2)), layers.Conv2D(2, 3, name="conv")], name="in")
    image = keras.Input((6, 6, 2), name="image")
    x = layers.Conv2D(3, 2, name="conv")(inner(image))
    copy = export.rebuild(weighted(image, x))
    assert [layer.name for layer in copy.layers] == ["image", "conv", "conv_1"]


@pytest.mark.parametrize("times", [1, 2])
def test_a_nested_model_that_is_called(times):
    inner = keras.Sequential([keras.Input((6, 6, 2)), *block(2, padding="same")], name="inner")
    x = image = keras.Input((6, 6, 2))
    for _ in range(times):
        x = inner(x)
    folded = assert_copy(weighted(image, layers.Dense(2)(x)))
    assert len(folded.report.entries) == times
    assert not folded.report.kept
    assert len(folded.model.weights) == 4  # one convolution, however often it is called


def test_an_output_of_a_nested_model_keeps_the_nested_models_name():
    inner = keras.Sequential([keras.Input((6, 6, 2)), layers.Dense(2, name="head")], name="head")
    outer = keras.Sequential([keras.Input((6, 6, 2)), inner, BatchNorm()], name="outer")
    image = keras.Input((6, 6, 2))
    model = weighted(image, [outer(image), inner(image), outer(inner(image))])
    assert model.output_names == ["outer", "head", "outer"]
    assert_copy(model)


def test_a_batchnorm_that_is_the_output_leaves_its_name():
    image = keras.Input((6, 6, 2))
    x = layers.Conv2D(3, 2)(image)
    folded = assert_copy(weighted(image, BatchNorm(name="answer")(x)))
    assert folded.report.entries[0].action == "folded_backward"
    assert isinstance(folded.model.get_layer("answer"), layers.Identity)


def test_a_nested_model_takes_a_dict_by_name():
    one, two = keras.Input((3,), name="one"), keras.Input((3,), name="two")
    inner = keras.Model([two, one], layers.Subtract()([two, one]))
    left, right = keras.Input((3,), name="left"), keras.Input((3,), name="right")
    x = inner({"one": left, "two": right})
    assert_copy(weighted([left, right], BatchNorm()(layers.Dense(3)(x))))


def test_a_nested_model_converts_what_it_is_given():
    whole = keras.Sequential([keras.Input((3,), dtype="int32"), layers.Rescaling(0.5)])
    column = keras.Sequential([keras.Input((1,)), layers.Dense(2), BatchNorm()])
    number = keras.Sequential([keras.Input(()), layers.Rescaling(2.0)])
    a, b, c = keras.Input((3,)), keras.Input(()), keras.Input((1,))
    folded = assert_copy(weighted([a, b, c], [whole(a), column(b), number(c)]))
    assert not folded.report.kept


def test_dicts_of_inputs_and_outputs():
    z, a = keras.Input((4,), name="z"), keras.Input((4,), name="a")
    x = BatchNorm(name="first")(layers.Dense(3)(z))
    y = layers.ReLU(name="second")(BatchNorm()(layers.Dense(2)(a)))
    folded = assert_copy(weighted({"z": z, "a": a}, {"y": x, "x": [y, z]}))
    made = folded.model({"a": np.ones((2, 4), "float32"), "z": np.zeros((2, 4), "float32")})
    assert {key: np.shape(value[0]) for key, value in made.items()} == {"y": (3,), "x": (2, 2)}


def test_a_model_from_an_inner_result():
    image = keras.Input((6, 6, 2))
    x = layers.Conv2D(3, 2)(image)
    assert not assert_copy(weighted(x, BatchNorm()(layers.Conv2D(2, 2)(x)))).report.kept


def test_operations_in_the_graph():
    image = keras.Input((6, 6, 4))
    x = layers.Conv2D(4, 3, padding="same")(image)
    y = BatchNorm()(layers.Conv2D(4, 3, padding="same")(image))
    x = keras.ops.relu(x + 2 * y - image) / 3.0
    x = keras.ops.concatenate([x[:, 1:-1, ::2], x[:, :4, :3, :]], axis=-1)
    x = keras.ops.cast(keras.ops.cast(x, "int32"), "float32")[..., None]
    x = keras.ops.where(x > 0, x, keras.ops.squeeze(x, -1)[..., None] * np.arange(8.0)[:, None])
    x = keras.ops.einsum("bhwcd,ck->bhwkd", x, np.ones((8, 2), "float32"))
    assert_copy(weighted(image, keras.ops.mean(x, axis=(1, 2))))


def test_masks_reach_the_layers_that_use_them():
    tokens = keras.Input((3,), dtype="int32")
    x = layers.Embedding(4, 6, mask_zero=True)(tokens)
    x = layers.Dropout(0.5)(layers.Dense(6)(x))
    x = layers.Concatenate()([BatchNorm()(layers.LSTM(3)(x)), layers.LSTM(2)(x)])
    assert not assert_copy(weighted(tokens, layers.Dense(2)(x))).report.kept


def test_recurrent_and_attention_layers():
    series = keras.Input((2, 6))
    x, state, _ = layers.LSTM(4, return_sequences=True, return_state=True)(series)
    x = layers.Bidirectional(layers.GRU(2, return_sequences=True))(x, initial_state=None)
    x = layers.GRU(4, return_sequences=True)(BatchNorm()(x), initial_state=state)
    x = layers.MultiHeadAttention(2, 3)(x, layers.LayerNormalization()(x))
    x = BatchNorm()(layers.Dense(3)(x))
    folded = assert_copy(weighted(series, x))
    assert [entry.action for entry in folded.report.entries] == ["kept", "folded_backward"]


def test_layers_that_wrap_layers():
    frames = keras.Input((2, 6, 6, 2))
    x = BatchNorm()(layers.TimeDistributed(layers.Conv2D(3, 2))(frames))
    x = layers.TimeDistributed(keras.Sequential([*block(2)]))(x)
    folded = assert_copy(weighted(frames, layers.Flatten()(x)))
    assert [entry.codes[0] for entry in folded.report.kept] == ["unsupported_layer", "inside_layer"]


def test_what_adapt_learned_is_copied():
    data = np.random.default_rng(0).normal(3, 2, (20, 4))
    image, words = keras.Input((4,)), keras.Input((1,), dtype="int64")
    normalization, lookup = layers.Normalization(), layers.IntegerLookup(output_mode="one_hot")
    steps = layers.Discretization(num_bins=4)
    for layer in (normalization, steps):
        layer.adapt(data)
    lookup.adapt(np.array([1, 1, 7]))
    x = BatchNorm()(layers.Dense(3)(normalization(image)))
    x = layers.Concatenate()([x, lookup(words), keras.ops.cast(steps(image), "float32")])
    model = keras.Model([image, words], layers.Dense(2)(x))
    assert not assert_copy(model).report.kept


def test_random_layers_do_nothing_at_inference():
    x = image = keras.Input((6, 6, 3))
    for layer in (layers.RandomFlip(), layers.RandomRotation(0.1), layers.RandomZoom(0.1)):
        x = layer(x)
    assert not assert_copy(weighted(image, BatchNorm()(layers.Conv2D(2, 3)(x)))).report.kept


def test_a_quantized_or_adapted_layer_is_copied_and_left():
    x = image = keras.Input((4, 6))
    dense = layers.Dense(4, name="lora")
    x = BatchNorm()(dense(x))
    eight_bits = layers.Dense(3)
    x = BatchNorm()(eight_bits(x))
    model = weighted(image, x)
    dense.enable_lora(2)
    dense.lora_kernel_b.assign(np.ones(dense.lora_kernel_b.shape))
    eight_bits.quantize("int8")
    codes = [entry.codes for entry in assert_copy(model).report.kept]
    assert codes == [("adapted_layer", "adapted_layer"), ("adapted_layer", "model_output")]


class Doubled(layers.Layer):
    """A layer with a layer inside and a configuration of its own, as users write them."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dense = layers.Dense(units)

    def call(self, inputs):
        return 2 * self.dense(inputs)

    def get_config(self):
        return {"units": self.units}


class Block(keras.Model):
    """A model with a call of its own, inside of which nothing can be seen."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(3, 2)
        self.norm = BatchNorm(name="norm")

    def call(self, inputs, training=False):
        return self.norm(self.conv(inputs), training=training)


class Named(keras.Model):
    """A functional model whose class makes the graph of arguments of its own."""

    def __init__(self, units, **kwargs):
        image = keras.Input((3,))
        super().__init__(image, BatchNorm()(layers.Dense(units)(image)), **kwargs)


def test_layers_of_the_users_own():
    keras.config.set_dtype_policy("mixed_bfloat16")  # which their inner layers would take on
    image = keras.Input((6, 6, 2), dtype="float32")
    keras.config.set_dtype_policy("float32")
    x = Doubled(3, name="doubled")(layers.Dense(2)(image))
    x = Block(name="block")(BatchNorm()(x))
    model = weighted(image, x)
    keras.config.set_dtype_policy("mixed_bfloat16")
    folded = assert_copy(model)
    assert [entry.layer for entry in folded.report.kept][-1] == "block/norm"
    inner = folded.model.get_layer("doubled").dense
    assert inner.compute_dtype == inner.variable_dtype == "float32"


def test_a_class_that_makes_its_graph_of_its_own_arguments():
    assert not assert_copy(with_weights(Named(4), 1, "both")).report.kept


class Untold(layers.Layer):
    """A layer that cannot be made again from what it tells."""

    def __init__(self, units):
        super().__init__()
        self.units = units

    def call(self, inputs):
        return inputs


class Telling(Untold):
    def get_config(self):
        return {}


class Changing(layers.Layer):
    """A layer that has other weights each time it is made."""

    made = 0

    def build(self, input_shape):
        Changing.made += 1
        self.add_weight(shape=(1,), name=f"weight_{Changing.made}")

    def call(self, inputs):
        return inputs


class Unnamed(layers.Layer):
    """A layer that gives its weight no name."""

    def build(self, input_shape):
        self.factor = self.add_weight(shape=(input_shape[-1],))

    def call(self, inputs):
        return inputs * self.factor


def test_a_weight_without_a_name_is_copied():
    image = keras.Input((3,))
    model = keras.Model(image, BatchNorm()(Unnamed()(image)))
    (made,) = [lay for lay in export.rebuild(model, "float64").layers if isinstance(lay, Unnamed)]
    np.testing.assert_array_equal(made.factor, model.layers[1].factor)


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (lambda: Untold(object()), "of class Untold has no get_config"),
        (lambda: Telling(3), "of class Telling cannot be made"),
        (Changing, "of class Changing has other weights"),
    ],
    ids=["without get_config", "with a wrong one", "with other weights"],
)
def test_a_layer_that_cannot_be_copied_is_told_in_one_line(layer, told):
    image = keras.Input((3,))
    model = keras.Model(image, BatchNorm()(layer()(image)))
    with pytest.raises(zoo.InputError, match=told) as caught:
        export.fold(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", [keras.Sequential, lambda: keras.Sequential(block()), Block])
def test_a_model_whose_graph_is_not_there_is_told_in_one_line(model):
    with pytest.raises(zoo.InputError, match="accepted are functional and Sequential") as caught:
        export.fold(model())
    assert "\n" not in str(caught.value)


def test_reading_leaves_no_trace():
    image = keras.Input((6, 6, 2))
    inner = keras.Sequential([keras.Input((6, 6, 2)), *block(2)])
    model = weighted(image, inner(image))
    operations = [*model.operations, *inner.layers]
    before = [(len(op._inbound_nodes), len(op._outbound_nodes)) for op in operations]
    graph.build(graph_reading.read(model), "float64")
    assert [(len(op._inbound_nodes), len(op._outbound_nodes)) for op in operations] == before


# Real models of each kind that is hard somewhere; tests.bench.applications takes the others.
APPLICATIONS = (
    "MobileNetV2",  # depthwise convolutions, ReLU6
    "MobileNetV3Small",  # hard swish, squeeze and excitation
    "EfficientNetB0",  # Rescaling and Normalization in the model
    "ResNet50V2",  # BatchNorm and ReLU before convolutions
    "DenseNet121",  # BatchNorms of concatenations that have several users
)


@pytest.mark.slow
@pytest.mark.parametrize("name", APPLICATIONS)
def test_a_model_of_keras_applications_folds_wholly(name):
    make = getattr(keras.applications, name)
    model = statistics(make(weights=None, input_shape=(32, 32, 3), classes=10))
    folded = export.fold(model)
    assert folded.report.kept == ()
    certificate = export.certify(model, folded)
    assert certificate.ok, certificate.why()


def statistics(model: keras.Model) -> keras.Model:
    """Give every BatchNorm statistics near those that its initial weights would get in training."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, BatchNorm):
            for weight in layer.weights:
                value = random.normal(0, 0.1, weight.shape)
                if weight.name in ("gamma", "moving_variance"):
                    value = random.uniform(0.5, 1.5, weight.shape)
                weight.assign(value)
    return model
