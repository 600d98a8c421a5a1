"""The ledger: the claims of all systems in the order of the paper."""

import dataclasses
import itertools

from experiments.autoencoder.attribute_claims import CLAIMS as ATTRIBUTES
from experiments.autoencoder.claims import CLAIMS as AUTOENCODER
from experiments.autoencoder.sampling_claims import CLAIMS as SAMPLING
from experiments.embedding import claims as embedding
from experiments.inversion.claims import refinement_claims
from experiments.schedules.claims import schedule_claims
from experiments.semantics.claims import CLAIMS as SEMANTICS
from experiments.toolkit.claims import Verdict
from experiments.toolkit.pages import left_out
from experiments.toy.claims import toy_claims


def collect(experiments, results, parameters, earlier=()):
    """Returns the claims of all systems, in the order of each paper.

    `results` has the contents of each result by its source, "<experiment or study>/<name>".
    Claims whose results are missing come from an earlier ledger, if it has them.
    """
    sources = [*results, *(claim.source for claim in earlier)]
    known = {source.partition("/")[0] for source in sources}
    grey = next((name for name in ("fashion_mnist", "mnist") if name in known), "fashion_mnist")
    edited = _edited(experiments, results, earlier)

    def of(source, claims, *arguments, items=""):
        old = [c for c in earlier if c.source == source and c.item.startswith(items)]
        new = None
        with left_out(source):
            new = [*claims(*arguments, results.get(source))]
        if new is None:
            new = claims(*arguments, None)
        return old or [dataclasses.replace(claim, source=source) for claim in new]

    def tables(item, claims):
        each = [of(f"{one.name}/report", claims, one, items=item) for one in experiments]
        return itertools.chain(*each)

    return [
        *of(f"{grey}/report", embedding.no_embedding_claims, grey, items=("Fig. 1", "Fig. 2")),
        *of("celeba/project_files", embedding.portrait_claims),
        *of(f"{edited}/project", embedding.edit_claims, edited),
        *of("schedules/schedules", schedule_claims),
        *of("toy/toy", toy_claims),
        *of(f"{grey}/invariance", embedding.invariance_claims, grey),
        *of(f"{grey}/structure", embedding.structure_claims, grey),
        *embedding.parameter_claims(parameters),
        *tables("Table 1", embedding.table1_claims),
        *tables("Table 2", embedding.table2_claims),
        *of(f"{grey}/compare", refinement_claims, grey),
        *of(f"{grey}/interpolate", embedding.interpolation_claims, grey),
        *itertools.chain(
            *(
                of(f"{name}/{result}", claims, name)
                for result, claims in (AUTOENCODER | ATTRIBUTES | SAMPLING | SEMANTICS).items()
                for name in _with(experiments, sources, result)
            )
        ),
    ]


def _with(experiments, sources, result):
    """Returns the experiments that have a result of diffusion autoencoders; CelebA if none has."""
    names = [one.name for one in experiments if f"{one.name}/{result}" in sources]
    return names or ["celeba"]


def _edited(experiments, results, earlier):
    """Returns the experiment whose edits are shown: of faces, as the paper's, if measured."""
    shown = {source for source, contents in results.items() if "edit" in contents}
    shown |= {
        claim.source
        for claim in earlier
        if claim.item == "Fig. 5" and claim.verdict is not Verdict.NOT_MEASURED
    }
    names = sorted((one.name for one in experiments), key=lambda name: name != "celeba")
    return next((name for name in names if f"{name}/project" in shown), "fashion_mnist")
