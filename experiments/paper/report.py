"""Makes the results that are missing, and writes the ledger of all that there are."""

import collections
import dataclasses
import json
import textwrap
from importlib import resources

import ddim_embed as de
from experiments.configuration import UsageError
from experiments.paper import ledger
from experiments.schedules import __main__ as schedules
from experiments.toolkit import command_line as runner
from experiments.toolkit import markup, results, study
from experiments.toy import __main__ as toy

# Results, by the verbs that make them: the first in minutes, the others in hours.
_QUICK = ("report", "interpolate", "project")
_SLOW = ("compare", "structure", "invariance")
# What `project` makes of images that are given: of faces, of the paper's Fig. 4.
_OF_FILES = "project_files"
_STUDIES = {"schedules": (schedules.Schedules(), schedules.run), "toy": (toy.Toy(), toy.run)}
_TITLE = "The paper's tables, figures and claims"
_COLUMNS = ("item", "statement", "paper", "ours", "data", "verdict", "why")
# The paper's numbers of parameters, and the networks that have them.
_PARAMETERS = {
    "conv1": (78, 3, None),
    "conv3_16": (7_233, 1, None),
    "conv3_64": (105_729, 1, None),
    "conv5_128": (859_009, 1, None),
    "unet": (9_577_683, 3, (48, 96, 192, 384)),
}


def report(settings, experiments, command):
    """Writes the ledger as JSON, Markdown and a page to `settings.result_folder`, and prints it.

    Args:
        settings: a `Paper`.
        experiments: list of `Experiment`.
        command: what a user would type to repeat it.

    Returns:
        What is in `ledger.json`.
    """
    if settings.make:
        make(settings, experiments)
    found = {one.name: _read_all(_folder(settings, one.name)) for one in experiments}
    studies = {
        name: contents
        for name in _STUDIES
        if (contents := _read(_folder(settings, name) / f"{name}.json"))
    }
    read = {f"{name}/{name}": contents for name, contents in studies.items()}
    for name, of in found.items():
        read |= {f"{name}/{result}": contents for result, contents in of.items()}
    sources = [
        {"source": name, "command": contents["command"], "commit": contents["commit"]}
        for name, contents in read.items()
    ]
    earlier, earlier_sources = _earlier(settings.earlier, set(read))
    rows = ledger.rows(experiments, found, studies, parameters(), earlier)
    contents = {
        "rows": [dataclasses.asdict(row) for row in rows],
        "verdicts": dict(collections.Counter(row.verdict for row in rows)),
        "sources": sources + earlier_sources,
        **results.provenance(settings, command),
    }
    folder = settings.result_folder
    results.save_json(folder / "ledger.json", contents)
    with results.replacing(folder / "ledger.md") as path:
        path.write_text(markdown(contents), encoding="utf-8")
    index = write_page(settings, contents)
    print_ledger(contents)
    print(f"The page is {index}")
    return contents


def _earlier(path, read):
    """Rows and sources of an earlier ledger, but for those whose results are read anew.

    Raises:
        UsageError: if `path` is no ledger.
    """
    if path is None:
        return [], []
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
        rows = [ledger.Row(**row) for row in contents["rows"]]
        sources = [one for one in contents["sources"] if one["source"] not in read]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"--earlier must be a ledger.json of `python -m experiments.paper`. Received: {path} "
            f"({error})"
        ) from error
    kept = {one["source"] for one in sources}
    return [row for row in rows if row.source in kept], sources


def make(settings, experiments):
    """Runs the commands whose results are missing: those of minutes, or all if `full`."""
    for name, (defaults, run) in _STUDIES.items():
        if not (_folder(settings, name) / f"{name}.json").exists():
            study.main(defaults, run, _flags(settings))
    for experiment in experiments:
        folder = _folder(settings, experiment.name)
        for name, (verb, *files) in commands(experiment, settings.full).items():
            if (folder / f"{name}.json").exists() or not _has_weights(settings, experiment):
                continue
            print(f"{experiment.name}: {verb}")
            try:
                runner.main(experiment, [verb, *files, *_flags(settings)])
            except SystemExit as stop:  # it has said why
                if stop.code not in (0, 1):
                    raise


def commands(experiment, full):
    """Results that an experiment can make -> the words of the command line that makes each.

    Args:
        experiment: an `Experiment`.
        full: whether those that take hours are among them.
    """
    found = {verb: [verb] for verb in _QUICK + (_SLOW if full else ())}
    if experiment.data == "celeba":
        folder = resources.files("ddim_embed") / "samples" / "portraits"
        found[_OF_FILES] = ["project", *sorted(str(path) for path in folder.iterdir())]
    return found


def parameters():
    """Network -> (the paper's number of parameters, ours, on what)."""
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
    if settings.smoke:  # a smoke run makes its own; one data set is enough to see it work
        return experiment.name == "fashion_mnist"
    try:
        de.load_generator(experiment.name)
    except FileNotFoundError:
        return False
    return True


def _read_all(folder):
    names = (*_QUICK, *_SLOW, _OF_FILES)
    return {name: found for name in names if (found := _read(folder / f"{name}.json"))}


def _read(path):
    return json.loads(path.read_text()) if path.exists() else None


def print_ledger(contents):
    """Prints every row, and how many there are of each verdict."""
    for row in contents["rows"]:
        print(f"\n{row['item']}: {row['statement']} [{row['data']}]")
        for words in ("paper", "ours", "verdict"):
            value = row[words]
            if words == "verdict" and row["why"]:
                value = f"{value} ({row['why']})"
            print(
                textwrap.fill(value, 96, initial_indent=f"  {words:8}", subsequent_indent=" " * 10)
            )
    print("\n" + ", ".join(f"{count} {verdict}" for verdict, count in contents["verdicts"].items()))


def markdown(contents):
    """The ledger as a Markdown document, and the commands that its results came from."""

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
    """A commit, as `results.commit` has it, in few characters: changes that it lacks are told."""
    if commit is None:
        return "not a checkout"
    name, _, dirty = commit.partition("-")
    return f"{name[:7]}, with changes" if dirty else name[:7]


def _summary(contents):
    counts = ", ".join(f"{count} {verdict}" for verdict, count in contents["verdicts"].items())
    return (
        "Asperti, Evangelista, Marro, Merizzi: Image Embedding for Denoising Generative Models "
        f"(2023). Of {len(contents['rows'])} rows: {counts}."
    )


def write_page(settings, contents):
    """Writes `index.html`: the ledger as a table, and the figures that it speaks of."""
    folder = settings.result_folder
    # The suffix of a smoke run is that of the folders, too.
    suffix = "-smoke" if settings.smoke else ""
    figures = {}
    for row in contents["rows"]:
        name, _, file = row["figure"].partition("/")
        if file and (settings.results / f"{name}{suffix}" / file).exists():
            figures.setdefault(f"../{name}{suffix}/{file}", (name, []))[1].append(row["item"])
    cells = [[row[column] for column in _COLUMNS] for row in contents["rows"]]
    body = [
        markup.paragraph(_summary(contents)),
        markup.table(_COLUMNS, cells, "words"),
        *(
            markup.figure(path, f"{', '.join(dict.fromkeys(items))}: {name}", "")
            for path, (name, items) in figures.items()
        ),
        markup.how(contents, "ledger.json"),
    ]
    return markup.save(folder, _TITLE, body)
