"""Equal models have equal fingerprints, and their files equal bytes."""

import hashlib
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import export
from export.fingerprint import fingerprint
from zoo import keras_files

from .models import dense


def test_equal_models_make_equal_bytes_in_one_process(tmp_path):
    def made(name):
        keras.utils.set_random_seed(1)
        model = keras.Sequential(
            [keras.Input((6, 6, 3)), layers.Conv2D(4, 3), layers.ReLU(), layers.Conv2D(2, 3)]
        )
        return export.to_onnx(model, tmp_path / name).read_bytes()

    assert made("first.onnx") == made("second.onnx")


def test_a_tensor_with_several_users_makes_equal_bytes_each_time(tmp_path):
    image = keras.Input((6, 6, 3))
    features = layers.ReLU()(layers.Conv2D(4, 3)(image))
    model = keras.Model(image, [features, layers.Conv2D(2, 3)(features), features])
    path = tmp_path / "model.onnx"
    made = {export.to_onnx(model, path).read_bytes() for _ in range(8)}
    assert len(made) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "made",
    [
        "keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Conv2D(4, 3), "
        "keras.layers.BatchNormalization(), keras.layers.Flatten(), keras.layers.Dense(2)])",
        "zoo.create_model('resnet20', features_only=True)",
        "zoo.create_model('ghostnet', input_shape=(32, 32, 3))",
    ],
    ids=["chain", "several outputs", "several users"],
)
def test_equal_models_make_equal_bytes_in_two_processes(made, tmp_path):
    code = (
        "import sys, keras, export, zoo\n"
        "for _ in range(int(sys.argv[2])):\n"  # another state of every counter
        "    keras.layers.Conv2D(1, 1)\n"
        "keras.utils.set_random_seed(1)\n"
        f"export.to_onnx({made}, sys.argv[1])\n"
    )
    hashes = set()
    for number, seed in ((0, "1"), (3, "2")):
        path = tmp_path / f"{number}.onnx"
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code, str(path), str(number)]
        subprocess.run(command, check=True, env=environment, capture_output=True)
        hashes.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(hashes) == 1


class TestFingerprint:
    def test_is_that_of_the_same_model_built_again_and_saved(self, tmp_path):
        first, second = dense(), dense()
        second.set_weights(first.get_weights())
        keras_files.save(second, tmp_path / "model.keras")
        loaded = keras_files.load(tmp_path / "model.keras")
        assert fingerprint(first) == fingerprint(second) == fingerprint(loaded)

    def test_changes_with_the_last_bit_of_a_weight(self):
        model = dense()
        before = fingerprint(model)
        kernel = model.get_weights()[0]
        kernel[-1, -1] = np.nextafter(kernel[-1, -1], np.float32(9))
        model.layers[0].kernel.assign(kernel)
        assert fingerprint(model) != before

    def test_changes_with_the_graph_the_settings_and_the_dtype(self):
        image = keras.Input((4,))
        add, dense_layer = layers.Add(), layers.Dense(4, kernel_initializer="ones")
        made = [
            keras.Model(image, add([image, dense_layer(image)])),
            keras.Model(image, add([dense_layer(image), dense_layer(image)])),
            keras.Model(image, layers.Dense(4, "relu", kernel_initializer="ones")(image)),
            keras.Model(image, layers.Dense(4, kernel_initializer="ones")(image)),
        ]
        made.append(export.rebuild(made[-1], "float64"))
        assert len({fingerprint(model) for model in made}) == len(made)
