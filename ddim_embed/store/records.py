"""Records: what each weights file is, in a JSON file beside it, checked whenever it is read.

`<root>/<data set>/<name>.json` is the record of `<root>/<data set>/<name>.weights.h5`. Weights and
record change together, though a file system renames one file at a time: `replace` first writes the
record with the new entry and, as `previous`, that of the weights as they are; then the weights;
then the record without `previous`. Who finds `previous` compares the weights' checksum with both.
"""

import hashlib
import json
import os
import re
from importlib.metadata import version
from pathlib import Path

from ddim_embed import arguments
from ddim_embed.arguments import nearest, received
from ddim_embed.store.atomic import replacing, sha256_of, sync_folder
from ddim_embed.store.hdf5 import WeightsError
from ddim_embed.store.locks import locked
from ddim_embed.store.schema import Kind, check, integer

SUFFIX = ".weights.h5"
# Where earlier versions have all entries of a folder; read for files that have no record.
MANIFEST = "manifest.json"
ENVIRONMENT_VARIABLE = "DDIM_EMBED_WEIGHTS"
_PACKAGE = Path(__file__).resolve().parent.parent
# Far beyond those of records, bytes.
_MAX_SIZE = 2**24


def _is_sha256(value):
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _are_numbers(value):
    return isinstance(value, dict) and all(
        number is None or type(number) in (int, float) for number in value.values()
    )


_OBJECT = Kind(lambda value: isinstance(value, dict), "a JSON object")
_ENTRY = {
    "sha256": Kind(_is_sha256, "64 hexadecimal digits"),
    "size": integer(0),
    "parameters": integer(0),
    "config": _OBJECT,
    "data": Kind(lambda value: True, "what the weights were trained on"),
    "budget": _OBJECT,
    "errors": Kind(_are_numbers, "a JSON object of numbers"),
    "versions": _OBJECT,
}


class MissingWeightsError(FileNotFoundError):
    """There are no such weights; `dataset` and `name` say which."""

    def __init__(self, dataset, name, root, names):
        self.dataset, self.name = dataset, name
        meant = nearest(f"{dataset}/{name}", names) or "."
        super().__init__(
            f"No weights `{dataset}/{name}` in {root}, which has: "
            f"{', '.join(sorted(names)) or 'none'}{meant}"
        )


def weights_root(root=None):
    """Returns the folder of the weights files, a `Path`.

    `root` if given; else the environment variable DDIM_EMBED_WEIGHTS; else `pretrained_weights`
    inside the package, where a wheel has them; else `weights` beside the package, where a checkout
    has them.
    """
    return arguments.path("root", root or os.environ.get(ENVIRONMENT_VARIABLE) or _shipped_root())


def _shipped_root():
    installed = _PACKAGE / "pretrained_weights"
    return installed if installed.is_dir() else _PACKAGE.parent / "weights"


def read_manifest(root=None):
    """Returns a dict from "<data set>/<name>" to the entry of each weights file of a folder.

    Raises a WeightsError, which names the file and the key, for a record that is damaged.
    """
    root = weights_root(root)
    entries = {name: read_entry(weights_path(root, *name.split("/"))) for name in _names(root)}
    return {name: entry for name, entry in entries.items() if entry is not None}


def find_weights(dataset, name, root=None):
    """Finds the weights that `record_weights` recorded under these names.

    Args:
        dataset, name, root: as for `record_weights`.

    Returns:
        `(path, entry)`: the file, and its entry with keys "sha256", "size" (bytes), "parameters",
        "config", "data", "budget", "errors" and "versions".

    Raises:
        MissingWeightsError: if there are none; the message lists those there are.
        WeightsError: if its record is damaged.
        ValueError: for names that are not plain.
    """
    root = weights_root(root)
    path = weights_path(root, dataset, name)
    entry = read_entry(path) if path.is_file() else None
    if entry is None:
        raise MissingWeightsError(dataset, name, root, _names(root))
    return path, entry


def find_instrument(dataset, name, root=None):
    """As `find_weights`, but where `root` has none, those that are shipped.

    Of what measures images, a classifier or LPIPS, which is no part of what is trained and measured
    in a folder of one's own.
    """
    try:
        return find_weights(dataset, name, root)
    except MissingWeightsError as missing:
        try:
            return find_weights(dataset, name, _shipped_root())
        except MissingWeightsError:
            raise missing from None


def weights_path(root, dataset, name):
    """The file of some weights: the names alone decide where it lies."""
    for argument, value in (("dataset", dataset), ("name", name)):
        if not _is_plain(value):
            raise ValueError(
                f"`{argument}` must consist of letters, digits, `_` and `-`, 200 at most. "
                f"Received: {received(value)}"
            )
    return Path(root) / dataset / f"{name}{SUFFIX}"


def record_path(path):
    """The record of a weights file, a path."""
    return path.with_name(path.name.removesuffix(SUFFIX) + ".json")


