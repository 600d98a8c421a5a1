"""The flags of verbs that work in chunks, which processes or a Dask cluster share."""

import dataclasses

from ddim_embed.cli import check_workers
from experiments.toolkit.command_line import Command


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chunked(Command):
    """A verb whose chunks, those of `embed_in_chunks`, can be computed elsewhere.

    Attributes:
        workers: processes that share the work in chunks.
        cluster: instead of them, the address of a Dask scheduler, such as tcp://host:8786.
    """

    workers: int = 1
    cluster: str | None = None

    def check(self):
        super().check()
        check_workers(self)

    @property
    def options(self):
        """Without these flags: no result depends on them but times."""
        return {k: v for k, v in super().options.items() if k not in ("workers", "cluster")}

    def surroundings(self):
        """Has joblib use the workers: `embed_in_chunks` asks it."""
        from ddim_embed import workers

        return workers.using(self.workers, self.cluster)
