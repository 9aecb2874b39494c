"""The target ``triton``: a model repository that NVIDIA Triton serves as it is.

``NAME/config.pbtxt``, ``NAME/labels.txt`` and ``NAME/1/model.onnx``. The whole bundle is the
repository: Triton looks at folders alone, and there is no other.

Reference:
    https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_repository.md
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from export import onnx_metadata
from export.checks import Check
from export.targets import triton_config
from export.targets.layout import MAX_BATCH, MODEL_FILE, VERSION, Exported, Tensor, interface
from zoo.errors import InputError
from zoo.files import write_text

CONFIG_FILE = "config.pbtxt"
LABELS_FILE = "labels.txt"
THREADS = "intra_op_thread_count"  # as Triton's own onnxruntime backend calls it


def model_file(name: str) -> str:
    """Tell where the ONNX file of the first version lies in the repository."""
    return f"{name}/{VERSION}/{MODEL_FILE}"


def lay_out(made: Exported, folder: Path) -> None:
    """Fill a model repository.

    Args:
        made: What was exported.
        folder: The repository.
    """
    proto = onnx_metadata.load(made.onnx)
    model = folder / made.name
    (model / VERSION).mkdir(parents=True)
    made.onnx.replace(folder / model_file(made.name))
    labelled = labelled_outputs(proto, made.labels)
    if labelled:
        write_text(model / LABELS_FILE, labels_text(made.labels))
    write_text(model / CONFIG_FILE, triton_config.text(_config(made, proto, labelled)))


def labelled_outputs(proto: Any, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Choose the outputs that have one number for each label."""
    _, outputs = interface(proto)
    return tuple(one.name for one in outputs if labels and one.dims == (len(labels),))


def labels_text(labels: tuple[str, ...]) -> str:
    """Write labels one to a line; a line break inside one becomes a space."""
    return "".join(" ".join(label.splitlines()) + "\n" for label in labels)


def _config(made: Exported, proto: Any, labelled: tuple[str, ...]) -> dict[str, Any]:
    """Choose the config's fields."""
    inputs, outputs = interface(proto)
    label = {"label_filename": LABELS_FILE}
    return {
        "name": made.name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": MAX_BATCH,
        "input": [_declared(one) for one in inputs],
        "output": [_declared(one) | (label if one.name in labelled else {}) for one in outputs],
        "version_policy": {"latest": {"num_versions": 1}},
        "instance_group": [{"count": made.instances, "kind": "KIND_CPU"}],
        # No delay and no preferred sizes: what comes while a batch is computed is the next one. A
        # processor gains little by larger batches, and a request that is alone would only wait.
        "dynamic_batching": {},
        "model_warmup": [_warmup(made, inputs, batch) for batch in (1, MAX_BATCH)],
        "parameters": [
            {"key": key, "value": {"string_value": text}}
            for key, text in _chosen_parameters(made, proto).items()
        ],
    }


def _chosen_parameters(made: Exported, proto: Any) -> dict[str, str]:
    """Choose the parameters.

    Triton tells its clients how to feed the model and how to read what it answers. A backend reads
    how many threads an instance has: one where there are several, which would else each take all.
    """
    threads = {THREADS: "1"} if made.instances > 1 else {}
    return {**onnx_metadata.feeding(proto), **threads}


def _declared(tensor: Tensor) -> dict[str, Any]:
    """Describe an input or output."""
    return {
        "name": tensor.name,
        "data_type": f"TYPE_{tensor.datatype}",
        "dims": [*tensor.dims],
    }


def _warmup(made: Exported, inputs: list[Tensor], batch: int) -> dict[str, Any]:
    """Have one batch of zeros computed before the model is ready; free sides as in the sample."""
    shapes = [array.shape[1:] for array in made.sample]
    return {
        "name": f"batch_{batch}",
        "batch_size": batch,
        "inputs": [
            {
                "key": one.name,
                "value": {
                    "data_type": f"TYPE_{one.datatype}",
                    "dims": [*shape],
                    "zero_data": True,
                },
            }
            for one, shape in zip(inputs, shapes, strict=True)
        ],
    }


