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

    if args.data.startswith("npz:"):
        with np.load(args.data.removeprefix("npz:")) as file:
            return file["x"]
    from kt_transfer.data import Like, load_data
    from kt_transfer.runs.folder import open_run

    schema = open_run(args.run).schema
    like = Like((len(schema),), "float64", schema=schema)
    data = load_data(args.data, like=like)
    return np.concatenate([data.x, data.x_test])


def our_predict(args) -> float:
    """Seconds from the start of the command to a complete file; imports are done."""
    from kt_transfer import predict

    by = {"model": args.model} if args.model else {"run": args.run}
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        predict.run(**by, data=args.data, out=Path(folder) / f"out{args.suffix}", quiet=True)
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path)
    parser.add_argument("--model", type=Path)
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
