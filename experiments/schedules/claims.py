"""The paper's claim about diffusion schedules (Figs 6 and 7)."""

from experiments.toolkit.claims import Claim, Verdict, not_measured


def schedule_claims(contents):
    """Figs 6 and 7."""
    item, statement = "Figs 6, 7", "the cosine schedules add noise more evenly than the linear one"
    if contents is None:
        yield not_measured(item, statement, "figures", "-", "python -m experiments.schedules")
        return
    shares = {name: row["share_in_between"] for name, row in contents["schedules"].items()}
    cosine = [share for name, share in shares.items() if "cosine" in name]
    yield Claim(
        item,
        statement,
        "figures",
        "share of the time with both signal and noise: "
        + ", ".join(f"{name.replace('_', ' ')} {share:.2f}" for name, share in shares.items()),
        "closed form",
        Verdict.of(min(cosine) > shares["linear"]),
        figure="schedules/fig06_schedules.png",
    )
