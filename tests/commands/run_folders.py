"""What several tests of the commands look at, and how they make a training short."""

import keras
import numpy as np

QUICK = ("--epochs", 2, "--strategy", "one_device", "--jit-compile", "no")
# Without the same network trained from scratch beside it, which takes as long again.
ALONE = ("--compare-scratch", "no")


def listing(*folders):
    """Every file with its content, every folder."""
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for folder in folders
        for path in sorted(folder.rglob("*"))
    }


def accuracy(labels, logits):
    return (logits.argmax(axis=1) == labels).mean()


def logits_of(run, x):
    preprocessing, model = (
        keras.saving.load_model(run / name) for name in ("preprocessing.keras", "model.keras")
    )
    return model.predict(preprocessing.predict(x, verbose=0), verbose=0)


LOAD = """
import sys
sys.modules["kt_transfer"] = None
import keras
for path in sys.argv[1:]:
    print(keras.saving.load_model(path).name)
"""


def encoder_weights(run, name="model.keras"):
    encoder = keras.saving.load_model(run / name, compile=False).get_layer("encoder")
    return {layer.name: layer.get_weights() for layer in encoder.layers if layer.weights}


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def write_npz(path, classes=3, shape=(8, 8), rows=60):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 17, (rows, *shape), dtype=np.uint8)
    np.savez(path, x=x, y=np.arange(rows) % classes)
