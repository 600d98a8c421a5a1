"""Figures, table and page of the study of schedules."""

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

import ddim_embed as de
from ddim_embed.networks.blocks import Normalizer
from experiments.toolkit import pages, results
from experiments.toolkit.tables import Table, number, show

# The paper's.
NAMES = "continuous_cosine", "cosine", "linear", "quadratic"
SCHEDULES = {name: de.schedules.SCHEDULES[name] for name in NAMES}
# The signal is gone where its share of the variance is below this.
_GONE = 0.01
_POINTS = 1001


def report(study):
    """Writes `schedules.json`, two figures and `index.html` to `study.result_folder`."""
    pixels, _ = de.load_images("fashion_mnist", "test", source="sample")
    contents = {
        "schedules": {name: summary(schedule) for name, schedule in SCHEDULES.items()},
        **results.provenance(study, study.command),
    }
    pages.save_json(study.outputs, "schedules.json", contents)
    figures = {
        "fig06_schedules.png": curves(),
        "fig07_noised.png": noised(pixels, study.image, study.times, study.seed),
    }
    pages.save_figures(study.outputs, figures)
    table = _table(contents)
    show(table)
    pages.write(
        study.outputs,
        "schedules/templates/schedules.html",
        title="Diffusion schedules",
        contents=contents,
        gone=table,
    )


def summary(schedule):
    """Returns what distinguishes schedules, as a dict of numbers.

    They are signal rates at t = 0 and 1; the times when signal and noise are equal and when the
    signal's share of the variance falls below 1 percent (1 if it never does); and the share of the
    time in which both have more than 1 percent, so that sampler steps change the image.
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
    """Draws Figure 6: signal and noise rates of the schedules against diffusion time."""
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
    """Draws Figure 7: one image with the same noise, at the rates of each schedule.

    All pixels, `(n, height, width, 1)` in [0, 1], are needed to adapt the normaliser.
    """
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


def _table(contents):
    header = (
        "schedule", "signal rate at t=0", "at t=1", "signal = noise at t", "signal gone at t",
        "share of time in between",
    )  # fmt: skip
    rows = [
        (name, *(number(value, 3) for value in row.values()))
        for name, row in contents["schedules"].items()
    ]
    return Table("Where the signal goes", header, rows)
