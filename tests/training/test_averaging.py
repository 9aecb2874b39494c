import keras
import numpy as np
import pytest

import training
from training import averaging, precision
from training.averaging import Statistics
from training.optimizer import SGD
from zoo import InputError


def averages_of(weights, decay):
    """The average after each update, by its definition, in float64."""
    average = None
    for update, value in enumerate(weights, start=1):
        d = min(decay, (update - 1) / (update + 8))
        average = value if average is None else d * average + (1 - d) * value
        yield average


@pytest.mark.parametrize("decay", [0.2, 0.99])
@pytest.mark.parametrize("accumulation", [None, 3])
def test_the_average_is_that_of_the_weights_after_each_update(decay, accumulation):
    chance = np.random.default_rng(0)
    variable = keras.Variable(chance.normal(size=(2, 3)), dtype="float32")
    first = variable.numpy()
    optimizer = SGD(0.1, average=decay, gradient_accumulation_steps=accumulation)
    optimizer.build([variable])
    weights, found = [], []
    for step in range(18):
        optimizer.apply([keras.ops.convert_to_tensor(chance.normal(size=(2, 3)), "float32")])
        if (step + 1) % (accumulation or 1) == 0:
            weights.append(variable.numpy().astype(np.float64))
            found.append(optimizer.averages[0].numpy())
        elif not weights:
            np.testing.assert_array_equal(optimizer.averages[0].numpy(), first)
        else:
            np.testing.assert_array_equal(optimizer.averages[0].numpy(), found[-1])
    # float32 rounds each of 18 updates.
    np.testing.assert_allclose(found, list(averages_of(weights, decay)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[0], weights[0].astype(np.float32))


def test_a_step_that_overflows_does_not_move_the_average():
    variable = keras.Variable([1.0, 2.0])
    optimizer = precision.scaled(SGD(0.1, average=0.9), "mixed_float16")
    optimizer.build([variable])
    (average,) = optimizer.inner_optimizer.averages
    for gradient in (1.0, float("inf"), 1.0):
        before = average.numpy()
        optimizer.apply([keras.ops.full((2,), gradient)], [variable])
        assert (average.numpy() == before).all() == np.isinf(gradient)


def test_an_optimizer_without_average_has_no_variables_for_one():
    variable = keras.Variable([1.0])
    plain, averaged = SGD(0.1), SGD(0.1, average=0.5)
    for optimizer in (plain, averaged):
        optimizer.build([variable])
    assert len(averaged.variables) == len(plain.variables) + 1


def convolve(x, kernel):
    """A convolution without padding, in float64."""
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
    return np.einsum("bhwcij,ijcf->bhwf", windows, kernel.astype(np.float64))


def network(*, renorm=False, scale=True):
    """Two norms with a dropout between them, all weights and statistics at random."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, use_bias=False, name="conv_1"),
            keras.layers.BatchNormalization(renorm=renorm, scale=scale, name="norm_1"),
            keras.layers.ReLU(),
            keras.layers.Dropout(0.5),
            keras.layers.Conv2D(5, 3, use_bias=False, name="conv_2"),
            keras.layers.BatchNormalization(renorm=renorm, scale=scale, name="norm_2"),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    chance = np.random.default_rng(3)
    for variable in model.weights:
        variable.assign(chance.uniform(0.2, 1.2, variable.shape) * chance.choice([-1, 1]))
        if "variance" in variable.path or "stddev" in variable.path:
            variable.assign(abs(variable))
    return model


def inputs_of_norms(model, batches):
    """What the two norms receive where the first normalizes by its batch, in float64."""
    first, second = [], []
    norm = model.get_layer("norm_1")
    gamma = 1.0 if norm.gamma is None else norm.gamma.numpy()
    for batch in batches:
        x = convolve(batch.astype(np.float64), model.get_layer("conv_1").kernel.numpy())
        first.append(x)
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        x = (x - mean) / np.sqrt(variance + norm.epsilon) * gamma + norm.beta.numpy()
        second.append(convolve(np.maximum(x, 0), model.get_layer("conv_2").kernel.numpy()))
    return np.concatenate(first), np.concatenate(second)


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("renorm", [False, True])
@pytest.mark.parametrize("sizes", [(24,), (9, 8, 7)])
def test_statistics_are_those_of_all_images_at_once(sizes, renorm, scale):
    model = network(renorm=renorm, scale=scale)
    chance = np.random.default_rng(0)
    # Batches of different means and spreads: their variances alone would be far too small.
    batches = [
        chance.normal(number, number + 1, (size, 8, 8, 3)).astype(np.float32)
        for number, size in enumerate(sizes)
    ]
    others = {
        variable.path: variable.numpy()
        for variable in model.variables
        if "norm" not in variable.path or variable.path.endswith(("gamma", "beta"))
    }
    norms = averaging.batch_norms(model)
    Statistics(model, norms).renew(iter(batches))
    for norm, x in zip(norms, inputs_of_norms(model, batches), strict=True):
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        deviation = np.sqrt(variance + norm.epsilon)
        # Computed in float32 from values of up to some ten, and stored in it.
        np.testing.assert_allclose(norm.moving_mean.numpy(), mean, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(norm.moving_variance.numpy(), variance, rtol=1e-4)
        if renorm:
            np.testing.assert_array_equal(norm.renorm_mean.numpy(), norm.moving_mean.numpy())
            np.testing.assert_allclose(norm.renorm_stddev.numpy(), deviation, rtol=1e-4)
            np.testing.assert_allclose(norm.moving_stddev.numpy(), deviation, rtol=1e-4)
    for variable in model.variables:
        if variable.path in others:
            np.testing.assert_array_equal(variable.numpy(), others[variable.path])


def test_a_model_is_as_it_was_after_its_statistics_were_taken():
    model = network()
    images = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype(np.float32)
    Statistics(model, averaging.batch_norms(model)).renew([images])
    norm = model.get_layer("norm_1")
    assert "call" not in vars(norm)
    assert len(norm._inbound_nodes) == 1
    kept = norm.moving_mean.numpy()
    model(images, training=False)
    np.testing.assert_array_equal(norm.moving_mean.numpy(), kept)
    model(images + 1, training=True)
    assert (norm.moving_mean.numpy() != kept).any()


def test_statistics_follow_the_weights_from_call_to_call():
    model = network()
    images = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype(np.float32)
    statistics = Statistics(model, averaging.batch_norms(model))
    statistics.renew([images])
    before = model.get_layer("norm_1").moving_mean.numpy()
    kernel = model.get_layer("conv_1").kernel
    kernel.assign(2 * kernel)
    statistics.renew([images])
    # Twice a float is exact, and so are sums and means of twice the floats.
    np.testing.assert_array_equal(model.get_layer("norm_1").moving_mean.numpy(), 2 * before)


def test_a_norm_that_is_used_twice_is_told():
    image = keras.Input((4, 4, 3))
    norm = keras.layers.BatchNormalization(name="shared")
    model = keras.Model(image, norm(keras.layers.ReLU()(norm(image))))
    with pytest.raises(InputError, match="each BatchNorm once; received one that uses shared"):
        Statistics(model, [norm]).renew([np.zeros((2, 4, 4, 3), np.float32)])


@pytest.mark.parametrize(("images", "wanted", "batch_size"), [(100, 64, 30), (50, 64, 64)])
def test_images_are_chosen_once_each_and_in_even_batches(images, wanted, batch_size):
    parts = averaging.chosen_parts(images, wanted, batch_size, 7)
    sizes = [len(part) for part in parts]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    every = np.concatenate(parts)
    assert len(every) == len(set(every.tolist())) == min(images, wanted)
    again = averaging.chosen_parts(images, wanted, batch_size, 7)
    assert all((one == two).all() for one, two in zip(parts, again, strict=True))


@pytest.fixture
def trained(digits):
    """Some steps of a training by a recipe: the model, and what would be kept."""

    def train(recipe, **values):
        from training.group import Group
        from training.runs import _Run

        run = _Run(training.Recipe.load(recipe, **values), digits, None, Group(), resume=False)
        chance = np.random.default_rng(0)
        for _ in range(3):
            chosen = chance.permutation(len(run.train))[:64]
            labels = keras.ops.one_hot(run.train.labels[chosen], 10)
            images = digits.preprocessing(run.train.images[chosen])
            run.model.train_on_batch(images, labels)
        return run

    return train


def test_without_either_the_model_itself_is_kept(recipe, trained):
    run = trained(recipe)
    assert run.kept() is run.model


@pytest.mark.parametrize("kind", ["batch", "batch_renorm", "group", "none"])
@pytest.mark.parametrize("average", [0.0, 0.9])
def test_what_is_kept_has_its_own_weights_and_statistics(recipe, trained, kind, average):
    run = trained(recipe, norm=kind, average=average, statistics_images=300)
    before = [variable.numpy() for variable in run.model.variables]
    kept = run.kept()
    for variable, value in zip(run.model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert kept is not run.model
    moved = set()
    for ours, theirs in zip(run.model.weights, kept.weights, strict=True):
        if (ours.numpy() != theirs.numpy()).any():
            moved.add(ours.path.rsplit("/", 1)[1])
    averaged = {"kernel", "gamma", "beta", "bias"} if average else set()
    names = {variable.path.rsplit("/", 1)[1] for variable in run.model.weights}
    statistics = {"moving_mean", "moving_variance", "moving_stddev", "renorm_mean", "renorm_stddev"}
    assert moved == (averaged | statistics) & names
    if average:
        optimizer = run.model.optimizer
        pairs = zip(optimizer.averages, kept.trainable_variables, strict=True)
        assert all((one.numpy() == two.numpy()).all() for one, two in pairs)


def test_a_frozen_norm_keeps_its_statistics(recipe, trained):
    run = trained(recipe, statistics_images=300)
    (norm,) = averaging.batch_norms(run.model)
    norm.trainable = False
    kept = run.kept()
    (theirs,) = averaging.batch_norms(kept)
    np.testing.assert_array_equal(theirs.moving_mean.numpy(), norm.moving_mean.numpy())


def test_an_average_has_statistics_over_8192_images_or_all(recipe, digits, trained, monkeypatch):
    counts = []
    real = Statistics.renew

    def counted(self, batches):
        kept = list(batches)
        counts.append(sum(len(batch) for batch in kept))
        real(self, kept)

    monkeypatch.setattr(Statistics, "renew", counted)
    assert averaging.STATISTICS_IMAGES == 8192
    run = trained(recipe, average=0.9)
    run.kept()
    monkeypatch.setattr(averaging, "STATISTICS_IMAGES", 400)
    run.kept()
    assert counts == [len(run.train), 400]


def test_statistics_over_more_images_than_there_are_are_refused(recipe, silent):
    with pytest.raises(InputError, match=r"statistics_images: .*images, 1295; received 1296"):
        training.train(recipe, statistics_images=1296, progress=silent)


def test_the_average_is_validated_and_kept_and_the_training_goes_on_by_the_raw_weights(
    recipe, digits, silent
):
    plain = training.train(recipe, progress=silent)
    averaged = training.train(recipe, average=0.9, statistics_images=500, progress=silent)
    for one, two in zip(plain.history, averaged.history, strict=True):
        # The two runs may differ by rounding, as TensorFlow was in use before; not by more.
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-3)
        assert one["val_loss"] != pytest.approx(two["val_loss"], rel=1e-3)
    _, held = training.data.stratified(digits.train.labels, recipe.holdout)
    split = digits.train.take(held)
    measured = training.evaluate(averaged.model, split, preprocessing=digits.preprocessing)
    assert measured.accuracy == averaged.card.metrics["val_accuracy"]
    assert measured.loss == pytest.approx(averaged.history[-1]["val_loss"], rel=1e-5)
    measured = training.evaluate(averaged.model, digits)
    assert measured.accuracy == averaged.card.metrics["test_accuracy"]


@pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_has_float32_statistics(recipe, silent, name):
    exact = training.train(recipe, epochs=1, statistics_images=400, progress=silent)
    mixed = training.train(recipe, epochs=1, statistics_images=400, precision=name, progress=silent)
    (one,), (two,) = averaging.batch_norms(exact.model), averaging.batch_norms(mixed.model)
    assert two.moving_variance.dtype == "float32"
    # bfloat16 has 8 bits: 0.4 % in each number, in five steps of training as well.
    np.testing.assert_allclose(
        two.moving_variance.numpy(), one.moving_variance.numpy(), rtol=0.1, atol=1e-3
    )
