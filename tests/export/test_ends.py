"""What a model ends in is seen through nested models and layers that hand its numbers on."""

import keras
import numpy as np
import PIL.Image
import pytest
from keras import layers

import export
from export import prediction
from export.heads import last_activation
from export.onnx_file import has_logits
from export.rules import backward_rule, engine
from zoo.errors import InputError
from zoo.preprocessing import Preprocessing

ENDS = {
    "plain": lambda model: model,
    "nested": lambda model: keras.Model(
        image := keras.Input(model.input_shape[1:]), model(image), name="outer"
    ),
    "Sequential": lambda model: keras.Sequential([keras.Input(model.input_shape[1:]), model]),
    "dropout": lambda model: keras.Model(model.input, layers.Dropout(0.2)(model.output)),
    "identity": lambda model: keras.Model(model.input, layers.Identity()(model.output)),
    "linear": lambda model: keras.Model(model.input, layers.Activation("linear")(model.output)),
    "reshaped": lambda model: keras.Model(
        model.input, layers.Flatten()(layers.Reshape((5, 1))(model.output))
    ),
}


def classifier(activation, *between, scale=1.0):
    x = image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3)(x)
    for layer in between:
        x = layer(x)
    norm = layers.BatchNormalization()
    x = layers.GlobalAveragePooling2D()(norm(x))
    dense = layers.Dense(5, activation=activation, name="classes")
    model = keras.Model(image, dense(x), name="inner")
    random = np.random.default_rng(0)
    norm.moving_variance.assign(random.uniform(0.3, 2, 4))
    norm.moving_mean.assign(random.normal(size=4))
    dense.kernel.assign(scale * random.normal(size=(4, 5)))
    return model


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None])
def test_only_logits_get_probabilities(end, activation, tmp_path):
    model = end(classifier(activation))
    assert last_activation(model) == ("classes", activation or "linear")
    assert has_logits(model) == (activation is None)
    for given in (model, export.fold(model)):
        path = tmp_path / "model.onnx"
        if activation is None:
            export.to_onnx(given, path, probabilities=True)
        else:
            with pytest.raises(InputError, match=f"'classes' applies a {activation} already"):
                export.to_onnx(given, path, probabilities=True)


@keras.saving.register_keras_serializable("tests")
class Bent(layers.Layer):
    """Nothing that a scale could pass."""

    def call(self, inputs):
        return inputs + 0.3 * keras.ops.sin(inputs)


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_wrong_fold_before_a_saturated_softmax_is_found(end, monkeypatch):
    known = dict(engine._BACKWARD)
    monkeypatch.setattr(engine, "_BACKWARD", known)

    @backward_rule(Bent)
    def wrong(call, affine, plan):
        engine.backward(call.inputs[0], affine, plan)

    model = classifier("softmax", Bent(), scale=1e3)
    model.get_layer("classes").bias.assign([1e4, 0, -1e4, 2e4, 5e5])
    model = end(model)
    folded = export.fold(model)
    assert [entry.action for entry in folded.report.entries] == ["folded_backward"]
    certificate = export.certify(model, folded)
    assert not certificate.ok
    assert certificate.algebra > 1e-6


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None])
def test_probabilities_are_shown_as_the_model_gives_them(end, activation, tmp_path):
    model = end(classifier(activation, scale=3))
    image = PIL.Image.fromarray(
        np.random.default_rng(1).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    )
    image.save(tmp_path / "image.png")
    made = Preprocessing(size=(8, 8))
    path = export.to_onnx(export.fold(model), tmp_path / "model.onnx", preprocessing=made)
    shown = dict(prediction.classifier(path).top(tmp_path / "image.png"))
    given = np.asarray(model(made(made.read(tmp_path / "image.png")[np.newaxis])))[0]
    wanted = given if activation else np.exp(given) / np.exp(given).sum()
    for number, share in enumerate(wanted):
        assert shown[str(number)] == pytest.approx(share, rel=1e-4)
