"""What the benchmarks read, made once into ``cache/``: MNIST as arrays, two trained runs.

Made by processes of their own, so that whoever asks stays small.
"""

from __future__ import annotations

import sys
from pathlib import Path

import measuring

MILLION = 1_000_000


def mnist() -> None:
    """``train.npy``, ``test.npy`` (``uint8``, flat) and their labels."""
    if not (measuring.CACHE / "test_labels.npy").exists():
        measuring.progress("preparing MNIST")
        measuring.run(measuring.python(__file__, "mnist"))


def million() -> Path:
    """A million rows on disk: MNIST again and again."""
    mnist()
    path = measuring.CACHE / "million.npy"
    if not path.exists():
        measuring.progress(f"preparing {path}")
        measuring.run(measuring.python(__file__, "million"))
    return path


def trained(name: str, *flags) -> Path:
    """The run folder that a command of ours writes."""
    path = measuring.CACHE / name
    if not (path / "metrics.json").exists():
        measuring.progress(f"preparing {path}")
        command = measuring.python("-m", *flags, "--out", path, "--overwrite", "--quiet")
        measuring.run(command)
    return path


def _write_mnist() -> None:
    import numpy as np

    from kt_transfer.data import load_data

    data = load_data("tfds:mnist")
    measuring.CACHE.mkdir(exist_ok=True)
    np.save(measuring.CACHE / "train.npy", data.x.reshape(len(data.x), -1))
    np.save(measuring.CACHE / "test.npy", data.x_test.reshape(len(data.x_test), -1))
    np.save(measuring.CACHE / "train_labels.npy", data.y)
    np.save(measuring.CACHE / "test_labels.npy", data.y_test)


def _write_million() -> None:
    import numpy as np

    train = np.load(measuring.CACHE / "train.npy")
    path, unfinished = measuring.CACHE / "million.npy", measuring.CACHE / "unfinished.npy"
    rows = np.lib.format.open_memmap(unfinished, "w+", np.uint8, (MILLION, train.shape[1]))
    for start in range(0, MILLION, len(train)):
        part = rows[start : start + len(train)]
        part[:] = train[: len(part)]
    rows.flush()
    unfinished.rename(path)


if __name__ == "__main__":
    {"mnist": _write_mnist, "million": _write_million}[sys.argv[1]]()
