"""Writes the tables of docs/scale.md, between its markers, from `scale.json`.

python -m benchmarks.scale_page
"""

import json
import re
import statistics
from pathlib import Path

import tyro

from benchmarks.scale import PROCESSES, ROOT, TRAINING, cost_points
from benchmarks.scale_fit import fit
from benchmarks.scale_work import CASES

PAGE = ROOT / "docs" / "scale.md"
# Images a second of one H200 that trains the `unet` through the sampler, 64x64x3: docs/gpu.md.
GPU_TRAINING = 830
# (images, resolution) of the extrapolation.
WORK = ((1_000_000, 64), (1_000, 256))
MACHINES = 10
DASH = "-"


def laws(contents):
    """The `Law` of each method whose points are measured: seconds per image."""
    found = {}
    for method in CASES:
        points = [
            {
                "pixels": values["resolution"] ** 2,
                "steps": values["steps"],
                "batch": values["batch"],
                "seconds": values["seconds"],
            }
            for name in cost_points(contents["setup"], method)
            if (values := contents["measurements"].get(name))
        ]
        if points:
            found[method] = fit(points)
    return found


def about(contents):
    """What was measured, where, and whether the run was a reduced one."""
    setup, machine, versions = (contents[key] for key in ("setup", "machine", "versions"))
    base = setup["base"]
    widths = ", ".join(map(str, setup["widths"]))
    commits = {(values["commit"] or "?")[:7] for values in contents["measurements"].values()}
    text = (
        f"Measured by `{contents['command']}` on {machine['cores']} cores of an "
        f"{machine['processor']}, {machine['system']}, TensorFlow {versions['tensorflow']}, Keras "
        f"{versions['keras']}, commit {', '.join(sorted(commits))}. The generator "
        f"has widths [{widths}], block depth {setup['block_depth']}, {setup['channels']} channels "
        f"and random weights of trained-like size; float32; networks have the same widths. From "
        f"the base, {base['resolution']}x{base['resolution']}, {base['steps']} steps, batches of "
        f"{base['batch']}, one factor is varied at a time."
    )
    if contents["smoke"]:
        text = (
            "**These numbers are of a reduced run with tiny sizes: they say nothing of cost, and "
            f"are to be replaced by those of `python -m benchmarks.scale`.**\n\n{text}"
        )
    return text


