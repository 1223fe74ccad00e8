"""Data that is not resident: arrays in blocks, and a ``tf.data.Dataset``, against stock Keras.

The work is that of ``pretraining_epoch.py``.
"""

import statistics

import inputs
import measuring
from measuring import Goal, Way, peer

ARRAYS = Way(
    "kt_transfer, arrays beyond the memory budget",
    lambda epochs: peer("kt_autoencoder", feed="arrays", epochs=epochs),
)
DATASET = Way(
    "kt_transfer, tf.data.Dataset",
    lambda epochs: peer("kt_autoencoder", feed="dataset", epochs=epochs),
)
KERAS = Way(
    "Keras fit, tf.data, jit_compile, steps_per_execution",
    lambda epochs: peer("keras_dataset", epochs=epochs),
)

TRIED = """
From arrays an epoch takes hardly longer than with resident data: the next block is read while one
trains. A `tf.data.Dataset` that shuffles single examples takes 0.14 s of a core for an epoch by
itself, and the products of the training keep both cores busy, so that these seconds come on top;
at each epoch's end its buffer of 60,000 examples is filled anew, of which the last block and the
evaluation hide a part. Reading two and four blocks ahead instead of one, over the end of the epoch
too, made no difference that stood out from the noise (medians of 15 epochs, twice each: one 0.53
and 0.81 s, two 0.49 and 0.49 s, four 0.77 and 0.48 s)."""


def main() -> None:
    args = measuring.arguments(__doc__, short=3, long=15)
    inputs.mnist()
    ways = [ARRAYS, DATASET, KERAS]
    measured = measuring.measure(ways, args.rounds, (args.short, args.long))
    seconds = {way.name: measured.slopes(way.name) for way in ways}
    goals = [
        Goal(
            f"Keras, as above; {way.name}",
            statistics.median(measuring.ratios(seconds[KERAS.name], seconds[way.name])),
            2,
        )
        for way in (ARRAYS, DATASET)
    ]
    slower = min((ARRAYS, DATASET), key=lambda way: -statistics.median(seconds[way.name]))
    measuring.write(
        "streaming",
        "One epoch, data streamed",
        "The work of [pretraining_epoch](pretraining_epoch.md). Both datasets are "
        "`from_tensor_slices(uint8).shuffle(60000).batch(64).prefetch(AUTOTUNE)`; stock Keras "
        "scales in a `map` over batches, ours in the program. Seconds are slopes of whole "
        f"processes, ({args.long} epochs − {args.short} epochs) / {args.long - args.short}: median "
        f"(range) of {args.rounds} alternating rounds.",
        measuring.comparison(measured, seconds, "held-out loss"),
        measuring.goals_table(goals),
        measuring.profile_if_missed(goals, slower.command(args.long), TRIED),
    )


if __name__ == "__main__":
    main()
