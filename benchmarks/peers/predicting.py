"""Predicts a million rows: by ``keras.Model.predict`` from memory, or by our command to a file."""

import argparse
import tempfile
import time
from pathlib import Path

import common


def keras_predict(run: Path, x, batch_size: int) -> float:
    """Seconds of ``predict`` alone, from raw rows in memory to probabilities in memory."""
    import keras

    preprocessing, network = (
        keras.saving.load_model(run / name, compile=False)
        for name in ("preprocessing.keras", "model.keras")
    )
    model = keras.Model(preprocessing.input, keras.ops.softmax(network(preprocessing.output)))
    began = time.perf_counter()
    model.predict(x, batch_size=batch_size, verbose=0)
    return time.perf_counter() - began


def in_memory(args):
    """The rows as the model takes them."""
    import numpy as np

    with np.load(args.data.removeprefix("npz:")) as file:
        return file["x"]


def our_predict(args) -> float:
    """Seconds from the start of the command to a complete file; imports are done."""
    from kt_transfer import predict

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        predict.run(
            run=args.run, data=args.data, out=Path(folder) / f"out{args.suffix}", quiet=True
        )
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path)
    parser.add_argument("--data")
    parser.add_argument("--suffix", default=".csv")
    parser.add_argument("--keras-batch", type=int)
    args = parser.parse_args()
    if args.keras_batch:
        seconds = keras_predict(args.run, in_memory(args), args.keras_batch)
    else:
        seconds = our_predict(args)
    common.finish(seconds=seconds)


if __name__ == "__main__":
    main()
