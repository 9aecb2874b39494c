import keras
import numpy as np
import pytest

import training
import zoo
from training import precision
from zoo import xla
from zoo.policies import policy

FLAGS = {
    "with VNNI": ("flags : fma avx2 avx512f avx512_vnni\n", False),
    "with AVX-512 alone": ("flags : fma avx2 avx512f\n", True),
    "without": ("flags : fma avx2\n", True),
    "untold": (None, True),
}


@pytest.fixture
def cpu(tmp_path, monkeypatch):
    """Pretend that the processor has these features; None where the system tells none."""

    def pretend(facts):
        path = tmp_path / "cpuinfo"
        if facts is not None:
            path.write_text(facts)
        monkeypatch.setattr(xla, "_CPU_FACTS", path)
        xla._has_fast_bfloat16.cache_clear()

    yield pretend
    xla._has_fast_bfloat16.cache_clear()


@pytest.mark.parametrize("facts, needed", FLAGS.values(), ids=FLAGS)
def test_xla_is_for_bfloat16_on_processors_without_it(cpu, facts, needed):
    cpu(facts)
    assert xla.is_needed("bfloat16") is needed
    assert not xla.is_needed("float32") and not xla.is_needed("float16")
    assert precision.jit_compile("mixed_bfloat16") == (True if needed else "auto")
    assert precision.jit_compile("float32") == "auto"
    assert ("XLA" in precision.describe("mixed_bfloat16")) is needed


@pytest.mark.parametrize("here", ["jax", "gpu"])
def test_other_backends_and_devices_choose_for_themselves(cpu, here, monkeypatch):
    cpu(None)
    if here == "jax":
        monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    else:
        monkeypatch.setattr(keras.distribution, "list_devices", lambda kind: ["gpu:0"])
    assert not xla.is_needed("bfloat16")


def test_a_model_predicts_the_same_through_xla(cpu):
    cpu(FLAGS["without"][0])
    with policy("mixed_bfloat16"):
        model = zoo.create_model("resnet20", width=0.5, input_shape=(8, 8, 3))
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    plain = model.predict_on_batch(images)
    predict = xla.predictor(model)
    assert predict != model.predict_on_batch
    # Both round each operation to bfloat16's 8 bits, in another order, through twenty layers.
    assert np.abs(predict(images) - plain).max() < 20 * 2.0**-8 * np.abs(plain).max()
    float32 = zoo.create_model("resnet20", width=0.5, input_shape=(8, 8, 3))
    assert xla.predictor(float32) == float32.predict_on_batch


@pytest.mark.parametrize("facts", ["without", "with VNNI"])
def test_a_training_is_compiled_accordingly(cpu, facts, monkeypatch):
    cpu(FLAGS[facts][0])
    told = []
    compile_ = keras.Model.compile

    def remember(model, **options):
        told.append(options["jit_compile"])
        return compile_(model, **options)

    monkeypatch.setattr(keras.Model, "compile", remember)
    result = training.train(
        "resnet20.digits",
        epochs=1,
        image_size=8,
        width=0.5,
        batch_size=512,
        precision="mixed_bfloat16",
        progress=training.Progress(),
    )
    assert told == [True if facts == "without" else "auto"]
    assert result.card.precision == "mixed_bfloat16"
