"""Tables of the verbs of the h-space, for the terminal and for a page."""

from experiments.toolkit.pages import Section
from experiments.toolkit.tables import Table, interval, number

_HEADER = (
    "said positive", "logit rises by", "others' logits move", "cosine (S_dir)", "LPIPS",
    "identity, median", "realism changes by",
)  # fmt: skip


def _cells(row):
    return (
        interval(row["positive"], 2),
        interval(row["own"], 2),
        interval(row["others"], 2),
        interval(row["s_dir"], 2),
        interval(row["lpips"], 3),
        number(row.get("identity_median"), 2),
        interval(row["realism"], 2),
    )


def semantics_tables(contents):
    """Tables of `semantics.json`, by name."""
    main, controls = contents["main"], contents["controls"]
    found = {
        "edits": Table(
            f"Edits of up to {contents['images']} test images without the attribute",
            ("attribute", "strength", *_HEADER),
            [
                (
                    row["attribute"]
                    + ("" if row["strength"] != contents["strengths"][row["attribute"]]["strength"]
                       else " *"),
                    number(row["strength"], 2),
                    *_cells(row),
                )
                for row in contents["edits"]
            ],
        ),
        "length": Table(
            f"{main}: what must fail, and other ways, at the length of the shift of h",
            ("way", "images", *_HEADER),
            [
                (row["way"], number(row["images"], 0), *_cells(row))
                for row in controls["rows"]
                if row["kind"] == "length"
            ],
        ),
        "effect": Table(
            f"{main}: ways of equal judged effect, a rise of the logit by "
            f"{number(controls['target'], 2)}",
            ("way", "strength", *_HEADER),
            [
                (row["way"], number(row["strength"], 2), *_cells(row))
                for row in controls["rows"]
                if row["kind"] == "effect"
            ]
            + ([("optimised latents", "-", *_cells(controls["latents"]))]
               if controls["latents"] else []),
        ),
        "line": Table(
            f"{main}: linearity, strengths as shares of the direction's own",
            ("share", "change beside the proportional one", *_HEADER),
            [
                (number(row["share"], 1), interval(row["deviation"], 2), *_cells(row))
                for row in contents["line"]["rows"]
            ],
        ),
        "interval": Table(
            f"{main}: the editing interval; t_edit {number(contents['interval']['until'], 3)}, "
            f"t_boost {number(contents['interval']['boost'], 3)}",
            ("edited until t", *_HEADER),
            [(number(row["until"], 3), *_cells(row)) for row in contents["interval"]["rows"]],
        ),
        "boost": Table(
            f"{main}: {contents['boost']['steps']} steps and the quality boost; t_edit "
            f"{number(contents['boost']['until'], 3)}, t_boost "
            f"{number(contents['boost']['boost'], 3)}",
            ("edited", *_HEADER),
            [(row["way"], *_cells(row)) for row in contents["boost"]["rows"]],
        ),
        "instruments": _instruments(contents["instruments"]),
        "rho": Table(
            "Share of a shift of the velocity, the same for all steps, that a symmetric edit keeps",
            ("steps", "share"),
            [(number(row["steps"], 0), number(row["kept"], 3)) for row in contents["rho"]],
        ),
    }  # fmt: skip
    if contents["composition"]:
        found["composition"] = _composition(contents["composition"])
    return found


def _instruments(found):
    rows = [(f"judge, {name}", number(value, 3)) for name, value in found["judge"].items()]
    rows += [
        (f"realism, {kind}", number(value, 3)) for kind, value in found["realism"]["auroc"].items()
    ]
    return Table("How well the instruments tell test images apart", ("", "AUROC"), rows)


def _composition(found):
    first, second = found["attributes"]
    header = [f"{name}: {words}" for name in (first, second) for words in ("positive", "logit")]
    return Table(
        f"Two directions at once (their cosine is {number(found['cosine'], 2)}); the change is "
        f"{interval(found['deviation'], 2)} of its length from the sum",
        ("edit", *header, "identity, median", "realism changes by"),
        [
            (
                row["way"],
                *(
                    interval(row[name][key], 2)
                    for name in (first, second)
                    for key in ("positive", "own")
                ),
                number(row[first].get("identity_median"), 2),
                interval(row[first]["realism"], 2),
            )
            for row in found["rows"]
        ],
    )


SEMANTICS = Section(
    "semantics.json",
    (
        "semantics_edits.png", "semantics_controls.png", "semantics_line.png", "semantics_rho.png",
        "semantics_strips.png", "semantics_sheet.png",
    ),
    "semantics/templates/semantics.html",
    semantics_tables,
)  # fmt: skip


def delta_tables(contents):
    """Table of `train_direction.json`: "ways"."""
    table = Table(
        f"{contents['attribute']}: f_t beside the mean difference, {contents['images']} images",
        ("way", "strength", *_HEADER),
        [(row["way"], number(row["strength"], 2), *_cells(row)) for row in contents["rows"]],
    )
    return {"ways": table}


DELTA = Section(
    "train_direction.json",
    ("train_direction.png",),
    "semantics/templates/train_direction.html",
    delta_tables,
)