def check(folder: Path, name: str) -> list[Check]:
    """Look at a model repository as it was shipped, without running it.

    Args:
        folder: The repository.
        name: The model's name.

    Returns:
        The checks: what Triton would refuse, and what it would serve wrongly.
    """
    try:
        config = triton_config.read(folder / name / CONFIG_FILE)
    except InputError as error:
        return [Check("config.pbtxt", False, "not readable", "readable", str(error))]
    versions = _versions(folder / name)
    checks = [
        _same("config.pbtxt: name of the model and its folder", config.name, name),
        _same("config.pbtxt: backend", config.backend, "onnxruntime"),
        _same("config.pbtxt: platform", config.platform, "onnxruntime_onnx"),
        *_batching(config),
        *_instances(config),
        _folders(folder, name, versions),
    ]
    for version in versions:
        checks += _against_file(config, folder / name, version)
    return checks


def _same(name: str, measured: str, limit: str, detail: str = "") -> Check:
    """Compare two texts."""
    return Check(name, measured == limit, measured or "none", limit or "none", detail)


def _batching(config: Any) -> Iterator[Check]:
    """Check that batches are made, and none larger than accepted."""
    most = config.max_batch_size
    yield Check("config.pbtxt: max_batch_size", most >= 1, most, "1 or more")
    preferred = list(config.dynamic_batching.preferred_batch_size)
    fits = all(1 <= size <= most for size in preferred)
    told = ", ".join(map(str, preferred)) or "none"
    yield Check("config.pbtxt: preferred batch sizes", fits, told, f"none or 1 to {most}")
    batching = "there" if config.HasField("dynamic_batching") else "none"
    yield _same("config.pbtxt: dynamic_batching", batching, "there")
    latest = config.version_policy.latest.num_versions
    yield Check("config.pbtxt: latest versions served", latest >= 1, latest, "1 or more")


def _instances(config: Any) -> Iterator[Check]:
    """Check that the model runs on CPUs."""
    kinds = [triton_config.kind(group.kind) for group in config.instance_group]
    ok = bool(kinds) and all(kind == "KIND_CPU" for kind in kinds)
    yield Check("config.pbtxt: instance groups", ok, ", ".join(kinds) or "none", "KIND_CPU")
    counts = [group.count for group in config.instance_group]
    most = min(counts, default=0)
    yield Check("config.pbtxt: instances of each group", most >= 1, most, "1 or more")
    threads = [one.value.string_value for one in config.parameters if one.key == THREADS]
    told = ", ".join(threads) or "none"
    ok = all(re.fullmatch("[1-9][0-9]{0,3}", text) for text in threads)
    yield Check("config.pbtxt: threads of an instance", ok, told, "none, or 1 or more")


def _versions(model: Path) -> list[str]:
    """List the version folders: numbers that do not start with 0."""
    folders = [path.name for path in model.iterdir() if path.is_dir()]
    return sorted((one for one in folders if re.fullmatch("[1-9][0-9]*", one)), key=int)


def _folders(folder: Path, name: str, versions: list[str]) -> Check:
    """Check that the repository holds this model alone, in version folders with a file each."""
    models = [path for path in folder.iterdir() if path.is_dir() and path.name != name]
    others = [
        path for path in (folder / name).iterdir() if path.is_dir() and path.name not in versions
    ]
    lacking = [one for one in versions if not (folder / name / one / MODEL_FILE).is_file()]
    strange = sorted(str(path.relative_to(folder)) for path in (*models, *others))
    if strange:
        measured = f"also {strange[0]}"
    elif lacking or not versions:
        measured = f"no {MODEL_FILE} in {name}/{lacking[0] if lacking else VERSION}"
    else:
        measured = "as they should be"
    return Check(
        "folders of the model repository",
        measured == "as they should be",
        measured,
        "as they should be",
        f"accepted is {name} alone, and in it numbers that do not start with 0, each with a "
        f"{MODEL_FILE}",
    )