def costs(contents):
    """The table of the laws."""
    found, measured = laws(contents), contents["measurements"]
    unit = _base(contents, "decode")
    rows = [
        "| method | measured | evaluations | s/image at the base | in decodes | s/iteration "
        "| pixels^p | steps^q | batch^r | residual |",
        "|---" * 10 + "|",
    ]
    for method, law in found.items():
        base = _base(contents, method)
        if base is None:
            continue
        case = CASES[method]
        unitwise = DASH
        if case.count:
            unitwise = _seconds(base["seconds"] / (case.measured + case.extra))
        cells = [
            f"`{method}`" if method != "decode" else "decode",
            f"{case.measured} x {case.unit}" if case.count else DASH,
            f"{base['evaluations']:.0f}",
            _seconds(base["seconds"]),
            f"{base['seconds'] / unit['seconds']:.2f}" if unit else DASH,
            unitwise,
            *(_exponent(law, factor) for factor in ("pixels", "steps", "batch")),
            f"{law.residual - 1:.0%}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    paper = measured.get("cost of decode, the paper's sizes")
    if paper and unit:
        widths = ", ".join(map(str, paper["widths"]))
        rows += [
            "",
            f"A decode by a generator of the paper's sizes, [{widths}] and block depth "
            f"{paper['block_depth']}, takes {_seconds(paper['seconds'])} s an image at the base, "
            f"{paper['seconds'] / unit['seconds']:.1f} times as long.",
        ]
    return "\n".join(rows)


def _exponent(law, factor):
    if factor not in law.exponents:
        return DASH
    return f"{law.exponents[factor]:.2f} ± {law.half_widths[factor]:.2f}"


def _base(contents, method):
    point = contents["setup"]["base"]
    name = "{resolution}x{resolution}, {steps} steps, batch {batch}".format(**point)
    return contents["measurements"].get(f"cost of {method}, {name}")


def memory(contents):
    """The table of memory against steps."""
    rows = ["| images | steps | MiB above what was there | with remat | ratio |", "|---" * 5 + "|"]
    measured = contents["measurements"]
    plain = {name: v for name, v in measured.items() if name.startswith("memory ")}
    for name, values in plain.items():
        again = plain.get(f"{name}, remat")
        if again is None:
            continue
        size = f"{values['batch']} of {values['resolution']}x{values['resolution']}"
        cells = [size, f"{values['steps']}", f"{values['mib']:,.0f}", f"{again['mib']:,.0f}"]
        rows.append(f"| {' | '.join(cells)} | {values['mib'] / again['mib']:.1f} |")
    return "\n".join(rows)


def processes(contents):
    """The table of two processes against one."""
    measured = contents["measurements"]
    rows = [f"| work | {' | '.join(PROCESSES)} | ratio of two workers to one core |"]
    rows.append("|---" * 5 + "|")
    many = measured.get("embed_many")
    if many:
        rates = many["images_per_second"]
        one, both, two = (rates[name] for name in PROCESSES)
        size = f"{many['resolution']}x{many['resolution']}"
        cells = [f"`embed_many`, `{many['method']}`, {size}: images/s"]
        cells += [f"{rate:.2f}" for rate in (one, both, two)]
        rows.append(f"| {' | '.join(cells)} | {two / one:.2f} |")
    rows += [
        "",
        f"| training, seconds a step | {' | '.join(TRAINING)} | ratio of steps/s | gradient, MiB "
        "| adding gradients, s |",
        "|---" * 7 + "|",
    ]
    for name, values in measured.items():
        if name.startswith("training, "):
            one, half, two = (values["seconds"][arm] for arm in TRAINING)
            size = f"{values['batch']} of {values['resolution']}x{values['resolution']}"
            cells = [f"{name.removeprefix('training, ')}, {size}", *map(_seconds, (one, half, two))]
            cells += [f"{one / two:.2f}", f"{values['gradient_mib']:.2f}", _seconds(two - half)]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def extrapolation(contents):
    """The table of large work: one core, one GPU, ten machines."""
    found = laws(contents)
    header = ["work", "iterations", "two cores", "one core", "one GPU"]
    header.append(f"{MACHINES} machines of two cores")
    rows = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for images, resolution in WORK:
        for method in found:
            case = CASES[method]
            if method == "decode":
                continue
            seconds = seconds_of(contents, found, method, images, resolution)
            core, machines = spread(contents, seconds, images, resolution)
            work = f"{images:,} images of {resolution}x{resolution}, `{method}`"
            cells = [work, f"{case.usual:,}" if case.count else DASH, _duration(seconds)]
            cells += [_duration(core), DASH, _duration(machines)]
            rows.append(f"| {' | '.join(cells)} |")
    training = contents["measurements"].get("training, embedder")
    if training:
        images, one, two = WORK[0][0], *(training["seconds"][TRAINING[i]] for i in (0, 2))
        size, batch = f"{training['resolution']}x{training['resolution']}", training["batch"]
        cells = [f"{images:,} images of {size}, training a `unet` through the sampler, each once"]
        cells += [DASH, _duration(images / batch * two), _duration(images / batch * one)]
        cells += [f"{_duration(images / GPU_TRAINING)} *", DASH]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def seconds_of(contents, found, method, images, resolution):
    """Seconds of two cores for images by a method at its usual iterations, and a decode of each.

    The decode is that of the certificate. Batches are those of the base, and so are the steps.
    """
    base = contents["setup"]["base"]
    factors = {"pixels": resolution**2, "steps": base["steps"], "batch": base["batch"]}
    seconds = CASES[method].ratio * found[method](**factors)
    if "decode" in found:
        seconds += found["decode"](**factors)
    return images * seconds


def spread(contents, seconds, images, resolution):
    """Seconds on one core and on several machines, from those on two cores; None if not measured.

    Machines are as fast as one each, but wait for the process that reads all images. Two workers
    of a machine share its cores, at the measured rate.
    """
    many = contents["measurements"].get("embed_many")
    if many is None:
        return None, None
    one, both, two = (many["images_per_second"][name] for name in PROCESSES)
    machines = seconds * both / two / MACHINES
    reading = contents["measurements"].get(f"reading {resolution}x{resolution}")
    if reading:
        machines = max(machines, images / reading["images_per_second"])
    return seconds * both / one, machines


def limits(contents):
    """Where it breaks, as a list with the measured numbers."""
    measured, found, lines = contents["measurements"], laws(contents), []
    setup = contents["setup"]
    many = measured.get("embed_many")
    for resolution in setup["reading"]["resolutions"]:
        reading = measured.get(f"reading {resolution}x{resolution}")
        if not reading:
            continue
        rate = reading["images_per_second"]
        line = (
            f"- **One process reads.** PNG files of {resolution}x{resolution}: {rate:,.0f} images "
            f"a second."
        )
        if many and found:
            busy = []
            for method in ("conv1", "unet", "lbfgs"):
                if method in found:
                    seconds = seconds_of(contents, found, method, 1, resolution)
                    _, ten = spread(contents, seconds, 0, resolution)
                    busy.append(f"{_rough(rate * ten * MACHINES)} by `{method}`")
            line += f" That keeps so many machines of two cores busy: {', '.join(busy)}."
        lines.append(line)
    if many:
        mib = many["bytes_an_image"] * WORK[0][0] / 2**20
        size = f"{many['resolution']}x{many['resolution']}"
        lines.append(
            f"- **One process writes**, {many['bytes_an_image'] / 1024:,.1f} KiB for an image of "
            f"{size}: {mib / 1024:,.0f} GiB for {WORK[0][0]:,} of them, which pass through its "
            f"network link, as the pixels do."
        )
    for name, values in measured.items():
        if not name.startswith("training, "):
            continue
        one, half, two = (values["seconds"][arm] for arm in TRAINING)
        piece = name.removeprefix("training, ")
        waiting, link = max(two - half, 0.0), 2 * values["gradient_mib"] * 2**23 / 1e9
        count = _rough(one / (waiting + link))
        workers = f"{count} worker{'s' * (count != '1')}"
        lines.append(
            f"- **Gradients are added at each step** ({piece}): {values['gradient_mib']:.2f} MiB. "
            f"Half of a batch takes {_seconds(half)} s on a core, a step of two workers on "
            f"loopback {_seconds(two)} s: {_seconds(waiting)} s of it, {waiting / two:.0%}, are "
            f"for adding up and waiting. Between machines, at 1 Gbit/s, the gradient itself takes "
            f"{_seconds(link)} s there and back. Both are the same however few images a worker "
            f"has: by these numbers they take as long as computing does with {workers} and a batch "
            f"of {values['batch']}."
        )
        lines.append(
            f"- **The chief alone writes checkpoints** ({piece}): {values['checkpoint_mib']:.1f} "
            f"MiB in {_seconds(values['checkpoint_seconds'])} s, every two minutes by default, in "
            f"which the others wait."
        )
    lines += _memory_limits(measured)
    return "\n".join(lines)


def _memory_limits(measured):
    plain = [v for name, v in measured.items() if name.startswith("memory ") and not v["remat"]]
    remat = [v for name, v in measured.items() if name.startswith("memory ") and v["remat"]]
    lines, resolutions = [], sorted({values["resolution"] for values in plain})
    if not resolutions or len(remat) != len(plain):
        return lines
    own = [[v for v in values if v["resolution"] == resolutions[0]] for values in (plain, remat)]
    if len(own[0]) > 1:
        rise = [statistics.linear_regression(
            [v["steps"] for v in values], [v["mib"] / v["batch"] for v in values]
        ).slope for values in own]  # fmt: skip
        size = f"{resolutions[0]}x{resolutions[0]}"
        lines.append(
            f"- **Memory without remat** grows by {rise[0]:.2f} MiB for each step and image of "
            f"{size}, with remat by {rise[1]:.2f} MiB."
        )
    for before, after in zip(plain, remat, strict=True):
        if before["resolution"] == resolutions[-1]:
            size = f"{before['resolution']}x{before['resolution']}"
            lines.append(
                f"- **An image of {size}** takes {before['mib']:,.0f} MiB in a training step of "
                f"{before['steps']} sampler steps, {after['mib']:,.0f} MiB with remat."
            )
    return lines


def _seconds(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 1e-4 else f"{value:.1e}"


def _rough(count):
    """A count that is as rough as the laws: its first two digits."""
    return f"{float(f'{count:.2g}'):,.0f}"


def _duration(seconds):
    if seconds is None:
        return DASH
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            count = seconds / size
            return f"{count:,.0f} {unit}" if count >= 10 else f"{count:.1f} {unit}"
    return f"{seconds:.0f} s"


PARTS = {
    function.__name__: function
    for function in (about, costs, memory, processes, extrapolation, limits)
}


def render(text, contents):
    """The text of the page with what stands between its markers made anew."""
    for name, function in PARTS.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        pattern = re.escape(begin) + ".*?" + re.escape(end)
        new = f"{begin}\n\n{function(contents)}\n\n{end}"
        text, count = re.subn(pattern, lambda _, new=new: new, text, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"The page must have the markers of `{name}` once. Received: {count}")
    return text


def main(results: Path = ROOT / "benchmarks" / "scale.json", page: Path = PAGE):
    """Writes the tables.

    Args:
        results: of `benchmarks.scale`.
        page: to write.
    """
    contents = json.loads(results.read_text(encoding="utf-8"))
    page.write_text(render(page.read_text(encoding="utf-8"), contents), encoding="utf-8")


if __name__ == "__main__":
    tyro.cli(main)
