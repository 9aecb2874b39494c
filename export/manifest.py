"""``manifest.json``: every file of a bundle with its hash, and what a server's keeper asks for."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from export.checks import Check
from zoo.errors import InputError
from zoo.files import is_dir, is_file, sha256, write_text

FORMAT = "foldzoo.manifest/1"
MANIFEST_FILE = "manifest.json"
_KEYS = ("name", "target", "model", "files", "tolerances")


@dataclass(frozen=True)
class Manifest:
    """What a manifest says.

    Args:
        values: All of it.
        intact: Whether its own hash is that of its content, and no byte of its form was changed.
    """

    values: Mapping[str, Any]
    intact: bool

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """Size and SHA-256 of each file, by its path in the bundle."""
        files: dict[str, dict[str, Any]] = self.values["files"]
        return files


def write(folder: Path, **values: Any) -> None:
    """Write the manifest of all that a folder holds; the last thing that a bundle needs.

    Args:
        folder: The bundle.
        **values: What it says beside the files: ``name``, ``target``, ``model``, ``tolerances``.
    """
    listed = {
        path: {"bytes": (folder / path).stat().st_size, "sha256": sha256(folder / path)}
        for path in held(folder)
        if path != MANIFEST_FILE
    }
    content = {"format": FORMAT, **values, "files": listed}
    write_text(folder / MANIFEST_FILE, _text({**content, "sha256": _own_hash(content)}))


def read(folder: Path) -> Manifest:
    """Read a bundle's manifest.

    Args:
        folder: The bundle.

    Returns:
        The manifest.

    Raises:
        InputError: There is no bundle, or its manifest is none.
    """
    path = folder / MANIFEST_FILE
    if not is_dir(folder):
        what = "is a file" if is_file(folder) else "does not exist"
        raise InputError(f"{folder} {what}; accepted is a folder that `zoo export` wrote")
    try:
        text = path.read_bytes()
        values = json.loads(text, parse_constant=_refuse_constant)
        if not isinstance(values, dict) or values["format"] != FORMAT:
            raise ValueError(f"accepted is the format {FORMAT}")
        _check_form(values)
        content = {key: value for key, value in values.items() if key != "sha256"}
        whole = values.get("sha256") == _own_hash(content)
        intact = whole and text == _text(values).encode("utf-8")
    except FileNotFoundError as error:
        raise InputError(
            f"{folder} is no bundle: it has no {MANIFEST_FILE}; accepted is a folder that "
            "`zoo export` wrote"
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, RecursionError) as error:
        raise InputError(f"{path} is not the manifest of a bundle: {error}") from error
    return Manifest(values, intact)


def _refuse_constant(name: str) -> None:
    """Refuse NaN and infinities, which Python reads although they are no JSON."""
    raise ValueError(f"{name} is no number")


def _check_form(values: Mapping[str, Any]) -> None:
    """Raise unless the values are such that everything else can rely on their types."""
    lacking = [key for key in _KEYS if key not in values]
    if lacking:
        raise ValueError(f"it has no {lacking[0]!r}")
    model, files = values["model"], values["files"]
    ok = (
        all(isinstance(values[key], str) for key in ("name", "target"))
        and isinstance(values["tolerances"], dict)
        and isinstance(model, dict)
        and all(isinstance(model.get(key), str) for key in ("name", "file"))
        and isinstance(files, dict)
        and all(isinstance(entry, dict) and "sha256" in entry for entry in files.values())
    )
    if not ok:
        raise ValueError("its values are not of the types that they should be")
    for inside in (model["name"], model["file"], *files):
        parts = PurePosixPath(inside).parts
        if not parts or ".." in parts or parts[0] == "/":
            raise ValueError(f"{inside!r} is no path inside a bundle")


def check(folder: Path, manifest: Manifest) -> list[Check]:
    """Compare a folder with its manifest, byte by byte.

    Args:
        folder: The bundle.
        manifest: What it says of itself.

    Returns:
        The checks: the manifest itself, missing files, files that it does not name, changed ones.
    """
    there = [path for path in held(folder) if path != MANIFEST_FILE]
    known = manifest.files
    missing = [path for path in known if path not in there]
    extra = [path for path in there if path not in known]
    changed = changed_files(folder, manifest)
    measured = "as written" if manifest.intact else "changed"
    return [
        Check(MANIFEST_FILE, manifest.intact, measured, "as written", "by its own SHA-256"),
        *(
            Check(name, not found, len(found), 0, ", ".join(found[:5]))
            for name, found in (
                ("missing files", missing),
                ("files that the manifest does not name", extra),
                ("changed files", changed),
            )
        ),
    ]


def changed_files(folder: Path, manifest: Manifest) -> list[str]:
    """List the files whose bytes are not those that the manifest has the hash of."""
    return [
        path
        for path, entry in manifest.files.items()
        if (folder / path).is_file() and sha256(folder / path) != entry["sha256"]
    ]


def held(folder: Path) -> list[str]:
    """List everything in a folder but folders, by its path."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    )


def _own_hash(content: Mapping[str, Any]) -> str:
    """Hash what a manifest says, its own hash apart."""
    return hashlib.sha256(_text(content).encode("utf-8")).hexdigest()


def _text(values: Mapping[str, Any]) -> str:
    """Write a manifest in its one form."""
    return json.dumps(values, indent=2, allow_nan=False) + "\n"
