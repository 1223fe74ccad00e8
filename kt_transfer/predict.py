"""``python -m kt_transfer.predict``: write predictions to a CSV file."""

from __future__ import annotations

if __name__ == "__main__":  # answers --help and reports errors before TensorFlow is imported
    import sys

    from kt_transfer.shell.entry import main

    sys.exit(main(["predict", *sys.argv[1:]]))

import dataclasses
import time
from pathlib import Path

import numpy as np

from kt_transfer.data import Like
from kt_transfer.data.example_summary import ExampleSummary
from kt_transfer.engine.fused_model import predict_raw
from kt_transfer.errors import UserError
from kt_transfer.files.spreadsheets import without_formulas
from kt_transfer.reporting.classification import softmax
from kt_transfer.runs import folder as runs
from kt_transfer.runs import session
from kt_transfer.serving.saved_model import load_saved_model
from kt_transfer.settings import PredictConfig
from kt_transfer.settings.calling import takes
from kt_transfer.sources.loading import adaptation_to, like, preprocessing_for_new
from kt_transfer.sources.predictions import BESIDE, PREFIX


@takes(PredictConfig)
def run(config: PredictConfig) -> Path:
    """The command as a function; its settings are the fields of :class:`PredictConfig`.

    Returns:
        The CSV file: ``split`` and ``row`` of the example in its source, ``class_id``,
        ``label``, and a column ``probability_LABEL`` for each class.

    Example:
        >>> from kt_transfer import predict
        >>> predict.run(model="saved_models/digits/1", data="digits", out="new.csv", quiet=True)
        PosixPath('new.csv')
    """
    return execute(config)


def execute(config: PredictConfig) -> Path:
    """Run the command."""
    import pandas as pd

    path = Path(config.out or f"runs/predict-{time.strftime('%Y%m%d-%H%M%S')}.csv")
    if path.exists() and not config.overwrite:
        raise runs.exists_already(path)
    config, spec, names, predictor, like = _from_run(config) if config.run else _from_export(config)
    data = session.load_data(config, spec, like=like)
    probabilities_of, parts = predictor(data), data.parts(config.split)
    probabilities = np.concatenate([probabilities_of(part.x) for part in parts])
    class_id = probabilities.argmax(axis=1)
    table = pd.DataFrame(
        {
            "split": np.concatenate([np.full(len(part.rows), part.name) for part in parts]),
            "row": np.concatenate([part.rows for part in parts]),
        }
    )
    if data.ids is not None:
        taken = (*BESIDE, *(f"{PREFIX}{name}" for name in names))
        own = "id" if config.id in taken else config.id
        table[own] = np.concatenate([data.ids[part.rows] for part in parts])
    table["class_id"] = class_id
    table["label"] = np.array(names)[class_id]
    for number, name in enumerate(names):
        table[f"{PREFIX}{name}"] = probabilities[:, number]
    # In the order of the source, from which the test part may have been split off.
    table = table.sort_values(["split", "row"], ascending=[False, True])
    with runs.replacing(path, overwrite=config.overwrite) as temporary:
        # But for the ids, by which the answers are joined.
        safe = without_formulas(table)
        if data.ids is not None:
            safe[own] = table[own]
        safe.to_csv(temporary, index=False, float_format="%.6g")
    of_parts = " and ".join(part.name for part in parts)
    s = "s" if len(table) != 1 else ""
    session.say(config)(f"{len(table)} prediction{s} of {spec} ({of_parts}) in {path}")
    return path


def _from_run(config: PredictConfig):
    """The config, spec, class names and predictor of a run folder, and the form of its examples."""
    source = runs.open_run(config.run)
    network, raw = source.load_classifier()

    def predictor(data):
        preprocessing = preprocessing_for_new(source, raw, data, session.say(config))
        return lambda x: softmax(predict_raw(network, preprocessing, x))

    wanted = like(raw, schema=source.schema)
    spec = config.data or source.data
    return session.reading_as(source, config), spec, source.label_names, predictor, wanted


def _from_export(config: PredictConfig):
    """The same for an exported model."""
    model, metadata = load_saved_model(config.model, trust=config.trust_model)
    if not metadata["labels"]:
        raise UserError(
            setting="model",
            given=config.model,
            expected="an exported classifier",
            but="it is an autoencoder",
            remedy="export a fine-tuned or distilled run",
        )

    def predictor(data):
        if data.input_shape != model.shape:
            raise UserError(
                given=data.spec,
                when=f"with examples of shape {data.input_shape}",
                but=f"{config.model} expects {model.shape}",
                remedy="give data of that shape",
            )
        summary = ExampleSummary.from_note(metadata.get("made_for"))
        if message := adaptation_to(config.model, summary, model.dtype, data):
            session.say(config)(message)
        return model

    like = Like(model.shape, model.dtype, schema=model.schema)
    if model.schema is not None and config.label_column is None:
        config = dataclasses.replace(config, label_column=model.schema.label_column)
    return config, config.data or metadata["data"], metadata["labels"], predictor, like
