"""Weights files that are damaged, or made to do harm."""

import hashlib

import h5py
import numpy as np
from conftest import set_random_weights

import ddim_embed as de

from .harness import DONE, PLACES, REFUSED, Bystanders, Fault, damaged, place, put, refused


class WeightsFiles:
    """Files for `load_weights`, with and without a checksum, and for `load_legacy_weights`."""

    name = "weights"

    def __init__(self, folder):
        self.folder = folder
        self.user = folder / "user"  # what no file may reach
        self.user.mkdir()
        self.model = set_random_weights(de.UNet(1, widths=(4,), block_depth=1), seed=5)
        self.original = put(self.user / "model.weights.h5")
        de.save_weights(self.model, self.original)
        self.legacy_model = set_random_weights(de.build_embedder("conv1", 1), seed=6)
        self.legacy = put(self.user / "legacy.h5")
        with h5py.File(self.legacy, "w") as file:
            for name, weight in zip(
                ("kernel:0", "bias:0"), self.legacy_model.get_weights(), strict=True
            ):
                file[f"conv2d/conv2d/{name}"] = weight
        self.path = folder / "file.weights.h5"
        # Which array of the file is which of the model: their values tell.
        with h5py.File(self.original) as file:
            names = [name for name in _datasets(file)]
            self.names = [
                next(n for n in names if _equal(file[n][()], weight))
                for weight in self.model.get_weights()
            ]
        self.bystanders = Bystanders(self.user)

    def draw(self, rng):
        legacy = rng.random() < 0.2
        model, source = (self.legacy_model, self.legacy) if legacy else (self.model, self.original)
        names = [f"conv2d/conv2d/{n}" for n in ("kernel:0", "bias:0")] if legacy else self.names
        kind = rng.choice(("bytes", "bytes", "place", *STRUCTURE))
        if kind == "place":
            kind = rng.choice(PLACES)
            place(self.path, kind)
            words = kind
        elif kind == "bytes":
            words, contents = damaged(source.read_bytes(), rng)
            put(self.path, contents)
        else:
            put(self.path, source.read_bytes())
            with h5py.File(self.path, "r+") as file:
                words = f"{kind} {STRUCTURE[kind](file, rng, source)}"
        checksum = None
        if not legacy and rng.random() < 0.3:
            checksum = hashlib.sha256(source.read_bytes()).hexdigest()

        def attempt():
            before = model.get_weights()
            call = (
                (lambda: de.load_legacy_weights(model, self.path))
                if legacy
                else (lambda: de.load_weights(model, self.path, checksum))
            )
            try:
                result = refused(call)
                loaded = model.get_weights()
                if result is None and not all(map(_equal, before, loaded)):
                    raise Fault("refused, but the model is another one")
                if result is not None:
                    if checksum is not None and self.path.read_bytes() != source.read_bytes():
                        raise Fault("another checksum is taken")
                    with h5py.File(self.path) as file:
                        expected = [_named(file, name)[()] for name in names]
                    if not all(map(_equal, expected, loaded)):
                        raise Fault("other values than those of the file")
                    if not all(np.isfinite(values).all() for values in loaded):
                        raise Fault("values that are not finite")
                self.bystanders.check()
                return REFUSED if result is None else DONE
            finally:
                model.set_weights(before)

        return f"{'legacy ' * legacy}{words}{', checksum' * (checksum is not None)}", attempt


def _named(file, name):
    """An array; what follows a colon is no part of its name."""
    group, _, last = name.rpartition("/")
    found = [
        key
        for key in file[group]
        if key.partition(":")[0] == last.partition(":")[0]
        and isinstance(file[group].get(key, getlink=True), h5py.HardLink)
    ]
    return file[f"{group}/{found[0]}"]


def _equal(first, second):
    return first.shape == second.shape and np.array_equal(first.astype(np.float32), second)


def _datasets(file):
    found = []
    file.visititems(
        lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None
    )
    return found


def _any(file, rng):
    return rng.choice(_datasets(file))


def _attribute(file, rng, source):
    item = file[rng.choice([_any(file, rng), "/"])]
    value = rng.choice((
        3, "text", b"\xff\xfe", np.zeros(5000), h5py.Empty("f"), np.array([b"a", b"\xff"]),
        np.zeros(2, [("a", "f4"), ("b", "i8")]), np.array(["x"] * 3, object), file.ref,
    ))  # fmt: skip
    dtype = h5py.string_dtype() if isinstance(value, np.ndarray) and value.dtype == object else None
    item.attrs.create(rng.choice(("name", b"\xff", "x" * 500, " ")), value, dtype=dtype)
    return item.name


def _delete(file, rng, source):
    name = _any(file, rng)
    if rng.random() < 0.5:
        name = name.rpartition("/")[0]
    del file[name]
    return name


def _rename(file, rng, source):
    name = _any(file, rng)
    other = rng.choice((
        name + "0", name.upper(), "../" + name, "a" * 300, name.replace("0", "1") + "x",
        "optimizer/" + name, b"\xff\xfe", b"caf\xe9/0", " ", "vars",
    ))  # fmt: skip
    item = file[name]
    if other != "vars" or "vars" not in file:
        file[other] = item
        if rng.random() < 0.7:
            del file[name]
    return f"{name} to {other!r}"


