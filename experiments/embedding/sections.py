"""What a page says of the verbs that measure: tables, words, and captions of the figures."""

from experiments.toolkit.markup import Section, heading, interval, number, paragraph, table


def _report(report):
    return [
        paragraph(
            f"Latents for {report['images']:,} test images, decoded in "
            f"{report['config']['num_steps']} steps. All errors are mean squared errors of pixels "
            "in [0, 1].",
            faint=True,
        ),
        *_table1(report),
        *_table2(report),
        *_denoiser(report),
        *_frechet(report),
    ]


def _table1(report):
    rows = [
        (
            row["network"],
            number(row["parameters"], 0),
            interval({"mean": row["mse"], "interval": row["mse_interval"]}, 5),
            number(row["paper_mse"], 5),
            _ratio(row["mse"], row["paper_mse"]),
            number(row["psnr"], 2),
            number(row["ssim"], 3),
            number(1000 * row["seconds_per_image"], 2),
        )
        for row in report["table1"]
    ]
    header = (
        "network", "parameters", "ours, 95% interval", "paper", "ours / paper", "PSNR, dB", "SSIM",
        "ms per image",
    )  # fmt: skip
    return [heading("Table 1: reconstruction error of each network"), table(header, rows)]


def _table2(report):
    paper = report["config"]["paper_table2"] or (None, None)
    names = ("images of the data set", "generated images")
    rows = [
        (
            name,
            number(report["table2"][key], 5),
            number(theirs, 5),
            _ratio(report["table2"][key], theirs),
        )
        for name, key, theirs in zip(names, ("dataset", "generated"), paper, strict=True)
    ]
    return [
        heading("Table 2: real images and generated ones, embedded by the U-Net"),
        table(("images", "ours", "paper", "ours / paper"), rows),
    ]


def _denoiser(report):
    found = report.get("denoiser")
    if not found:
        return []
    rows = [
        (str(step), number(level["signal"], 3), number(level["mse"], 4))
        for step, level in enumerate(found["levels"], start=1)
    ]
    return [
        heading("The denoiser, step by step"),
        paragraph(
            "Mean squared error of the image that is predicted of a noisy one, where 1 is the "
            f"variance of the data. That of the mean image is {number(found['mean_image'], 4)}: "
            "above it a step has learnt nothing, and hands noise of its own on to the next."
        ),
        table(("step", "signal rate", "error of the predicted image"), rows),
    ]


def _frechet(report):
    found = report.get("frechet")
    if not found:
        return []
    rows = [
        ("other images of the data set", number(found["data"], 3)),
        ("generated images", number(found["generated"], 3)),
        *(
            (f"reconstructed by {network}", number(distance, 3))
            for network, distance in found["reconstructed"].items()
        ),
    ]
    return [
        heading("Frechet distance from the images of the data set"),
        paragraph(
            "On the features of a small classifier of the same data: the formula of the FID, but "
            f"no FID. All sets have {found['images']:,} images; that of other real images is what "
            "a perfect generator would reach.",
            faint=True,
        ),
        table(("images", "distance"), rows),
    ]


def _ratio(ours, paper):
    return "-" if ours is None or paper is None else f"{ours / paper:.2f}"


def _comparison(contents):
    controls = contents["controls"].items()
    rows = [
        (
            row["name"],
            interval({"mean": row["mse"], "interval": row["mse_interval"]}, 6),
            number(row["evaluations"], 0),
            number(row["seconds_per_image"], 3),
            number(row["psnr"], 2),
            number(row["ssim"], 3),
            number(row["lpips"], 4),
            number(row["latents_std"], 3),
            f"{row['converged']:.0%}",
        )
        for row in sorted(contents["methods"], key=lambda row: row["mse"])
    ]
    header = (
        "method", "mean squared error, 95% interval", "evaluations", "seconds per image",
        "PSNR, dB", "SSIM", "LPIPS", "deviation of latents", "above 30 dB",
    )  # fmt: skip
    return [
        heading(f"Every method on the same {contents['images']} images"),
        table(header, rows),
        table(("", "value"), [(words, number(value, 6)) for words, value in controls]),
    ]


def _structure(contents):
    found, mse = contents["found"], contents["mse"]
    rows = [[row[word] for word in ("statement", "paper", "ours", "verdict")] for row in
            contents["verdicts"]]  # fmt: skip
    return [
        heading(f"All latents of one image: {found['within_tolerance']:,} members"),
        paragraph(
            f"Found for image {contents['image']} from Gaussian latents by {contents['method']}. "
            f"Mean squared error {number(mse['mean'], 6)}; {found['converged']:.0%} above 30 dB; "
            f"deviation of the latents {number(contents['latents_std'], 3)}."
        ),
        table(("statement", "paper", "ours", "verdict"), rows, kind="words"),
    ]


