"""Computes missing results, and writes the ledger of all results."""

import collections
import dataclasses
import json
from importlib import resources

import ddim_embed as de
from experiments import runner
from experiments.autoencoder.attribute_claims import CLAIMS as ATTRIBUTES
from experiments.autoencoder.claims import CLAIMS as AUTOENCODER
from experiments.autoencoder.sampling_claims import CLAIMS as SAMPLING
from experiments.paper import ledger
from experiments.schedules.__main__ import Schedules
from experiments.semantics.claims import CLAIMS as SEMANTICS
from experiments.toolkit import pages, results, study
from experiments.toolkit.claims import Claim, Verdict
from experiments.toolkit.command_line import UsageError
from experiments.toolkit.tables import Table, show
from experiments.toy.__main__ import Toy

# Verbs whose results are read: those that take minutes, and those that take hours.
_QUICK = ("report", "interpolate", "project")
_SLOW = ("compare", "structure", "invariance", "autoencode")
# Results of diffusion autoencoders, and of edits through h, that are read, and not made.
_READ = (*AUTOENCODER, *ATTRIBUTES, *SAMPLING, *SEMANTICS)
# The result of `project` with files: portraits, for the paper's Fig. 4.
_OF_FILES = "project_files"
_RESULTS = tuple(dict.fromkeys((*_QUICK, *_SLOW, *_READ, _OF_FILES)))
_STUDIES = {"schedules": Schedules(), "toy": Toy()}
_TITLE = "The paper's tables, figures and claims"
# What the items of a paper begin with -> the paper.
_PAPERS = {
    "": "Asperti, Evangelista, Marro, Merizzi: Image Embedding for Denoising Generative Models "
    "(2023).",
    "Diffusion autoencoders, ": "Preechakul, Chatthee, Wizadwongsa, Suwajanakorn: Diffusion "
    "Autoencoders: Toward a Meaningful and Decodable Representation (2022).",
    "Asyrp, ": "Kwon, Jeong, Uh: Diffusion Models Already Have a Semantic Latent Space (2023).",
}
_COLUMNS = ("item", "statement", "paper", "ours", "data", "verdict", "why")
# Network -> the paper's number of parameters, and the channels and widths that have it.
_PARAMETERS = {
    "conv1": (78, 3, None),
    "conv3_16": (7_233, 1, None),
    "conv3_64": (105_729, 1, None),
    "conv5_128": (859_009, 1, None),
    "unet": (9_577_683, 3, (48, 96, 192, 384)),
}


def report(settings, experiments):
    """Writes the ledger as JSON, Markdown and a page to `settings.result_folder`, and prints it."""
    if settings.make:
        make(settings, experiments)
    names = [(name, name) for name in _STUDIES]
    names += [(one.name, result) for one in experiments for result in _RESULTS]
    found = {
        f"{name}/{result}": contents
        for name, result in names
        if (contents := pages.read(_folder(settings, name) / f"{result}.json"))
    }
    sources = [
        {
            "source": source,
            "command": contents.get("command", "an unknown command"),
            "commit": contents.get("commit"),
        }
        for source, contents in found.items()
    ]
    earlier, earlier_sources = _earlier(settings.earlier, found.keys())
    claims = ledger.collect(experiments, found, parameters(), earlier)
    contents = {
        "rows": [dataclasses.asdict(claim) for claim in claims],
        "verdicts": dict(collections.Counter(claim.verdict for claim in claims)),
        "sources": sources + earlier_sources,
        **results.provenance(settings, settings.command),
    }
    outputs = settings.outputs
    pages.save_json(outputs, "ledger.json", contents)
    with outputs.replacing("ledger.md") as path:
        path.write_text(markdown(contents), encoding="utf-8", errors="backslashreplace")
    show(_table(contents), _counts(contents))
    write_page(settings, contents)


def _earlier(path, read):
    """Reads claims and sources of an earlier ledger, except those whose results exist now."""
    if path is None:
        return [], []
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
        claims = [Claim(**row | {"verdict": Verdict(row["verdict"])}) for row in contents["rows"]]
        sources = [one for one in contents["sources"] if one["source"] not in read]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"--earlier must be a ledger.json of `python -m experiments.paper`. Received: {path} "
            f"({error})"
        ) from error
    names = {one["source"] for one in sources}
    return [claim for claim in claims if claim.source in names], sources


