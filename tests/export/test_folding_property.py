"""Whatever a model is made of: folding it changes nothing but what it is made of."""

import json

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import export
from export import graph_reading
from export.certificate_inputs import batches
from export.folding import Folded
from export.rules import Reason
from export.running import outputs
from zoo import keras_files

from .random_models import random_model

# derandomize: the same examples in every run, so that a red test is red for everybody.
COMMON = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
        HealthCheck.large_base_example,
    ],
)


def snapshot(model: keras.Model) -> tuple:
    """Everything of a model that a fold could spoil."""
    config = json.dumps(model.get_config(), sort_keys=True, default=str)
    weights = [(w.path, w.dtype, keras.ops.convert_to_numpy(w).tobytes()) for w in model.weights]
    operations = {id(op): op for op in [*model.operations, *model._flatten_layers()]}
    nodes = [
        (op.name, len(op._inbound_nodes), len(op._outbound_nodes)) for op in operations.values()
    ]
    flags = [
        (la.name, la.trainable, la.built, str(la.dtype_policy)) for la in model._flatten_layers()
    ]
    return config, weights, nodes, flags


def batchnorm_calls(model: keras.Model) -> int:
    """How often a model calls a BatchNorm."""
    return sum(call.layer.label == "BatchNormalization" for call in graph_reading.read(model).calls)


def assert_exact(model: keras.Model, path) -> Folded:
    """Fold a model and check all that is promised of that."""
    before = snapshot(model)
    folded = export.fold(model)
    certificate = export.certify(model, folded)
    assert snapshot(model) == before
    assert certificate.ok, certificate.why()

    report = folded.report
    assert len(report.entries) == batchnorm_calls(model)
    assert len(report.kept) == batchnorm_calls(folded.model)
    for entry in report.entries:
        assert bool(entry.reason) == bool(entry.codes) == (entry.action == "kept")
        assert set(entry.codes) <= set(Reason)
    assert folded.model.output_names == model.output_names

    loaded = keras_files.load(keras_files.save(folded.model, path / "folded.keras"))
    inputs = next(batches(folded.model))[0]
    for one, other in zip(outputs(folded.model, inputs), outputs(loaded, inputs), strict=True):
        np.testing.assert_array_equal(one, other)
    return folded


@settings(COMMON, max_examples=25)
@given(data=st.data())
def test_a_fold_is_exact_and_leaves_the_model_alone(tmp_path, data):
    assert_exact(random_model(data.draw), tmp_path)


@pytest.mark.slow
@settings(COMMON, max_examples=120)
@given(data=st.data())
def test_a_fold_is_exact_and_leaves_the_model_alone_for_more_models(tmp_path, data):
    assert_exact(random_model(data.draw), tmp_path)
