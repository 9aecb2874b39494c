import hashlib
import os
import signal

import keras
import numpy as np
import pytest

import training
from training.batches import batches, check_augmentation, steps_per_epoch
from zoo import InputError

ALL = {
    "random_resized_crop": 0.25,
    "flip": True,
    "rand_augment": 2,
    "cutout": 4,
    "mixup": 0.2,
    "cutmix": 1.0,
}


def epoch_of(data, recipe, **where):
    return list(
        batches(data.train, recipe, data.preprocessing, classes=10, **{"epoch": 0, **where})
    )


@pytest.fixture(
    params=[{"pad_crop": 1, "flip": True}, ALL, {"flip": True, "alternate_flip": True}],
    ids=["some", "all", "alternating"],
)
def varied(recipe, request):
    return training.Recipe.load(recipe, augmentation=request.param)


def test_an_epoch_follows_from_the_seed(digits, varied):
    first, again = epoch_of(digits, varied), epoch_of(digits, varied)
    for (x, y), (other_x, other_y) in zip(first, again, strict=True):
        assert (x == other_x).all()
        assert (y == other_y).all()
    for other in (
        epoch_of(digits, varied, epoch=1),
        epoch_of(digits, training.Recipe.load(varied, seed=1)),
    ):
        assert not (other[0][0] == first[0][0]).all()


def test_alternating_flips_mirror_each_image_in_every_second_epoch(digits, recipe):
    alternating = training.Recipe.load(
        recipe, augmentation={"flip": True, "alternate_flip": True}, batch_size=len(digits.train)
    )
    epochs = [epoch_of(digits, alternating, epoch=epoch)[0][0] for epoch in range(3)]

    def seen(images):
        """The images of an epoch, whatever their order."""
        return sorted(image.tobytes() for image in images)

    first, second, third = epochs
    assert seen(first) == seen(third)
    assert seen(first) == seen(second[:, :, ::-1])
    plain = digits.preprocessing(digits.train.images)
    mirrored = len(set(seen(first)) - set(seen(plain)))
    # Half of them, five deviations of a binomial distribution either way.
    assert abs(mirrored - len(plain) / 2) < 5 * len(plain) ** 0.5 / 2
    other = epoch_of(digits, training.Recipe.load(alternating, seed=1))[0][0]
    assert seen(other) != seen(first)


def test_an_epoch_can_begin_in_the_middle(digits, varied):
    whole, rest = epoch_of(digits, varied), epoch_of(digits, varied, first=3)
    assert len(rest) == len(whole) - 3
    for (x, y), (other_x, other_y) in zip(whole[3:], rest, strict=True):
        assert (x == other_x).all()
        assert (y == other_y).all()


def test_batches_are_those_of_earlier_versions(digits, recipe):
    """Runs that were begun then go on to the same weights."""
    earlier = training.Recipe.load(recipe, seed=3, augmentation={"pad_crop": 1, "flip": True})
    digest = hashlib.sha256()
    for x, y in epoch_of(digits, earlier, epoch=1):
        digest.update(x.tobytes() + y.tobytes())
    expected = "24691878d11ea06beb512ba20dbc82f71cb8a3bc9e42a0ded513514f3012e724"
    assert digest.hexdigest() == expected


def test_an_interrupted_training_sees_the_same_batches(recipe, tmp_path, silent, monkeypatch):
    chosen = training.Recipe.load(recipe, augmentation=ALL)
    seen, pressed = [], []
    real = keras.Model.train_on_batch

    def noting(self, x, y, **options):
        seen.append(hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest())
        if len(seen) == 3 and not pressed:
            pressed.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, x, y, **options)

    monkeypatch.setattr(keras.Model, "train_on_batch", noting)
    with pytest.raises(training.Interrupted):
        training.train(chosen, out=tmp_path, progress=silent)
    assert len(seen) == 3
    training.train(chosen, out=tmp_path, resume=True, progress=silent)
    interrupted = seen.copy()
    seen.clear()
    training.train(chosen, progress=silent)
    assert len(seen) == len(set(seen)) == 10
    assert interrupted == seen


def test_mixed_labels_add_up_to_one(digits, recipe):
    mixed = training.Recipe.load(recipe, augmentation=ALL)
    for x, y in epoch_of(digits, mixed):
        assert x.dtype == y.dtype == np.float32
        # A share and its rest are each rounded to float32.
        np.testing.assert_allclose(y.sum(-1), 1, rtol=0, atol=2e-7)
        assert ((y > 0).sum(-1) <= 2).all()


def test_loss_and_accuracy_are_right_for_mixed_labels():
    """As `training.runs` compiles a model; accuracy counts the class of the larger share."""
    logits = np.float32([[2, 1, 0], [0, 3, 0], [1, 0, 4], [0, 1, 0]])
    labels = np.float32([[0.7, 0.3, 0], [0.6, 0.4, 0], [0, 0.1, 0.9], [0.2, 0.8, 0]])
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Activation("linear")(inputs))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    model.compile(loss=loss, metrics=["accuracy"])
    measured = model.test_on_batch(logits, labels, return_dict=True)
    assert float(measured["accuracy"]) == 3 / 4
    smooth = 0.9 * labels + 0.1 / 3
    log_softmax = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    # float32 arithmetic on numbers around 1
    assert abs(float(measured["loss"]) - -(smooth * log_softmax).sum(-1).mean()) < 1e-6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augmentation.cutout": 9}, r"cutout: accepted is at most .* images, 8; received 9"),
        ({"augmentation.mixup": 1.0, "batch_size": 1}, r"batch_size of at least 2; received 1"),
        ({"augmentation.cutmix": 1.0, "batch_size": 1}, r"batch_size of at least 2; received 1"),
    ],
)
def test_what_images_or_batches_are_too_small_for_is_refused(
    recipe, tmp_path, silent, changes, message
):
    with pytest.raises(InputError, match=message):
        training.train(recipe, out=tmp_path / "run", progress=silent, **changes)
    assert not list((tmp_path / "run").glob("*.*"))  # nothing was begun


def test_a_cutout_as_large_as_the_images_is_accepted(digits, recipe):
    check_augmentation(training.Recipe.load(recipe, **{"augmentation.cutout": 8}), digits.train)


def test_each_image_is_seen_once_at_most(digits, recipe):
    marked = training.Data(
        digits.name,
        training.Split(digits.train.images, np.arange(len(digits.train))),
        digits.test,
        digits.labels,
        digits.preprocessing,
    )
    seen = [
        index
        for _, labels in batches(
            marked.train, recipe, marked.preprocessing, classes=len(marked.train), epoch=0
        )
        for index in labels.argmax(-1)
    ]
    assert len(seen) == len(set(seen)) == 5 * 256


def test_labels_stay_with_their_images(digits, recipe):
    split = digits.train
    known = {
        image.tobytes(): label for image, label in zip(split.images, split.labels, strict=True)
    }
    x, y = epoch_of(digits, recipe)[0]
    scaled = x * np.asarray(digits.preprocessing.std) + np.asarray(digits.preprocessing.mean)
    pixels = np.rint(scaled * 255).astype(np.uint8)
    assert [known[image.tobytes()] for image in pixels] == list(y.argmax(-1))
    assert (y.sum(-1) == 1).all()


def test_a_batch_larger_than_the_set_is_refused(recipe):
    with pytest.raises(InputError, match=r"batch_size.*at most.*100; received 256"):
        steps_per_epoch(recipe, 100)