def _invariance(contents):
    def row(words, found):
        low, high = found["interval"]
        return words, number(found["ratio"], 1), f"{number(low, 1)} to {number(high, 1)}"

    rows = [row("all networks, trained", contents["all"])]
    rows += [row(f"after {r['images']:,} training images", r) for r in contents["training"]]
    rows += [row(f"{r['num_steps']} sampler steps", r) for r in contents["sampler_steps"]]
    exact = [row(name, found) for name, found in contents["exact"].items()]
    header = ("", "ratio", "95% interval")
    return [
        heading(f"Do {len(contents['names'])} networks make the same images?"),
        paragraph(
            "Mean squared distance of random images over that of images of the same latents, "
            f"between networks; {contents['latents']} latents. The paper: two to three orders of "
            f"magnitude; here: {contents['verdict']}."
        ),
        table(header, rows),
        paragraph(
            f"Beside the images of the exact denoiser of {contents['few']} training images, which "
            "memorises them:"
        ),
        table(header, exact),
    ]


_REPORT_FIGURES = {
    "fig03_embedding.png": (
        "Figure 3: an embedding and what it decodes to",
        "Test images, the latents that the U-Net finds for them in one evaluation, and what the "
        "generator makes of these latents.",
    ),
    "fig15_networks.png": (
        "Figure 15: the embedding networks",
        "Test images, and below them the reconstruction from the latents of each network.",
    ),
    "fig16_examples.png": (
        "Figure 16: more examples",
        "Image, latents of the U-Net, reconstruction, and the absolute difference of the two.",
    ),
    "fig01_images_as_latents.png": (
        "Figure 1: an image is no latent of itself",
        "Test images, and what the generator makes of the images themselves as latents.",
    ),
    "fig02_faint_images_as_latents.png": (
        "Figure 2: neither is a faint or a noised one",
        "Test images x; decoded from x at the lowest signal rate; and from that with Gaussian "
        "noise added, as the forward diffusion ends.",
    ),
    "fig17_generated.png": (
        "Figure 17: generated images, embedded",
        "Images that the generator made, latents of the U-Net, reconstruction, and the absolute "
        "difference of the two.",
    ),
    "samples.png": ("Samples", "Generated from Gaussian latents; not selected."),
}
_COMPARISON_FIGURES = {
    "compare.png": (
        "Error against cost",
        "Lines follow methods that iterate, points are where each ends. An evaluation is one "
        "run of the denoiser; a gradient counts as what it costs. Seconds per image hold for "
        "batches of 40.",
    ),
    "fig18_refined.png": (
        "Figure 18: the U-Net's latents, refined",
        "Test images; what the U-Net's latents decode to; and what they decode to after 150 "
        "iterations of gradient descent, and of L-BFGS. Errors are means over all images.",
    ),
    "compare_residuals.png": (
        "Where implicit inversion gets to",
        "How far a step of the sampler, taken from the latents found so far, misses the state it "
        "should lead to: the best so far, in model space. A step that is not contractive stays "
        "above; under the paper's convention that of t = 0.1 asks for a least-squares solution, "
        "which a plain iteration need not find. Where an image is not reached, start L-BFGS from "
        "implicit inversion or from the U-Net.",
    ),
}
_STRUCTURE_FIGURES = {
    "fig11_cloud.png": (
        "Figure 11: latents of one image",
        "Members of the cloud, each found from Gaussian latents of its own, and what they decode "
        "to.",
    ),
    "fig12_combinations.png": (
        "Figure 12: random combinations of members",
        "Decoded from convex combinations of all members and of two; from affine ones, which go "
        "past the members; and from samples of the Gaussian with the cloud's mean and covariance.",
    ),
    "fig13_running_means.png": (
        "Figure 13: the mean of more and more members",
        "Means of the first members, each scaled to its own deviation, and what they decode to. "
        "Total variation is what a blur takes away.",
    ),
    "fig14_components.png": (
        "Figure 14: principal components",
        "The variance along each component, beside that of as many Gaussian latents, whose true "
        "variances are all 1, and that of half of the members along the components of the other "
        "half. How much the image changes by a step from the mean, along the component. Walks from "
        "the mean along the widest components, the middle one and the thinnest.",
    ),
    "cloud_jacobian.png": (
        "The shape of the cloud from one linearisation",
        "Singular values of decode's Jacobian at the U-Net's latents (without a U-Net at the best "
        "member); how much the members vary along each singular vector, beside what a linear "
        "decode forecasts, with one number fitted; and walks from there along some of them.",
    ),
}
_INVARIANCE_FIGURES = {
    "fig10_networks.png": (
        "Figure 10: the same latents, other networks",
        "In each column what the networks make of the same latents. Last rows: a network that was "
        "trained on a few images only, the generator of this data set, and the exact denoiser of "
        "those few images.",
    ),
    "invariance.png": (
        "How much closer the same latents' images are than random ones",
        "Mean squared distances, as a ratio, with 95% intervals (a bootstrap over latents): while "
        "the networks are trained, and by the steps of the sampler.",
    ),
}

REPORT = Section("report.json", _report, _REPORT_FIGURES)
COMPARISON = Section("compare.json", _comparison, _COMPARISON_FIGURES)
STRUCTURE = Section("structure.json", _structure, _STRUCTURE_FIGURES)
INVARIANCE = Section("invariance.json", _invariance, _INVARIANCE_FIGURES)
