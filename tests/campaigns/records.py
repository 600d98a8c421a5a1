"""Records of weights, and manifests of earlier versions, that say what is not so."""

import json

import numpy as np
from conftest import set_random_weights

import ddim_embed as de
from ddim_embed.generator.pretrained import generator_config
from ddim_embed.store.weights import record_errors

from .harness import DONE, PLACES, REFUSED, Bystanders, Fault, damaged, place, put, refused, remove

# What stands in the place of a value.
_VALUES = (
    None, True, False, 0, 1, -1, 2, 3, 7, 16, 1.5, 2**31, 2**63, 10**30, 1e308, "", "x", "3",
    "float32", "../../secret", [], [1], [0], [1, 2, 3], [-8, 8, 1], [8, 8], [8, 8, 1.0], [[8]],
    [10**9] * 3, [2] * 1000, {}, {"a": 1}, "a" * 100_000, "\ud800", "\x00", "NaN",
)  # fmt: skip
_KEYS = (
    "evil",
    "",
    "../generator",
    "num_steps",
    "dtype",
    "__class__",
    "previous",
    "sha256",
    "\ud800",
)


class Records:
    """Records beside files that are as they should be."""

    name = "records"

    def __init__(self, folder):
        self.root = folder / "weights"
        generator = de.build_generator((8, 8, 1), widths=(4,), block_depth=1, num_steps=2)
        set_random_weights(generator)
        embedder = set_random_weights(de.build_embedder("conv1", 1))
        notes = {
            "data": "tiny",
            "budget": {"steps": 3, "seconds": 0.5},
            "errors": {"test_mse": 0.1},
        }
        self.expected = {}
        for name, model, config in (
            ("generator", generator, generator_config(generator)),
            ("conv1", embedder, {"channels": 1}),
        ):
            de.record_weights(self.root, "tiny", name, model, config=config, **notes, half=False)
            self.expected[name] = model.get_weights()
        self.records = {
            name: (self.root / "tiny" / f"{name}.json").read_bytes() for name in self.expected
        }
        self.entries = {name: json.loads(text) for name, text in self.records.items()}
        self.manifest = self.root / "manifest.json"

    def draw(self, rng):
        name = rng.choice([*self.records])
        path, other = (
            self.root / "tiny" / f"{each}.json"
            for each in (name, "conv1" if name == "generator" else "generator")
        )
        put(other, self.records[other.name.removesuffix(".json")])
        remove(self.manifest)
        old = rng.random() < 0.25
        if old:
            remove(path)
        target = self.manifest if old else path
        kind = rng.choice(("bytes", "place", "text", "values", "values", "values"))
        if kind == "place":
            words = rng.choice(PLACES)
            place(target, words)
        else:
            entry = json.loads(self.records[name])
            contents = {f"tiny/{name}": entry} if old else entry
            if kind == "bytes":
                words, text = damaged(json.dumps(contents, indent=2).encode(), rng)
            elif kind == "text":
                words, text = _as_text(contents, rng)
            else:
                words, contents = _changed(contents, rng)
                text = json.dumps(contents).encode()
            put(target, text)
        reader = rng.choice(("load", "load", "list", "errors"))

        def attempt():
            bystanders = Bystanders(self.root)
            try:
                result = refused(lambda: self._read(reader, name))
                if reader != "errors" or result is None:
                    bystanders.check()
                return REFUSED if result is None else DONE
            finally:
                put(path, self.records[name])

        return f"{reader} {'old ' * old}{name}: {words}", attempt

    def _read(self, reader, name):
        if reader == "list":
            from ddim_embed.store.weights import read_manifest

            for entry in read_manifest(self.root).values():
                # What `ddim-embed list` does with them.
                error = entry["errors"].get("test_mse")
                f"{entry['parameters']:,} {entry['size'] / 1e6:.1f} {error or 0:.6f}"
            return
        if reader == "errors":
            record_errors(self.root, "tiny", name, {"test_mse": 0.25})
            entry = json.loads((self.root / "tiny" / f"{name}.json").read_text())
            if entry["errors"] != {"test_mse": 0.25}:
                raise Fault("the errors were not recorded")
            return
        if name == "generator":
            model = de.load_generator("tiny", self.root, num_steps=2)
            config = generator_config(model)
        else:
            model = de.load_embedder("tiny", "conv1", self.root)
            config = {"channels": model.channels}
        found = [np.asarray(values) for values in model.get_weights()]
        if not all(map(np.array_equal, found, self.expected[name])):
            raise Fault("other weights")
        stated = self._stated(name)
        if json.loads(json.dumps(config)) != stated["config"]:
            raise Fault(f"of the record's config {stated['config']} became {config}")
        if stated["sha256"] != self.entries[name]["sha256"]:
            raise Fault("a checksum that is not the file's is taken")

    def _stated(self, name):
        """What a reader of JSON finds."""
        path = self.root / "tiny" / f"{name}.json"
        if path.is_file():
            entry = json.loads(path.read_text())
            previous = entry.pop("previous", None)
            if previous and entry["sha256"] != self.entries[name]["sha256"]:
                return previous
            return entry
        return json.loads(self.manifest.read_text())[f"tiny/{name}"]


def _places_of(value, path=()):
    """Paths to all values of a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from _places_of(value[key], (*path, key))


def _changed(contents, rng):
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        place = rng.choice([*_places_of(contents)])
        if not place:
            value = rng.choice(_VALUES)
            if rng.random() < 0.1:
                return f"all of it {value!r:.40}", value
            continue
        *way, last = place
        parent = contents
        for key in way:
            parent = parent[key]
        kind = rng.choice(("value", "value", "drop", "add", "rename"))
        if kind == "value":
            parent[last] = rng.choice(_VALUES)
        elif kind == "drop":
            del parent[last]
        elif isinstance(parent, dict):
            parent[rng.choice(_KEYS)] = (
                parent.pop(last) if kind == "rename" else rng.choice(_VALUES)
            )
        else:
            parent.append(rng.choice(_VALUES))
    return json.dumps(contents)[:300], contents


def _as_text(contents, rng):
    text = json.dumps(contents)
    key = rng.choice(("sha256", "size", "parameters", "channels", "test_mse", "steps"))
    words, result = rng.choice((
        ("NaN", text.replace("0.1", "NaN")),
        ("Infinity", text.replace("0.1", "-Infinity")),
        ("1e999", text.replace("0.1", "1e999")),
        ("long number", text.replace("0.1", "9" * 6000)),
        ("deep", "[" * 100_000),
        ("deep object", '{"a":' * 100_000),
        ("deep value", text.replace("0.1", "[" * 100_000 + "]" * 100_000)),
        ("UTF-16", text.encode("utf-16")),
        ("BOM", b"\xef\xbb\xbf" + text.encode()),
        ("Latin-1", text.replace("tiny", "caf\xe9").encode("latin-1")),
        ("twice", text + text),
        ("twice a key", text.replace(f'"{key}":', f'"{key}": 5, "{key}":')),
        ("comment", "// generated\n" + text),
        ("single quotes", text.replace('"', "'")),
        ("comma", text[:-1] + ",}"),
        ("spaces", text + " " * 2**20),
        ("large", text + " " * 2**25),
        ("null byte", text.replace("tiny", "ti\x00ny")),
        ("empty object", "{}"),
    ))  # fmt: skip
    return words, result if isinstance(result, bytes) else result.encode()