def make(settings, experiments):
    """Runs the commands whose results are missing: those of minutes, or all with `full`."""
    for name, defaults in _STUDIES.items():
        if not (_folder(settings, name) / f"{name}.json").exists():
            study.main(defaults, _flags(settings))
    for experiment in experiments:
        folder = _folder(settings, experiment.name)
        for name, (verb, *files) in commands(experiment, settings.full).items():
            if (folder / f"{name}.json").exists() or not _has_weights(settings, experiment):
                continue
            print(f"{experiment.name}: {verb}")
            try:
                runner.main(experiment, [verb, *files, *_flags(settings)])
            except SystemExit as stop:  # after a message
                if stop.code not in (0, 1):
                    raise


def commands(experiment, full):
    """Returns a dict from the name of a result to the arguments of the command that computes it."""
    found = {verb: [verb] for verb in _QUICK + (_SLOW if full else ())}
    if experiment.data == "celeba":
        folder = resources.files("ddim_embed") / "samples" / "portraits"
        found[_OF_FILES] = ["project", *sorted(str(path) for path in folder.iterdir())]
    return found


def parameters():
    """Returns a dict from network to (the paper's number of parameters, ours, on what)."""
    found = {}
    for network, (paper, channels, widths) in _PARAMETERS.items():
        options = {} if widths is None else {"widths": widths}
        count = de.build_embedder(network, channels, **options).count_params()
        found[network] = paper, count, f"{channels} channel{'s' if channels > 1 else ''}"
    return found


def _flags(settings):
    flags = ["--seed", str(settings.seed), "--results", str(settings.results)]
    return [*flags, "--smoke"] if settings.smoke else flags


def _folder(settings, name):
    return settings.results / (f"{name}-smoke" if settings.smoke else name)


def _has_weights(settings, experiment):
    if settings.smoke:  # it trains its own weights; one data set is enough
        return experiment.name == "fashion_mnist"
    try:
        de.load_generator(experiment.name)
    except FileNotFoundError:
        return False
    return True


def markdown(contents):
    """Returns the ledger as a Markdown document, with the commands of its results."""

    def line(cells):
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return "\n".join(
        [
            f"# {_TITLE}",
            "",
            _summary(contents),
            "",
            f"Made by `{contents['command']}` from the results of these commands:",
            "",
            *(
                f"- `{source['command']}` ({_short(source['commit'])})"
                for source in contents["sources"]
            ),
            "",
            line(_COLUMNS),
            line("---" for _ in _COLUMNS),
            *(line(row[column] for column in _COLUMNS) for row in contents["rows"]),
            "",
        ]
    )


def _short(commit):
    """Returns an abbreviated commit of `results.commit`, and whether files differed from it."""
    if commit is None:
        return "not a checkout"
    name, _, dirty = commit.partition("-")
    return f"{name[:7]}, with changes" if dirty else name[:7]


def _counts(contents):
    return ", ".join(f"{count} {verdict}" for verdict, count in contents["verdicts"].items())


def _summary(contents):
    items = [row["item"] for row in contents["rows"]]
    papers = [paper for start, paper in _PAPERS.items() if any(i.startswith(start) for i in items)]
    return f"{' '.join(papers)} Of {len(items)} rows: {_counts(contents)}."


def _table(contents):
    rows = [[row[column] for column in _COLUMNS] for row in contents["rows"]]
    return Table(_TITLE, _COLUMNS, rows, kind="words")


def write_page(settings, contents):
    """Writes `index.html`: the ledger as a table, and the figures of its rows."""
    # Folders of a smoke run have a suffix.
    suffix = "-smoke" if settings.smoke else ""
    figures = {}
    for row in contents["rows"]:
        name, _, file = row["figure"].partition("/")
        if file:
            path = f"../{name}{suffix}/{file}"
            items, found = figures.setdefault(path, (name, {}, {}))[1:]
            items[row["item"]] = None  # in order, once each
            found[f"{row['statement']} ({row['verdict']})"] = None
    pages.write(
        settings.outputs,
        "paper/templates/ledger.html",
        title=_TITLE,
        contents=contents,
        summary=_summary(contents),
        ledger=_table(contents),
        figures=figures,
    )
