"""The claim on refining the U-Net's latents (Sec. 5.2, Fig. 18), beside what `compare` measured."""

from experiments.toolkit.claims import Claim, Verdict, not_measured
from experiments.toolkit.tables import of

# The paper's error before over that after refinement; the factor that counts as the same, at least,
# and the one that counts as better.
_PAPER = 2.53
_SAME, _BETTER = 2.0, 1.1 * _PAPER


def refinement_claims(name, compare):
    """Sec. 5.2, Fig. 18: the U-Net's latents, refined by several methods."""
    item, statement = "Sec. 5.2, Fig. 18", "descent refines the U-Net's latents"
    paper = "0.00147 to 0.00058, 2.5 times less (CelebA)"
    rows = {row["name"]: row for row in compare["methods"]} if compare else {}
    if not {"unet", "unet, descent"} <= rows.keys():
        why = f"hours: python -m experiments.{name} compare"
        yield not_measured(item, statement, paper, name, why)
        return
    statements = {
        "unet, descent": statement,
        "unet, correction": "the same without a gradient, by defect correction",
        "unet, lbfgs": "the same by L-BFGS",
    }
    before = rows["unet"]
    for hybrid, words in statements.items():
        if hybrid not in rows:
            continue
        after = rows[hybrid]
        factor = before["mse"] / after["mse"]
        yield Claim(
            item,
            words,
            paper,
            f"{of(before, 'mse', 6)} to {of(after, 'mse', 6)}, {factor:.1f} times less",
            f"{name}, {compare['images']} test images",
            Verdict.BETTER if factor > _BETTER else Verdict.of(factor > _SAME),
            figure=f"{name}/fig18_refined.png",
        )
