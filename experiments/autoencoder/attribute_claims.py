"""The paper's claims on attributes, edits, interpolation, novelty and detection."""

from experiments.autoencoder import published
from experiments.autoencoder.attribute_sections import bounds, ratio
from experiments.toolkit.claims import Claim, Verdict, falls, not_measured
from experiments.toolkit.tables import interval, number, of

_PAPER = "Diffusion autoencoders, "
# The least macro average, and that of the attributes that are told best.
_MACRO, _BEST, _EASY = 0.85, 0.93, ("Smiling", "Male")
# The share of edits that the judge must say are positive.
_POSITIVE = 0.8
# The attribute of the claim, if it was measured.
_MAIN = "Smiling"


def attributes_claims(name, contents):
    """Table 8; `contents` of `attributes.json`, or None."""
    return _claims(name, "attributes", contents, _ATTRIBUTES)


def manipulation_claims(name, contents):
    """Eq. 11, Tables 9 and 10; `contents` of `manipulate.json`, or None."""
    return _claims(name, "manipulate", contents, _MANIPULATION)


def neighbours_claims(name, contents):
    """Fig. 9; `contents` of `neighbours.json`, or None."""
    return _claims(name, "neighbours", contents, _NEIGHBOURS)


def code_interpolation_claims(name, contents):
    """Fig. 4 and Appendix F; `contents` of `interpolate_codes.json`, or None."""
    return _claims(name, "interpolate-codes", contents, _INTERPOLATION)


def detection_claims(name, contents):
    """Appendix L; `contents` of `detect.json`, or None."""
    return _claims(name, "detect", contents, _DETECTION)


def _claims(name, verb, contents, claims):
    for item, statement, paper, figure, measure in claims:
        item = _PAPER + item
        found = contents and contents.get("rows", True) and measure(contents)
        if not found:
            command = f"python -m experiments.{name} {verb}"
            why = f"not among what was measured: {command}" if contents else command
            yield not_measured(item, statement, paper, name, why)
            continue
        ours, verdict, *why = found
        count = contents.get("images", contents.get("pairs", contents.get("fakes")))
        data = f"{name}, {count} {'pairs' if 'pairs' in contents else 'images'}"
        yield Claim(item, statement, paper, ours, data, verdict, *why, figure=f"{name}/{figure}")


def _macro(contents):
    own = contents["representations"][0]["auroc"]
    if own["macro"] is None:
        return None
    return bounds(own), Verdict.of(own["macro"] >= _MACRO)


def _above(other):
    def measure(contents):
        rows = contents["representations"]
        theirs = next((row for row in rows if row["name"] == other), None)
        count = theirs and theirs["training_images"]
        own = [r for r in rows if (r["name"], r["training_images"]) == ("semantic vector", count)]
        if not own or None in (own[0]["auroc"]["macro"], theirs["auroc"]["macro"]):
            return None
        words = f"{bounds(own[0]['auroc'])} against {bounds(theirs['auroc'])}"
        behind = theirs.get("behind")
        if behind is None or behind["macro"] is None:
            return None
        words += f"; {bounds(behind)} more on the same images"
        return words, Verdict.of(behind["interval"][0] > 0), f"{count:,} training images each"

    return measure


def _easy(contents):
    rows = {row["name"]: row for row in contents["attributes"]}
    found = [rows[name] for name in _EASY if name in rows]
    if len(found) < len(_EASY) or any(row["auroc"]["value"] is None for row in found):
        return None
    words = ", ".join(f"{row['name']} {bounds(row['auroc'])}" for row in found)
    return words, Verdict.of(all(row["auroc"]["value"] >= _BEST for row in found))


_ATTRIBUTES = (
    (
        "Table 8",
        "a linear classifier tells attributes from the vector: AUROC, macro average, at least .85",
        "0.925 (StyleGAN's W: 0.891)",
        "attributes.png",
        _macro,
    ),
    (
        "Table 8",
        "Smiling and Male are told with an AUROC of at least .93",
        "0.99, 1.00",
        "attributes.png",
        _easy,
    ),
    (
        "Table 8",
        "the vector tells more of attributes than as many components of pixels",
        "StyleGAN's W only",
        "attributes.png",
        _above("pixels"),
    ),
    (
        "Table 8",
        "the vector tells more of attributes than the latents x_T",
        "meant, not measured",
        "attributes.png",
        _above("latents x_T"),
    ),
    (
        "Table 8",
        "the vector tells more of attributes than latents of an embedding network",
        "-",
        "attributes.png",
        _above("latents of the U-Net"),
    ),
)


def _main(contents):
    rows = contents["rows"]
    return next((row for row in rows if row["attribute"] == _MAIN), rows[0])


def _positive(way):
    def measure(contents):
        row = _main(contents)
        words = "; ".join(
            f"{one['attribute']} {interval(one[way]['positive'], 2)}" for one in contents["rows"]
        )
        auroc = contents["judge"]["auroc"].get(row["attribute"])
        why = (
            f"by {row['attribute']}, of which the judge's AUROC is {number(auroc, 3)}; steps of "
            f"{interval(row[way]['strength'], 2)}"
        )
        return words, Verdict.of(row[way]["positive"]["mean"] >= _POSITIVE), why

    return measure


def _others(way):
    def measure(contents):
        row = _main(contents)
        words = "; ".join(
            f"{one['attribute']} {interval(one[way]['others'], 2)} against "
            f"{interval(one['fixed']['others'], 2)}"
            for one in contents["rows"]
        )
        difference = row[way]["others_difference"]
        less = difference["mean"] > (difference["interval"] or 0)
        why = f"by {row['attribute']}, steps of {interval(row[way]['strength'], 2)} against "
        why += str(contents["fixed"])
        return words, Verdict.of(less), why

    return measure


