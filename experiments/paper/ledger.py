"""The ledger: the claims of all systems in the order of the paper."""

import dataclasses

from experiments.embedding import claims as embedding
from experiments.inversion.claims import refinement_claims
from experiments.schedules.claims import schedule_claims
from experiments.toolkit.claims import Verdict
from experiments.toy.claims import toy_claims


def collect(experiments, results, studies, parameters, earlier=()):
    """Returns the claims of all systems, in the order of the paper.

    `results` has, for each experiment, a dict from "report", "compare", ... to contents; `studies`
    the contents of "toy" and "schedules". Claims whose results are missing come from `earlier`.
    """
    named = {experiment.name: results.get(experiment.name, {}) for experiment in experiments}
    known = {_experiment(claim) for claim in earlier}
    known |= {name for name, of_experiment in named.items() if of_experiment}
    grey = next((name for name in ("fashion_mnist", "mnist") if name in known), "fashion_mnist")
    edited = _edited(named, earlier)

    def earlier_or(source, new, items=""):
        """The earlier claims from a source, with these items, or else the new ones."""
        old = [claim for claim in earlier if claim.source == source]
        old = [claim for claim in old if claim.item.startswith(items)]
        return old or [dataclasses.replace(claim, source=source) for claim in new]

    def of(name, result, claims, items=""):
        new = claims(name, named[name].get(result))
        return earlier_or(f"{name}/{result}", new, items)

    def tables(item, claims):
        return [
            claim
            for one in experiments
            for claim in earlier_or(
                f"{one.name}/report", claims(one, named[one.name].get("report")), item
            )
        ]

    portraits = embedding.portrait_claims(named.get("celeba", {}).get("project_files"))
    return [
        *of(grey, "report", embedding.no_embedding_claims, ("Fig. 1", "Fig. 2")),
        *earlier_or("celeba/project_files", portraits),
        *of(edited, "project", embedding.edit_claims),
        *earlier_or("schedules/schedules", schedule_claims(studies.get("schedules"))),
        *earlier_or("toy/toy", toy_claims(studies.get("toy"))),
        *of(grey, "invariance", embedding.invariance_claims),
        *of(grey, "structure", embedding.structure_claims),
        *embedding.parameter_claims(parameters),
        *tables("Table 1", embedding.table1_claims),
        *tables("Table 2", embedding.table2_claims),
        *of(grey, "compare", refinement_claims),
        *of(grey, "interpolate", embedding.interpolation_claims),
    ]


def _experiment(claim):
    return claim.source.partition("/")[0]


def _edited(named, earlier):
    """Returns the experiment whose edits are shown: of faces, as the paper's, if measured."""
    shown = {name for name, results in named.items() if "edit" in results.get("project", {})}
    shown |= {
        _experiment(claim)
        for claim in earlier
        if claim.item == "Fig. 5" and claim.verdict is not Verdict.NOT_MEASURED
    }
    names = sorted(named, key=lambda name: name != "celeba")
    return next((name for name in names if name in shown), "fashion_mnist")
