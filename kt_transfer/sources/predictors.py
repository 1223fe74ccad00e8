"""What predicts: a run, an exported model or a running server, as a function of raw examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pyarrow as pa

from kt_transfer.data.dataset import Dataset, Like
from kt_transfer.data.example_summary import ExampleSummary
from kt_transfer.engine.fused_model import FusedModel, scaling
from kt_transfer.engine.replicas import among_workers
from kt_transfer.errors import UserError
from kt_transfer.models.autoencoders import error_model
from kt_transfer.reporting.classification import softmax
from kt_transfer.runs.folder import Run
from kt_transfer.serving.loading import load_served
from kt_transfer.serving.remote import RemoteClassifier
from kt_transfer.sources.loading import adaptation_to, like, preprocessing_for_new


class Predictor(NamedTuple):
    """What predicts.

    Attributes:
        names: Names of the classes.
        like: The examples that it takes.
        data: The spec of its own data; ``None`` where that is not known.
        prepare: From a data set of such examples, which it checks, and a function that says a line,
            to a function of raw ones that gives probabilities, NaN for those that it has no answer
            to.
        unanswered: The rows that a server has not answered, without the answers; filled on the
            way.
        unusual: Tells which raw examples are unusual; ``None`` where that is not known.
        reasons: Why not.
    """

    names: list[str]
    like: Like
    data: str | None
    prepare: Callable[[Dataset, Callable], Callable[[np.ndarray], np.ndarray]]
    unanswered: list[pa.RecordBatch]
    unusual: Callable[[np.ndarray], np.ndarray] | None = None
    reasons: Sequence[str] = ()


def predictor_of_run(source: Run) -> Predictor:
    """The classifier of a run.

    Raises:
        UserError: If it is none.
    """
    network, raw = source.load_classifier()

    def prepare(data, say):
        preprocessing = preprocessing_for_new(source, raw, data, say)
        model = FusedModel(network, transform=scaling(preprocessing))
        answers = among_workers(model.strategy, model.answers)
        return lambda x: softmax(answers(x))

    wanted = like(raw, schema=source.schema)
    asked = Predictor(source.label_names, wanted, source.settings.get("data"), prepare, [])
    return asked._replace(unusual=_unusual_of_run(source, raw))


def _unusual_of_run(source: Run, preprocessing: keras.Model) -> Callable | None:
    """Tells which raw examples are unusual, as the run's export does."""
    (autoencoder, own), limit = source.load_autoencoder(), source.unusual_above
    if autoencoder is None or limit is None:
        return None
    own = own or preprocessing
    model = FusedModel(error_model(autoencoder), transform=scaling(own))
    errors = among_workers(model.strategy, model.answers)
    return lambda x: errors(x.astype(own.input.dtype)) > limit


def predictor_of_export(path: Path, trust: bool = False) -> Predictor:
    """An exported classifier of any format.

    Args:
        path: As for :func:`~kt_transfer.serving.loading.load_served`.
        trust: The same.

    Raises:
        UserError: If there is none.
    """
    model, metadata = load_served(path, trust=trust)
    if not metadata["labels"]:
        raise UserError(
            setting="model",
            given=path,
            expected="an exported classifier",
            but="it is an autoencoder",
            remedy="export a fine-tuned or distilled run",
        )
    # Only a SavedModel has the autoencoder beside the classifier.
    return _served(path, model, metadata)._replace(unusual=getattr(model, "unusual", None))


def predictor_of_server(url: str, model: Path | None = None) -> Predictor:
    """A classifier in a running TF Serving.

    Args:
        url: As for :class:`~kt_transfer.serving.remote.RemoteClassifier`.
        model: The same.

    Raises:
        UserError: If there is none.
    """
    remote = RemoteClassifier(url, model)
    return _served(url, remote, remote.metadata)._replace(reasons=remote.reasons)


def _served(who: object, model, metadata: dict) -> Predictor:
    def prepare(data, say):
        _require_alike(who, model, metadata, data, say)
        return model

    wanted = Like(model.shape, model.dtype, schema=model.schema)
    return Predictor(metadata["labels"], wanted, metadata["data"], prepare, [])


def _require_alike(who: object, model, metadata: dict, data: Dataset, say: Callable) -> None:
    """Refuse examples of another shape or in other units, and say how they are cast."""
    if data.input_shape != model.shape:
        raise UserError(
            given=data.spec,
            when=f"with examples of shape {data.input_shape}",
            but=f"{who} expects {model.shape}",
            remedy="give data of that shape",
        )
    summary = ExampleSummary.from_note(metadata.get("made_for"))
    if message := adaptation_to(who, summary, model.dtype, data):
        say(message)
