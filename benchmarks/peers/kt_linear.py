"""Ours: ``linear`` or ``features`` on few pictures of many values, as ``compare`` fits them."""

import sys
from pathlib import Path

import common
import keras
import numpy as np

from kt_transfer.methods import BY_NAME
from kt_transfer.methods.learning import Examples, Problem, Start
from kt_transfer.methods.reconstruction import AutoencoderLearner
from kt_transfer.methods.steps import Steps
from kt_transfer.models.autoencoders import dense_autoencoder
from kt_transfer.models.preprocessing import preprocessing_model

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
from photographs import crops, originals  # noqa: E402

HEIGHT, WIDTH, EACH = 96, 128, 12


def pictures(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Twelve crops of each of three photographs, and which it is."""
    rng = np.random.default_rng(seed)
    found = [
        (np.asarray(crop.resize((WIDTH, HEIGHT))), label)
        for label, photograph in enumerate(originals().values())
        for crop in crops(photograph, EACH, rng)
    ]
    x, y = zip(*found, strict=True)
    return np.stack(x), np.array(y)


def main() -> None:
    args = common.arguments(method="linear", fits=10)
    keras.utils.set_random_seed(common.SEED)
    x, y = pictures(common.SEED)
    flat = preprocessing_model(x.shape[1:], (0.0, 255.0), x.dtype, flatten=True)
    autoencoder = dense_autoencoder(HEIGHT * WIDTH * 3, (500,), 500)
    method, weights = BY_NAME[args.method](), None
    if method.needs_source:
        steps = Steps(epochs=args.epochs, batch_size=32, learning_rate=common.LEARNING_RATE)
        pretraining = AutoencoderLearner(autoencoder, flat, steps, len(x))
        pretraining.learn(x, seed=common.SEED)
        weights = pretraining.encoder_weights
    problem = Problem(3, len(x), autoencoder.get_layer("encoder"), flat, flat=flat)
    learner = method.prepare(problem)
    others, labels = pictures(common.SEED + 1000)
    accuracies = []
    for number in range(args.fits):
        learned = learner.learn(Examples(x, y), seed=number, start=Start(weights))
        accuracies.append(np.mean(learned.logits(others).argmax(axis=1) == labels))
    common.finish(**({"val_accuracy": np.mean(accuracies)} if accuracies else {}))


if __name__ == "__main__":
    main()
