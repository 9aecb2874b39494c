import os
import sys

import pytest

from zoo import onednn


@pytest.mark.parametrize(
    "loaded, given, said, left",
    [
        (False, None, True, "1"),
        (True, None, False, None),
        (True, "1", True, "1"),
        (False, "0", True, "0"),
    ],
)
def test_it_is_asked_for_before_tensorflow_and_as_the_user_says(
    loaded, given, said, left, monkeypatch
):
    monkeypatch.setattr(os, "environ", {} if given is None else {onednn.VARIABLE: given})
    monkeypatch.setattr(sys, "modules", {"tensorflow": None} if loaded else {})
    assert onednn.prefer() is said
    assert os.environ.get(onednn.VARIABLE) == left
