"""Data that a study cannot use is told."""

import numpy as np
import pytest

import training
from zoo.errors import InputError


def test_bad_data():
    images = np.zeros((4, 8, 8, 3), np.float32)
    with pytest.raises(InputError, match="uint8"):
        training.study("mechanics", form="fast", data=(images, np.zeros(4), images, np.zeros(4)))
    with pytest.raises(InputError, match="four arrays"):
        training.study("mechanics", form="fast", data=(images, np.zeros(4)))


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        # As keras.datasets.cifar10.load_data gives them: they would be of all classes at once.
        (np.ones((4, 1), np.uint8), r"of 4 training images; received uint8, \(4, 1\)"),
        (np.eye(4), r"received float64, \(4, 4\)"),
        (np.full(4, 0.5), r"received float64, \(4,\)"),
        (np.arange(3), r"received int64, \(3,\)"),
        (np.arange(4) - 1, r"received int64, \(4,\), the least one -1"),
    ],
)
def test_labels_are_one_number_for_each_image(labels, told):
    images = np.zeros((4, 8, 8, 3), np.uint8)
    with pytest.raises(InputError, match=told):
        training.study("mechanics", form="fast", data=(images, labels, images, np.zeros(4, int)))


def test_test_images_have_the_shape_of_the_training_images():
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.arange(4)
    with pytest.raises(InputError, match=r"shape, \(8, 8, 3\); received \(6, 8, 3\)"):
        training.study("mechanics", form="fast", data=(images, labels, images[:, :6], labels))
