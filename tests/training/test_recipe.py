import pytest

import training
from training.recipe import FOLDER, list_recipes
from zoo import InputError, Norm
from zoo.registry import entry


@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipe_loads_and_says_how_it_is_run(name):
    recipe = training.Recipe.load(name)
    assert recipe.name == name
    comment = (FOLDER / f"{name}.toml").read_text().split("\n\n", 1)[0]
    assert f"zoo train {name} " in comment
    assert "accuracy" in comment.lower()


def test_the_networks_of_the_paper_have_recipes():
    wanted = {f"resnet{depth}.cifar10" for depth in (20, 32, 44, 56, 110)}
    assert wanted | {"resnet20.digits"} <= set(list_recipes())
    assert list_recipes("*.digits") == ["resnet20.digits"]


def test_overrides_are_read_as_toml_or_as_words():
    recipe = training.Recipe.load(
        "resnet20.cifar10",
        [
            "epochs=1",
            "learning_rate=0.5",
            "norm.momentum=0.99",
            "norm.kind=group",
            "augmentation.flip=false",
            'notes=["one", "two"]',
            "precision = float32",
        ],
    )
    assert recipe.epochs == 1
    assert recipe.learning_rate == 0.5
    assert recipe.norm == Norm("group", momentum=0.99)
    assert recipe.augmentation == training.Augmentation(pad_crop=4, flip=False)
    assert recipe.notes == ("one", "two")
    assert recipe.precision == "float32"


def test_a_norm_can_be_given_by_its_kind_in_any_order():
    assert training.Recipe.load("resnet20.digits", ["norm=group"]).norm == Norm("group")
    both = training.Recipe.load("resnet20.digits", ["norm=group", "norm.groups=4"])
    assert both.norm == Norm("group", groups=4)
    assert training.Recipe.load("resnet20.digits", norm=Norm("layer")).norm == Norm("layer")


def test_a_design_with_a_norm_of_its_own_is_trained_with_it():
    given = {
        "name": "convnext_tiny.digits",
        "arch": "convnext_tiny",
        "dataset": "digits",
        "epochs": 1,
    }
    assert training.Recipe(**given).norm == Norm("layer", epsilon=1e-6)
    assert training.Recipe(**given, norm="batch").norm == Norm()


@pytest.mark.parametrize(
    ("arch", "override", "expected"),
    [
        ("convnext_tiny", "norm.epsilon=1e-5", Norm("layer", epsilon=1e-5)),
        ("convnext_tiny", "norm={epsilon = 1e-5}", Norm("layer", epsilon=1e-5)),
        ("lenet5", "norm.placement=pre_activation", Norm("none", placement="pre_activation")),
        ("convnext_tiny", "norm.kind=group", Norm("group")),
    ],
)
def test_a_part_of_a_norm_changes_that_of_the_design(tmp_path, arch, override, expected):
    path = tmp_path / "mine.toml"
    path.write_text(f'name = "{arch}.x"\narch = "{arch}"\ndataset = "digits"\nepochs = 1\n')
    assert training.Recipe.load(path, [override]).norm == expected


def test_python_values_win_over_texts():
    assert training.Recipe.load("resnet20.digits", ["epochs=3"], epochs=4).epochs == 4


def test_another_architecture_gives_another_name():
    assert training.Recipe.load("resnet20.digits", ["arch=resnet32"]).name == "resnet32.digits"