def _dtype(file, rng, source):
    name = _any(file, rng)
    values = file[name][()].astype(np.float32)
    del file[name]
    kind = rng.choice((
        "f2", "f8", ">f4", "i4", "u1", "bool", "c8", "g", "S4", "O", "compound", "enum", "array",
        "opaque", "reference", "i8", "bfloat", "empty",
    ))  # fmt: skip
    if kind == "O":
        file.create_dataset(name, data=["1.0"] * max(1, values.size), dtype=h5py.string_dtype())
    elif kind == "compound":
        file[name] = np.zeros(values.shape, [("real", "f4"), ("other", "f4")])
    elif kind == "enum":
        file.create_dataset(name, values.shape, h5py.enum_dtype({"a": 0, "b": 1}))
    elif kind == "array":
        file.create_dataset(name, values.shape, np.dtype(("f4", (2,))))
    elif kind == "opaque":
        file.create_dataset(name, values.shape, h5py.opaque_dtype(np.dtype("V4")))
    elif kind == "reference":
        file.create_dataset(name, values.shape, h5py.ref_dtype)
    elif kind == "bfloat":
        kind_id = h5py.h5t.IEEE_F32LE.copy()
        kind_id.set_fields(15, 7, 8, 0, 7)
        kind_id.set_size(2)
        kind_id.set_ebias(127)
        space = h5py.h5s.create_simple(values.shape or (1,))
        h5py.h5d.create(file.id, name.encode(), kind_id, space, _parents())
    elif kind == "empty":
        file[name] = h5py.Empty("f4")
    else:
        file[name] = values.astype(kind)
    return f"{name} as {kind}"


def _parents():
    plist = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    plist.set_create_intermediate_group(True)
    return None if plist is None else h5py.h5p.create(h5py.h5p.DATASET_CREATE)


def _shape(file, rng, source):
    name = _any(file, rng)
    values = file[name][()]
    del file[name]
    kind = rng.randrange(6)
    file[name] = (
        lambda: values.T,
        lambda: values[None],
        lambda: values.reshape(-1)[:0],
        lambda: values.reshape(-1)[0],
        lambda: np.concatenate([values, values]),
        lambda: values.reshape(-1),
    )[kind]()
    return f"{name} {kind}"


def _values(file, rng, source):
    name = _any(file, rng)
    values = file[name][()].astype(np.float64)
    del file[name]
    bad = rng.choice((np.nan, np.inf, -np.inf, 1e300, 1e38, 1e-310, -0.0))
    values.reshape(-1)[rng.randrange(values.size)] = bad
    file[name] = values
    return f"{name} {bad}"


def _link(file, rng, source):
    name = _any(file, rng)
    if rng.random() < 0.5:
        name = name.rpartition("/")[0]
    kind = rng.choice(("soft", "loop", "external", "device", "cycle", "twice"))
    other = name + "_"
    if kind == "cycle":
        file[name.partition("/")[0] + "/again"] = file["/"]
    elif kind == "twice":
        file["other"] = file[name]
    else:
        file.move(name, "elsewhere" if kind == "soft" else other)
        file[name] = {
            "soft": h5py.SoftLink("/elsewhere"),
            "loop": h5py.SoftLink("/" + name),
            "external": h5py.ExternalLink(str(source), name),
            "device": h5py.ExternalLink("/dev/zero", name),
        }[kind]
        if kind != "soft" and rng.random() < 0.7:
            del file[other]
    return f"{kind} {name}"


def _stored(file, rng, source):
    """Values that are elsewhere, or expand to far more than they are."""
    name = _any(file, rng)
    values = file[name][()].astype(np.float32)
    shape = values.shape or (1,)
    del file[name]
    kind = rng.choice((
        "external", "virtual", "chunk", "gigabytes", "terabytes", "gzip", "checksum", "lzf",
        "fill", "shuffle",
    ))  # fmt: skip
    if kind == "external":
        target = rng.choice((str(source), "/dev/zero", "/etc/hostname"))
        external = [(target, 0, h5py.h5f.UNLIMITED)]
        file.create_dataset(name, shape, "f4", external=external)
    elif kind == "virtual":
        layout = h5py.VirtualLayout(shape, "f4")
        layout[...] = h5py.VirtualSource(str(source), name, shape)
        file.create_virtual_dataset(name, layout)
    elif kind == "chunk":
        chunks = (2**29, *[1] * (len(shape) - 1))
        maxshape = (None,) * len(shape)
        file.create_dataset(name, shape, "f4", maxshape=maxshape, chunks=chunks, compression=1)
    elif kind in ("gigabytes", "terabytes"):
        size = 2**31 if kind == "gigabytes" else 2**42
        chunks = (2**20, *[1] * (len(shape) - 1))
        file.create_dataset(name, (size, *shape[1:]), "f4", chunks=chunks, compression=1)
    elif kind == "fill":
        file.create_dataset(name, shape, "f4", fillvalue=np.nan)
    else:
        options = {
            "gzip": {"compression": 9}, "checksum": {"fletcher32": True},
            "lzf": {"compression": "lzf"}, "shuffle": {"shuffle": True, "compression": 1},
        }[kind]  # fmt: skip
        file.create_dataset(name, data=values.reshape(shape), chunks=shape, **options)
    return f"{name} {kind}"


def _deep(file, rng, source):
    depth = rng.choice((10, 100, 3000))
    group = file
    for _ in range(depth):
        group = group.create_group("g")
    return depth


def _many(file, rng, source):
    count = rng.choice((10, 1000, 5000))
    for number in range(count):
        file.create_group(f"group{number}")
    return count


STRUCTURE = {
    "attribute": _attribute,
    "delete": _delete,
    "rename": _rename,
    "dtype": _dtype,
    "shape": _shape,
    "values": _values,
    "link": _link,
    "stored": _stored,
    "deep": _deep,
    "many": _many,
}
