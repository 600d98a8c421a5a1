"""Which command makes weights that are missing."""


def with_command(error):
    """The message of an error, with the command that makes the weights where they are missing.

    Args:
        error: an exception; the library's `MissingWeightsError` has a `dataset` and a `name`.
    """
    dataset, name = getattr(error, "dataset", None), getattr(error, "name", None)
    if dataset is None:
        return str(error)
    words = {
        "generator": f"{dataset} train",
        "features": f"features {dataset}",
        "alexnet": "lpips_weights ARRAYS.npz tests/golden/lpips_portraits.npz",
    }.get(name, f"{dataset} train-embedders {name}")
    return f"{error} Make them with `python -m experiments.{words}`."