def _frechet(first, second):
    def measure(contents):
        rows = [row for row in contents["rows"] if row["frechet"]]
        if not rows:
            return None
        words = "; ".join(
            f"{row['attribute']} {of(row['frechet'], first, 2)} against "
            f"{of(row['frechet'], second, 2)}"
            for row in rows
        )
        why = "Frechet distances on the judge's features"
        if not all(f"{first}_interval" in row["frechet"] for row in rows):
            why += "; no interval"
        closer = all(row["frechet"][first] < row["frechet"][second] for row in rows)
        return words, Verdict.of(closer), why

    return measure


def _paper_table9(column):
    rows = published.TABLE9.items()
    return "; ".join(f"{name} {row[column]} against {row[0]}" for name, row in rows)


def _identity(contents):
    others = contents["faces"] and contents["faces"]["others"]
    if not others:
        return None
    found = [(row["attribute"], row["pattern"]["identity"]["distance"]) for row in contents["rows"]]
    words = "; ".join(f"{name} {interval(each, 2)}" for name, each in found)
    why = "dlib's descriptor, for which .6 is another person"
    closer = all(falls(others, each) for _, each in found)
    return f"{words}; other people {interval(others, 2)}", Verdict.of(closer), why


_MANIPULATION = (
    (
        "Eq. 11",
        "a classifier that was not the guide says positive for at least 80% of the edits",
        "not measured",
        "manipulation.png",
        _positive("median"),
    ),
    (
        "Eq. 11",
        "other attributes' logits move less than under the fixed step",
        "not measured",
        "manipulation.png",
        _others("median"),
    ),
    (
        "Eq. 11",
        "the same along the classifier's pattern",
        "-",
        "fig05_manipulation.png",
        _positive("pattern"),
    ),
    (
        "Eq. 11",
        "others move less along the pattern, too",
        "-",
        "manipulation.png",
        _others("pattern"),
    ),
    (
        "Table 9",
        "manipulated images are closer to positives than the negatives are",
        _paper_table9(1),
        "fig05_manipulation.png",
        _frechet("manipulated_positive", "positive_negative"),
    ),
    (
        "Table 9",
        "manipulated images stay closer to negatives than positives are",
        _paper_table9(2),
        "fig05_manipulation.png",
        _frechet("manipulated_negative", "positive_negative"),
    ),
    (
        "Table 10",
        "the person stays: edited faces are closer to themselves than to other people",
        "cosine of "
        + ", ".join(f"{value:.2f} ({key})" for key, value in published.TABLE10.items()),
        "fig05_manipulation.png",
        _identity,
    ),
)


def _novel(contents):
    rows = {row["metric"]: row for row in contents["nearest"]}
    words = "; ".join(
        f"{metric} {interval(row['sampled'], 4)} against {interval(row['test'], 4)}"
        for metric, row in rows.items()
    )
    copies = rows["LPIPS"]["copies"]
    why = f"{copies:.0%} are nearer, by LPIPS, than any test image; {contents['prior']} prior"
    return words, Verdict.of(not falls(rows["LPIPS"]["test"], rows["LPIPS"]["sampled"])), why


_NEIGHBOURS = (
    (
        "Fig. 9",
        "samples are no closer to training images, by LPIPS, than test images are",
        "shown by images",
        "fig09_neighbours.png",
        _novel,
    ),
)


def _smoother(than):
    def measure(contents):
        found = contents["ratios"][f"{than} / ours"]
        if found["low"] is None:
            return None
        return ratio(found), Verdict.of(found["low"] > 1)

    return measure


_INTERPOLATION = (
    (
        "App. F",
        "codes interpolate more smoothly than DDIM's latents: the ratio of path lengths",
        f"{published.PATH_LENGTH_RATIO:.2f}",
        "fig04_codes.png",
        _smoother("DDIM"),
    ),
)


def _ends(contents, kind):
    rows = sorted((r for r in contents["rows"] if r["kind"] == kind), key=lambda r: r["num_steps"])
    words = "; ".join(f"T = {r['num_steps']}: {interval(r['accuracy'], 3)}" for r in rows)
    return rows, words


def _harder(contents):
    rows, words = _ends(contents, "sampled")
    if len(rows) < 2:
        return None
    return words, Verdict.of(falls(rows[0]["accuracy"], rows[-1]["accuracy"]))


def _detected(kind):
    def measure(contents):
        rows, words = _ends(contents, kind)
        if not rows:
            return None
        low = [row["accuracy"]["mean"] - row["accuracy"]["interval"] for row in rows]
        return words, Verdict.of(min(low) > 0.5), "above chance at every T"

    return measure


def _paper_detection(kind):
    return "; ".join(f"T = {T}: {value:.3f}" for T, value in published.DETECTION[kind].items())


_DETECTION = (
    *(
        (
            "App. L",
            f"a small network detects {kind} images",
            _paper_detection(kind),
            "detection.png",
            _detected(kind),
        )
        for kind in ("sampled", "manipulated")
    ),
    (
        "App. L",
        "samples with more steps are harder to detect",
        _paper_detection("sampled"),
        "detection.png",
        _harder,
    ),
)

# Verbs, and their claims, in the order of the paper.
CLAIMS = {
    "interpolate_codes": code_interpolation_claims,
    "attributes": attributes_claims,
    "manipulate": manipulation_claims,
    "neighbours": neighbours_claims,
    "detect": detection_claims,
}