def read_entry(path):
    """The entry of a weights file as it is; None if there is none."""
    record = record_path(path)
    if not record.is_file():
        key = _key(path)
        manifest = _read_old_manifest(path.parent.parent)
        if key in manifest:
            check(manifest[key], _ENTRY, f"The entry `{key}` of {path.parent.parent / MANIFEST}")
        return manifest.get(key)
    entry, where = _read(record), f"The record {record}"
    check(entry, _ENTRY, where)
    if "previous" not in entry:
        return entry
    # A process was killed between the record and the weights, or is there now.
    previous = entry.pop("previous")
    if previous is not None:
        check(previous, _ENTRY, f"{where}, in `previous`")
    return entry if path.is_file() and sha256_of(path) == entry["sha256"] else previous


def replace(path, entry, contents):
    """Replaces a weights file and its record: a kill leaves the old pair or the new one.

    Args:
        path: the weights file.
        entry: the new one, a dict.
        contents: buffer, of the weights file.
    """
    check(entry, _ENTRY, f"The entry of {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with changing(path):
        try:
            previous = read_entry(path) if path.is_file() else None
        except WeightsError:  # of weights that are replaced now
            previous = None
        write_entry(path, entry | {"previous": previous})
        with replacing(path) as temporary:
            temporary.write_bytes(contents)
        sync_folder(path.parent)
        write_entry(path, entry)


def record(path, contents, parameters, packages, *, config, data, budget, errors):
    """Writes a weights file and its record as `record_weights` says; returns the entry.

    Args:
        path: of `weights_path`.
        contents: buffer, of the file.
        parameters: how many numbers it has.
        packages: names of the packages whose versions are noted.
        config, data, budget, errors: as for `record_weights`.
    """
    description = {"config": config, "data": data, "budget": budget, "errors": errors}
    entry = {key: as_read(key, value) for key, value in description.items()} | {
        "sha256": hashlib.sha256(contents).hexdigest(),
        "size": len(contents),
        "parameters": parameters,
        "versions": {name: version(name) for name in packages},
    }
    replace(path, entry, contents)
    return entry


def record_errors(root, dataset, name, errors, sha256=None):
    """Replaces the errors in the entry of recorded weights; arguments as for `record_weights`.

    Raises a MissingWeightsError if there are no such weights, a WeightsError if there are others
    now than those of the checksum `sha256`.
    """
    path, _ = find_weights(dataset, name, root)
    with changing(path):
        _, entry = find_weights(dataset, name, root)
        if sha256 not in (None, entry["sha256"]):
            raise WeightsError(f"{path} was replaced while it was measured: measure it again.")
        write_entry(path, entry | {"errors": errors})


def changing(path):
    """Holds the lock of a weights file and its record: the last one to change them is alone."""
    return locked(path.with_name(f".{path.name.removesuffix(SUFFIX)}.lock"))


def write_entry(path, entry):
    """Writes the record of a weights file."""
    with replacing(record_path(path)) as temporary:
        temporary.write_text(to_json(entry) + "\n", encoding="utf-8")
    sync_folder(path.parent)


def _read_old_manifest(root):
    path = root / MANIFEST
    if not path.is_file():
        return {}
    entries = _read(path)
    check(entries, {}, f"The manifest {path}")
    return entries


def _read(path):
    """The contents of a JSON file; a WeightsError if it is none."""
    try:
        with open(path, "rb") as file:
            text = file.read(_MAX_SIZE + 1)
        if len(text) > _MAX_SIZE:
            raise ValueError(f"it is larger than {_MAX_SIZE:,} bytes")
        values = json.loads(text.decode("utf-8"), parse_constant=_refuse)
        # Not infinite, as 1e999 is, nor half a character.
        json.dumps(values, allow_nan=False, ensure_ascii=False).encode("utf-8")
        return values
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not JSON: {error}") from error


def _refuse(constant):
    raise ValueError(f"it has the number {constant}")


def to_json(value):
    """JSON with sorted keys; a ValueError or a TypeError for what JSON does not have."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False)


def as_read(name, value):
    """A value as a reader of the record will find it; a ValueError for what JSON does not have."""
    try:
        return json.loads(to_json(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"`{name}` must be a JSON value: {error}. Received: {received(value)}"
        ) from None


def _names(root):
    """ "<data set>/<name>" of the weights files of a folder that have an entry, sorted."""
    old = _read_old_manifest(root)
    return [
        _key(path)
        for path in sorted(root.glob(f"*/*{SUFFIX}"))
        if all(map(_is_plain, _key(path).split("/")))
        and (record_path(path).is_file() or _key(path) in old)
    ]


def _key(path):
    return f"{path.parent.name}/{path.name.removesuffix(SUFFIX)}"


def _is_plain(name):
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,200}", name) is not None
