"""Steps and records that all training commands share."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from kt_transfer.data import Dataset
from kt_transfer.data.example_summary import summarize
from kt_transfer.data.ranges import Range
from kt_transfer.data.remarks import remarks, require_variety
from kt_transfer.data.rows import take_rows
from kt_transfer.data.splits import without_copies_of
from kt_transfer.data.table_features import Layout
from kt_transfer.engine.fused_model import predict_raw
from kt_transfer.engine.strategy import choose_strategy, wait_no_longer_than
from kt_transfer.models.autoencoders import error_model
from kt_transfer.models.preprocessing import (
    can_take,
    preprocessing_model,
    raw_values,
    takes_images,
)
from kt_transfer.reporting.classification import classification_metrics
from kt_transfer.reporting.plots import plot_history
from kt_transfer.runs.folder import Run
from kt_transfer.runs.workers import agree_on_data
from kt_transfer.training.callbacks import Checkpoint, EpochLog, read_history
from kt_transfer.training.progress import Progress

# Number of examples over all epochs, and its product with the number of parameters, up to which
# training takes seconds.
CHEAP_EXAMPLES, CHEAP_PRODUCT = 200_000, 5e10
# Examples that a run keeps, to check and to try what is served; of large pictures fewer.
_MOST_KEPT, _MOST_BYTES_KEPT = 256, 16 * 2**20
# What is noted of the reconstruction errors of training examples, of so many of them.
_QUANTILES, _MOST_RECONSTRUCTED = (0.5, 0.9, 0.95, 0.99, 0.999), 10_000
# How long TensorFlow may take until all workers' servers have found one another.
_SECONDS_TO_START = 10.0


def begin(run: Run, config):
    """Fix every seed and choose the strategy; noted in ``run.json``."""
    name = config.strategy
    if run.cluster is not None:
        # None is waited for that is not about to do the same.
        run.cluster.agree()
        wait_no_longer_than(_SECONDS_TO_START)
        name = "multi_worker"
    strategy = choose_strategy(name, config.num_devices)
    keras.utils.set_random_seed(config.seed)
    run.update_json(
        "run.json",
        strategy=type(strategy).__name__,
        num_replicas=strategy.num_replicas_in_sync,
    )
    return strategy


def check_data(say: Callable, data: Dataset, num_folds: int | None = None) -> None:
    """Refuse data that cannot be learned from, and print remarks about the data."""
    require_variety(data)
    for line in remarks(data, num_folds):
        say(line)


def note_data(run: Run, data: Dataset, **splits: np.ndarray) -> None:
    """Record the data, its classes, the rows of each split, and some examples of ``train``.

    Of several workers, all have to have the same.
    """
    agree_on_data(run, data.spec, data.fingerprint)
    run.write_json("labels.json", {"labels": list(data.class_names)})
    run.write_arrays("splits.npz", **splits, test=np.arange(len(data.x_test)))
    note = {"spec": data.spec, "fingerprint": data.fingerprint, "notes": data.notes}
    note["labelled"] = data.num_labelled
    if data.left_out:
        note["left_out"] = [{"file": file, "what": what} for file, what in data.left_out]
    run.update_json("run.json", data=note, made_for=summarize(data).to_note())
    if data.layout is not None:
        run.write_json("schema.json", data.schema.to_note() | {"features": data.layout.features})
    if "train" in splits:
        _keep_examples(run, data, splits["train"])


def _keep_examples(run: Run, data: Dataset, rows: np.ndarray) -> None:
    """Write ``examples.npz``: some training examples, raw, with the labels that the data have.

    They are in random order, so that the first few are as good a sample as all.
    """
    size = data.input_dim * data.x.dtype.itemsize
    most = min(_MOST_KEPT, max(1, _MOST_BYTES_KEPT // size))
    rng = np.random.default_rng(run.settings.get("seed", 0))
    some = rng.permutation(rows)[:most]
    run.write_arrays("examples.npz", x=take_rows(data.x, some)[:], y=data.y[some])


def preprocessing_for(network, data: Dataset):
    """The preprocessing model from a data set to a network, flat or as images."""
    return preprocessing_model(
        data.input_shape,
        data.scaling_range,
        data.x.dtype,
        flatten=not takes_images(network),
        layout=data.layout,
    )


def reconstructed(autoencoder, preprocessing, x, scaling_range: Range, layout: Layout | None):
    """Examples and what an autoencoder makes of them, both in raw values; of a table, features."""
    outputs = predict_raw(autoencoder, preprocessing, x)
    if layout is not None:
        return np.asarray(preprocessing(x)), outputs
    return x, raw_values(outputs, x.shape[1:], scaling_range)


def squared_errors(autoencoder, preprocessing, x) -> np.ndarray:
    """‖x − x̂‖² of each raw example, ``(n, ...)`` to ``(n,)``."""
    return predict_raw(error_model(autoencoder), preprocessing, x)


def note_usual_errors(run: Run, autoencoder, preprocessing, data: Dataset) -> None:
    """Record how well training examples are reconstructed, by which new ones are called unusual.

    Those of the whole training part but what is held out, since a classifier may know few labels.
    """
    held_out = run.read_arrays("splits.npz")["validation"]
    rows = without_copies_of(held_out, data.copies)
    rng = np.random.default_rng(run.settings.get("seed", 0))
    rows = np.sort(rng.permutation(rows)[:_MOST_RECONSTRUCTED])
    errors = squared_errors(autoencoder, preprocessing, take_rows(data.x, rows))
    quantiles = np.quantile(errors.astype(np.float64), _QUANTILES)
    note = {"quantiles": dict(zip(map(str, _QUANTILES), quantiles.tolist(), strict=True))}
    run.update_json("run.json", reconstruction_error=note | {"num_examples": len(rows)})


def watching(run: Run, epochs: int, title: str, quiet: bool) -> list[keras.callbacks.Callback]:
    """The callbacks that write a run's files while it trains, and show its progress.

    Args:
        run: Gets ``history.csv``, TensorBoard's ``logs/`` and a ``checkpoint/``, from which a
            resumed run continues exactly.
        epochs: Epochs of the whole fit.
        title: Title of the progress bar.
        quiet: Whether to leave the progress bar out.
    """
    callbacks = [
        EpochLog(run.path / "history.csv"),
        keras.callbacks.TensorBoard(run.path / "logs", write_graph=False),
        Checkpoint(run.checkpoint, writes=run.is_chief),
    ]
    return callbacks + ([Progress(epochs, title)] if run.is_chief and not quiet else [])


def history_of(run: Run) -> list[dict]:
    """The rows of ``history.csv``, one for each epoch since the very start."""
    return read_history(run.path / "history.csv")


def wants_scratch(config, num_examples: int, network) -> bool:
    """Whether to run the same training from scratch, by ``--compare-scratch``."""
    examples = num_examples * config.epochs
    cheap = examples <= CHEAP_EXAMPLES and examples * network.count_params() <= CHEAP_PRODUCT
    return config.compare_scratch == "yes" or (config.compare_scratch == "auto" and cheap)


def save_classifier(run: Run, network, preprocessing, source: Run | None, data: Dataset) -> None:
    """Save the models, with the autoencoder that the chain of runs started from.

    An autoencoder whose inputs differ from the classifier's (for example, if a student takes larger
    images than the source) is omitted: served, it would receive inputs unlike those it was trained
    on.
    """
    run.save_model("model.keras", network)
    run.save_model("preprocessing.keras", preprocessing)
    autoencoder = _autoencoder_of(source)
    if autoencoder is not None:
        save_autoencoder(run, autoencoder, preprocessing, data)


def save_autoencoder(run: Run, autoencoder, preprocessing, data: Dataset) -> None:
    """Save the autoencoder of a classifier's chain, if it takes the same raw examples."""
    if autoencoder.input_shape != preprocessing.output_shape:
        if not can_take(autoencoder, data.input_shape):
            return
        # For example, a student takes flat examples, and the autoencoder images.
        preprocessing = preprocessing_for(autoencoder, data)
        run.save_model("autoencoder_preprocessing.keras", preprocessing)
    run.save_model("autoencoder.keras", autoencoder)
    note_usual_errors(run, autoencoder, preprocessing, data)


def _autoencoder_of(source: Run | None):
    if source is None:
        return None
    if source.is_autoencoder:
        return source.load_model()
    return source.load_model("autoencoder.keras") if source.has("autoencoder.keras") else None


def test_metrics(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Accuracy, loss and calibration error; empty without labels."""
    return classification_metrics(labels, logits) if (labels >= 0).any() else {}


def classifier_metrics(network, preprocessing, data: Dataset, validation: np.ndarray) -> dict:
    """The content of ``metrics.json`` for a classifier."""
    logits = predict_raw(network, preprocessing, data.x_test)
    metrics = {
        "test": test_metrics(data.y_test, logits),
        "num_parameters": network.count_params(),
    }
    if len(validation):
        held_out = predict_raw(network, preprocessing, take_rows(data.x, validation))
        metrics["validation"] = test_metrics(data.y[validation], held_out)
    return metrics


def plot_classifier(run: Run, history: list[dict], scratch: list[dict] = ()) -> None:
    """Plot a classifier's training beside the same training from scratch."""
    if history:
        plot_history(history, run.folder("plots") / "loss.png", scratch)
