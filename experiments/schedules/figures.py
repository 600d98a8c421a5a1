"""What `experiments.schedules` draws and writes."""

import numpy as np
import tensorflow as tf

import ddim_embed as de
from ddim_embed.networks.blocks import Normalizer
from experiments.toolkit import markup, results

SCHEDULES = de.schedules.SCHEDULES
# A signal is gone where its share of the variance is below that.
_GONE = 0.01
_POINTS = 1001


def report(study, command):
    """Writes `schedules.json`, two figures and `index.html` to `study.result_folder`.

    Args:
        study: a `Schedules`.
        command: what a user would type to repeat it.

    Returns:
        The path of the markup.
    """
    folder = study.result_folder
    pixels, _ = de.load_images("fashion_mnist", "test", source="sample")
    contents = {
        "schedules": {name: summary(schedule) for name, schedule in SCHEDULES.items()},
        **results.provenance(study, command),
    }
    results.save_json(folder / "schedules.json", contents)
    results.save_figure(folder / "fig06_schedules.png", curves())
    results.save_figure(
        folder / "fig07_noised.png", noised(pixels, study.image, study.times, study.seed)
    )
    path = _write_page(folder, contents)
    _print_table(contents)
    print(f"The figures are in {path}")
    return path


def summary(schedule):
    """What tells schedules apart, as a dict of numbers.

    Args:
        schedule: a function of `schedules`.

    Returns:
        Signal rates at t = 0 and 1; the times when signal and noise are equal and when the signal's
        share of the variance falls below 1 percent (1 if it never does); and the share of the time
        in which both have more than 1 percent, where a step of the sampler has something to do.
    """
    times = np.linspace(0, 1, _POINTS)
    signal, noise = (rate.numpy() for rate in schedule(tf.constant(times)))
    alpha_bar = signal**2
    return {
        "signal_at_0": float(signal[0]),
        "signal_at_1": float(signal[-1]),
        "equal_at": float(times[np.argmax(signal <= noise)]),
        "gone_at": float(times[np.argmax(alpha_bar < _GONE)]) if alpha_bar[-1] < _GONE else 1.0,
        "share_in_between": float(np.mean((alpha_bar >= _GONE) & (alpha_bar <= 1 - _GONE))),
    }


def curves():
    """Figure 6: signal and noise rates of the schedules against diffusion time."""
    from matplotlib.figure import Figure  # not at the top: as in the library

    times = np.linspace(0, 1, _POINTS)
    figure = Figure((9, 3.8), layout="constrained")
    for axes, word in zip(figure.subplots(1, 2, sharey=True), ("signal", "noise"), strict=True):
        for name, schedule in SCHEDULES.items():
            rate = getattr(schedule(tf.constant(times)), word)
            axes.plot(times, rate, label=name.replace("_", " "))
        axes.set(xlabel="diffusion time t", title=f"{word} rate", xlim=(0, 1), ylim=(-0.02, 1.02))
        axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


def noised(pixels, index, count, seed):
    """Figure 7: one image with the same noise, as much of it as each schedule mixes in.

    Args:
        pixels: `(n, height, width, 1)` in [0, 1]; the normaliser's statistics are theirs.
        index: which of them.
        count: how many diffusion times.
        seed: of the noise.
    """
    from matplotlib.figure import Figure

    normalizer = Normalizer(pixels.shape[-1])
    normalizer.adapt(pixels)
    image = normalizer(pixels[index])
    noise = np.random.default_rng(seed).normal(size=image.shape)
    times = np.linspace(0, 1, count)
    figure = Figure((count * 0.9 + 1.2, len(SCHEDULES) * 0.95 + 0.3), layout="constrained")
    grid = figure.subplots(len(SCHEDULES), count, squeeze=False)
    for row, (name, schedule) in zip(grid, SCHEDULES.items(), strict=True):
        for axes, time in zip(row, times, strict=True):
            rates = schedule(tf.constant(time, tf.float32))
            shown = normalizer.inverse(rates.signal * image + rates.noise * noise)
            axes.imshow(np.clip(shown, 0, 1)[..., 0], "gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(name.replace("_", "\n"), rotation=0, ha="right", va="center")
    for axes, time in zip(grid[0], times, strict=True):
        axes.set_title(f"t = {time:.3g}", fontsize="medium")
    return figure


def _rows(contents):
    for name, row in contents["schedules"].items():
        yield (name, *(markup.number(value, 3) for value in row.values()))


_HEADER = (
    "schedule", "signal rate at t=0", "at t=1", "signal = noise at t", "signal gone at t",
    "share of time in between",
)  # fmt: skip


def _write_page(folder, contents):
    gone = {name: row["gone_at"] for name, row in contents["schedules"].items()}
    body = [
        markup.paragraph(
            "A schedule says how much signal and how much noise an image holds at each diffusion "
            "time; the squares of the two rates add up to 1.",
            faint=True,
        ),
        markup.figure(
            "fig06_schedules.png",
            "Figure 6: the schedules",
            "Signal and noise rates. The continuous cosine schedule leaves a third of noise at "
            "t=0 and a fiftieth of signal at t=1.",
        ),
        markup.figure(
            "fig07_noised.png",
            "Figure 7: one image, noised by each",
            "The same image and the same noise in all of them; pixels are clipped for display.",
        ),
        markup.heading("Where the signal goes"),
        markup.table(_HEADER, _rows(contents)),
        markup.paragraph(
            "The signal is gone where its share of the variance is below 1 percent: the times "
            "after that hardly change an image. In between, both shares are above 1 percent. The "
            "paper: the linear and quadratic schedules fall too steeply, the two cosines change "
            "an image more evenly. Here the signal is gone at "
            + ", ".join(f"t = {time:.2f} ({name})" for name, time in gone.items())
            + "."
        ),
        markup.how(contents, "schedules.json"),
    ]
    return markup.save(folder, "Diffusion schedules", body)


def _print_table(contents):
    lines = [_HEADER, *_rows(contents)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
