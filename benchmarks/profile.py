"""Where the time of our own decode and gradient goes, by kind of operation.

python -m benchmarks.profile --size 32x32x1
"""

import collections
import dataclasses
import json
import re
import sys

import numpy as np
import tyro

from benchmarks.work import SIZES

PROFILED = ("decode", "gradient")
_RUNS = 5
# First match counts. Names are those of the graph that runs, after oneDNN's rewriting.
_KINDS = {
    "convolutions": r"Conv2D|MatMul",
    "swish, its gradient, bias maps (XLA)": r"Xla|PartitionedCall",
    "bilinear upsampling": r"Resize",
    "concatenation and slices": r"Concat|Slice|Split",
    "average pooling": r"AvgPool",
    "additions and biases": r"Add|BiasAdd|Sum",
    "bfloat16 conversions": r"Cast",
}
OTHER = "other"


def profile(piece, size, batch, precision="bfloat16"):
    """Seconds that each kind of operation takes, all cores together.

    The graph of `benchmarks.ours` is run with TensorFlow's own tracing of operations.

    Args:
        piece: one of `PROFILED`.
        size: a `benchmarks.work.Size`.
        batch: images at a time.
        precision: of the convolutions.

    Returns:
        Dict with "shares" (kind of operation -> share of the busy time), "busy" (share of the
        cores' time in which an operation ran) and "seconds" per batch.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    import ddim_embed as de
    from benchmarks import ours

    de.use_one_core_per_operation()
    _, latents, function = ours.make_function(piece, size, batch, precision)
    concrete = function.get_concrete_function(tf.TensorSpec(latents.shape, tf.float32))
    concrete = convert_variables_to_constants_v2(concrete)  # a graph of its own, without inputs
    options = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.FULL_TRACE)
    times, spans = collections.Counter(), []
    cores = tf.config.threading.get_inter_op_parallelism_threads() or 1
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=cores
    )
    with tf.compat.v1.Session(graph=concrete.graph, config=config) as session:
        feeds = {concrete.inputs[0].name: latents.numpy()}
        for _ in range(_RUNS + 2):
            metadata = tf.compat.v1.RunMetadata()
            session.run(concrete.outputs[0].op.name, feeds, options, metadata)
            spans.append(_add_times(metadata.step_stats, times))
            if len(spans) <= 2:  # the first runs compile
                times.clear()
    busy = sum(times.values())
    seconds = float(np.sum(spans[2:]))
    return {
        "shares": {kind: time / busy for kind, time in times.most_common()},
        "busy": busy / (seconds * cores),
        "seconds": seconds / _RUNS,
    }


def _add_times(stats, times):
    """Adds the seconds of each kind of operation; returns those from first to last."""
    nodes = [node for device in stats.dev_stats for node in device.node_stats]
    for node in nodes:
        operation = _operation(node)
        kind = next((k for k, words in _KINDS.items() if re.search(words, operation)), OTHER)
        times[kind] += node.op_end_rel_micros * 1e-6
    starts = [node.all_start_micros for node in nodes]
    ends = [node.all_start_micros + node.all_end_rel_micros for node in nodes]
    return (max(ends) - min(starts)) * 1e-6


def _operation(node):
    """The type of the operation: labels read `name = Type(inputs)`."""
    found = re.search(r"= *(\w+)\(", node.timeline_label)
    return found.group(1) if found else node.node_name


def table(profiles):
    """Profiles as text: a dict from piece of work to what `profile` returned."""
    kinds = sorted(
        {kind for found in profiles.values() for kind in found["shares"]},
        key=lambda kind: -max(found["shares"].get(kind, 0) for found in profiles.values()),
    )
    lines = [f"{'share of the busy time':40}" + "".join(f"{piece:>12}" for piece in profiles)]
    for kind in kinds:
        shares = "".join(f"{found['shares'].get(kind, 0):12.1%}" for found in profiles.values())
        lines.append(f"{kind:40}{shares}")
    busy = "".join(f"{found['busy']:12.1%}" for found in profiles.values())
    return "\n".join([*lines, f"{'cores busy':40}{busy}"])


@dataclasses.dataclass(frozen=True)
class Options:
    """What to profile.

    Attributes:
        size: of network and images.
        batch: images at a time; 0 for the least of the size's.
        json: whether to print JSON in place of a table.
    """

    size: str = "32x32x1"
    batch: int = 0
    json: bool = False


def main(options):
    """Prints the profiles."""
    size = SIZES[options.size]
    batch = options.batch or size.batches[0]
    profiles = {piece: profile(piece, size, batch) for piece in PROFILED}
    sys.stdout.write((json.dumps(profiles) if options.json else table(profiles)) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
