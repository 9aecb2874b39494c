"""What onnxruntime refuses is told once."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from export.errors import ExportError
from export.onnx_runtime import LEVELS, Session


@pytest.fixture
def picky():
    """A file that takes batches of two images alone, which only shows when it runs."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [4])
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["image", "shape"], ["logits"])],
        "picky",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [4])],
        [shape],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("level", LEVELS)
def test_a_batch_that_is_refused_is_told_in_one_line_and_nowhere_else(picky, level, capfd):
    onnx.checker.check_model(picky)
    session = Session(picky, level=level)
    assert session.run([np.ones((2, 2), np.float32)])[0].shape == (4,)
    with pytest.raises(ExportError, match=r"onnxruntime cannot run it: .*Reshape") as caught:
        session.run([np.ones((3, 2), np.float32)])
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