def test_the_norm_of_a_design_follows_the_design():
    mine = training.Recipe.load("resnet20.digits")
    theirs = entry("convnext_tiny").norm
    assert theirs != mine.norm
    assert training.Recipe.load(mine, arch="convnext_tiny").norm == theirs
    group = training.Recipe.load(mine, norm="group")
    assert training.Recipe.load(group, arch="convnext_tiny").norm == group.norm
    wider = training.Recipe.load(mine, ["norm.momentum=0.5"], arch="resnet32")
    assert wider.norm == mine.norm.replace(momentum=0.5)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("epoch=2", ["'epoch'", "epochs"]),
        ("norm.kindd=group", ["'kindd'", "kind"]),
        ("norm.kind=grup", ["'grup'", "group"]),
        ("norm.placement=after_activaton", ["'after_activaton'", "after_activation"]),
        ("norm.momentum=1.5", ["Norm.momentum", "less than 1", "1.5"]),
        ("norm.epsilon=0", ["Norm.epsilon", "greater than 0", "received 0"]),
        ("momentum=1.5", ["momentum", "less than 1", "1.5"]),
        ("epochs=0", ["epochs", "greater than or equal to 1", "received 0"]),
        ("epochs=99999999999999999999", ["epochs", "100000", "99999999999999999999"]),
        ("batch_size=1000001", ["batch_size", "1000000", "1000001"]),
        ("checkpoint_epochs=100001", ["checkpoint_epochs", "100000", "100001"]),
        ("norm.groups=true", ["Norm.groups", "integer", "True"]),
        ("epochs=2.5", ["epochs", "integer", "2.5"]),
        ("epochs=true", ["epochs", "integer", "True"]),
        ("learning_rate=nan", ["learning_rate", "finite", "nan"]),
        ("learning_rate=inf", ["learning_rate", "finite", "inf"]),
        ("learning_rate=fast", ["learning_rate", "number", "'fast'"]),
        ("weight_decay=-1", ["weight_decay", "0", "-1"]),
        ("warmup_epochs=200", ["warmup_epochs", "less than epochs", "200"]),
        ("holdout=0.6", ["holdout", "0.5", "0.6"]),
        ("seed=-1", ["seed", "0", "-1"]),
        ("precision=float8", ["precision", "mixed_bfloat16", "float8"]),
        ("augmentation.pad_crop=-1", ["pad_crop", "0", "-1"]),
        ("augmentation.flip=1", ["flip", "boolean", "1"]),
        ("arch=resnet21", ["resnet21", "resnet20"]),
        ("name=vgg16.cifar10", ["resnet20.<tag>", "vgg16.cifar10"]),
        ("epochs.more=1", ["epochs", "epochs.more"]),
        ("epochs", ["key=value", "'epochs'"]),
        ("self=1", ["Recipe has no key 'self'"]),
    ],
)
def test_a_bad_override_is_told_in_one_line(override, words):
    with pytest.raises(InputError) as caught:
        training.Recipe.load("resnet20.cifar10", [override])
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


def test_unknown_recipes_are_told_with_the_nearest(tmp_path):
    with pytest.raises(InputError, match=r"'resnet20.cifar'.*resnet20.cifar10"):
        training.Recipe.load("resnet20.cifar")
    with pytest.raises(InputError, match="there is no recipe file"):
        training.Recipe.load(tmp_path / "mine.toml")


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (5, "recipe: accepted are a name .* received 5"),
        (None, "received None"),
        ("r" * 300, "unknown recipe"),
        ("r" * 300 + ".toml", "there is no recipe file"),
        ("/proc/self/mem", "/proc/self/mem cannot be read"),
    ],
)
def test_what_is_no_recipe_is_told(recipe, words):
    with pytest.raises(InputError, match=words):
        training.Recipe.load(recipe)


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("epochs = ")
    with pytest.raises(InputError, match=r"mine.toml is not a TOML file"):
        training.Recipe.load(path)
    path.write_text('name = "tiny.digits"\narch = "tiny"\ndataset = "digits"\nepochs = 0\n')
    with pytest.raises(InputError, match=r"mine.toml: Recipe.epochs.*received 0"):
        training.Recipe.load(path)


def test_a_saved_recipe_is_the_same_one(recipe, tmp_path):
    changed = training.Recipe.load(recipe, ["norm.kind=group", 'notes=["a \\"b\\""]'])
    assert training.Recipe.load(changed.save(tmp_path / "recipe.toml")) == changed


def test_differences_name_the_keys_that_matter(recipe):
    other = training.Recipe.load(
        recipe, epochs=3, checkpoint_epochs=2, notes=("x",), **{"norm.momentum": 0.8}
    )
    assert recipe.differences(recipe.model_dump(mode="json")) == []
    assert other.differences(recipe.model_dump(mode="json")) == [
        "epochs (3, there 2)",
        "norm.momentum (0.8, there 0.9)",
    ]
