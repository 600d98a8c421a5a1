"""The verb `embed`: latents and reconstructions of a user's own images."""

import ddim_embed as de
from ddim_embed import commands
from experiments import inputs, results


def embed_files(config, files, method, folder=None, command=None):
    """Embeds image files, as `ddim_embed.commands.embed_files` does.

    Args:
        config: an `Experiment`.
        files: paths of images.
        method: a name of `de.METHODS`.
        folder: where to write; None for `embed` in the experiment's own.
        command: what a user would type to repeat it.

    Raises:
        FileNotFoundError: if weights are missing, or none of the files can be read.
    """
    commands.embed_files(
        de.load_generator(config.name, config.weights, config.num_steps),
        files,
        inputs.configured(config, method),
        folder or config.result_folder / "embed",
        config.seed,
        notes={"method": method, **results.provenance(config, command)},
    )