def _against_file(config: Any, model: Path, version: str) -> Iterator[Check]:
    """Compare the config with one version's file."""
    path = model / version / MODEL_FILE
    try:
        proto = onnx_metadata.load(path)
        labels = tuple(onnx_metadata.metadata_of(proto, path).get("labels") or ())
    except InputError as error:
        yield Check(f"version {version}: file", False, "not readable", "readable", str(error))
        return
    inputs, outputs = interface(proto)
    for what, told, held in (
        ("inputs", config.input, inputs),
        ("outputs", config.output, outputs),
    ):
        name = f"version {version}: {what} of config.pbtxt and of the file"
        yield _same(name, _told(told), "; ".join(map(_held, held)))
    unbatched = [one.name for one in (*inputs, *outputs) if not one.batched]
    name = f"version {version}: inputs and outputs without a free batch"
    yield Check(name, not unbatched, len(unbatched), 0, ", ".join(unbatched))
    yield _parameters(config, version, proto)
    yield from _warmups(config, version, inputs)
    yield from _labels(config, model, version, proto, labels)


def _told(tensors: Any) -> str:
    """Describe the inputs or outputs of a config."""
    return "; ".join(
        f"{one.name} {triton_config.data_type(one.data_type)} {[*one.dims]}" for one in tensors
    )


def _held(tensor: Tensor) -> str:
    """Describe an input or output of a file likewise."""
    return f"{tensor.name} {tensor.datatype} {[*tensor.dims]}"


def _parameters(config: Any, version: str, proto: Any) -> Check:
    """Check that clients are told of feeding and reading what the file says."""
    told = {one.key: one.value.string_value for one in config.parameters if one.key != THREADS}
    held = onnx_metadata.feeding(proto)
    others = sorted(key for key in {*told, *held} if told.get(key) != held.get(key))
    name = f"version {version}: parameters of config.pbtxt that are not as in the file"
    return Check(name, not others, len(others), 0, ", ".join(others))


def _warmups(config: Any, version: str, inputs: list[Tensor]) -> Iterator[Check]:
    """Check that the warm-up's batches are such as the file takes."""
    bad = []
    for one in config.model_warmup:
        fed = {
            entry.key: (triton_config.data_type(entry.value.data_type), [*entry.value.dims])
            for entry in one.inputs
        }
        fits = 1 <= one.batch_size <= config.max_batch_size and all(
            _takes(tensor, *fed.get(tensor.name, ("", []))) for tensor in inputs
        )
        if not fits or len(fed) != len(inputs):
            bad.append(one.name)
    name = f"version {version}: warm-ups that the file does not take"
    yield Check(name, not bad, len(bad), 0, ", ".join(bad))


def _takes(tensor: Tensor, datatype: str, dims: list[int]) -> bool:
    """Say whether an input takes an array."""
    return (
        datatype == tensor.datatype
        and len(dims) == len(tensor.dims)
        and all(wanted in (-1, got) for wanted, got in zip(tensor.dims, dims, strict=True))
    )


def _labels(
    config: Any, model: Path, version: str, proto: Any, labels: tuple[str, ...]
) -> Iterator[Check]:
    """Check that the outputs with a number for each class have the file's labels."""
    named = ", ".join(one.name for one in config.output if one.label_filename)
    wanted = ", ".join(labelled_outputs(proto, labels))
    yield _same(f"version {version}: outputs with labels", named, wanted)
    for filename in dict.fromkeys(one.label_filename for one in config.output):
        if filename:
            name = f"version {version}: {filename} and the labels in the file"
            # Only a plain name: what a config says must not lead out of its folder.
            path = model / Path(filename).name
            text = path.read_bytes() if path.is_file() and path.name == filename else b""
            same = text == labels_text(labels).encode("utf-8")
            measured = "the same" if same else f"{len(text.splitlines())} lines, not the same"
            yield Check(name, same, measured, f"the {len(labels)} labels, one to a line")
