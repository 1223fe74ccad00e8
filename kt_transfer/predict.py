"""``python -m kt_transfer.predict``: write predictions to a CSV file."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from kt_transfer import cli, runs
from kt_transfer.config import PredictConfig
from kt_transfer.errors import UserError


def run(**settings) -> Path:
    """The command as a function; ``settings`` are the fields of :class:`PredictConfig`.

    Returns:
        The CSV file: ``split`` and ``row`` of the example in its source, ``class_id``,
        ``label``, and a column ``probability_LABEL`` for each class.

    Example:
        >>> predict.run(model="saved_models/mnist/1", data="idx:new", out="new.csv")
        PosixPath('new.csv')
    """
    return execute(PredictConfig(**settings))


def execute(config: PredictConfig) -> Path:
    """Model, data, probabilities, CSV."""
    import pandas as pd

    from kt_transfer.data import load_data

    path = Path(config.out or f"runs/predict-{time.strftime('%Y%m%d-%H%M%S')}.csv")
    if path.exists() and not config.overwrite:
        raise runs.exists_already(path)
    spec, names, probabilities_of = _from_run(config) if config.run else _from_export(config)
    data = load_data(spec, data_dir=config.data_dir)
    parts = data.parts(config.split)
    probabilities = np.concatenate([probabilities_of(data, part.x) for part in parts])
    class_id = probabilities.argmax(axis=1)
    table = pd.DataFrame(
        {
            "split": np.concatenate([np.full(len(part.rows), part.name) for part in parts]),
            "row": np.concatenate([part.rows for part in parts]),
        }
    )
    table["class_id"] = class_id
    table["label"] = np.array(names)[class_id]
    for number, name in enumerate(names):
        table[f"probability_{name}"] = probabilities[:, number]
    # In the order of the source, where the test part was cut out of it.
    table = table.sort_values(["split", "row"], ascending=[False, True])
    with runs.replacing(path, overwrite=config.overwrite) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    cli.say(config)(f"{len(table)} predictions of {spec} in {path}")
    return path


def _from_run(config: PredictConfig):
    """Spec, class names and predictor of a run folder."""
    from kt_transfer.reporting.classification import softmax
    from kt_transfer.sources import require_examples
    from kt_transfer.training.steps import predict_raw

    source = runs.open_run(config.run)
    if source.is_autoencoder:
        raise UserError(
            f"--run {source.path} was given, expected a classifier, but it is an autoencoder: "
            f"run `python -m kt_transfer.finetune --source {source.path}` first."
        )
    network, preprocessing = source.load_model(), source.load_model("preprocessing.keras")

    def probabilities_of(data, x):
        require_examples(source, preprocessing, data)
        return softmax(predict_raw(network, preprocessing, x))

    return config.data or source.settings["data"], source.label_names, probabilities_of


def _from_export(config: PredictConfig):
    """Spec, class names and predictor of an exported model."""
    from kt_transfer.serving.saved_model import load_saved_model

    model, metadata = load_saved_model(config.model)
    if not metadata["labels"]:
        raise UserError(
            f"--model {config.model} was given, expected an exported classifier, but it is an "
            "autoencoder: export a fine-tuned or distilled run."
        )
    return config.data or metadata["data"], metadata["labels"], model


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    cli.main("predict", PredictConfig, execute, argv)


if __name__ == "__main__":
    main()
