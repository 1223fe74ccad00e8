"""The ways of transferring as a scikit-learn classifier."""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
import time
import warnings

import keras
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import FunctionTransformer, LabelEncoder
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from kt_transfer import __version__
from kt_transfer.comparison import arguments
from kt_transfer.comparison.comparison import Comparison, Source
from kt_transfer.data.dataset import UNLABELLED
from kt_transfer.data.labels import has_label
from kt_transfer.data.ranges import column_ranges, observed_range, scaled_rows
from kt_transfer.data.schema import Schema
from kt_transfer.data.table_features import Layout, category_sizes, features_of
from kt_transfer.data.tables import schema_of
from kt_transfer.errors import UserError
from kt_transfer.methods import BY_NAME
from kt_transfer.methods.candidates import method_with
from kt_transfer.methods.reconstruction import AutoencoderLearner
from kt_transfer.methods.steps import Steps
from kt_transfer.models.autoencoders import dense_autoencoder, transferable_encoder
from kt_transfer.models.preprocessing import preprocessing_model
from kt_transfer.reporting.classification import softmax

_ROWS_AT_ONCE, _ROWS_TOGETHER = 4096, 64


class TransferClassifier(ClassifierMixin, BaseEstimator):
    """A classifier that also learns from examples without a label, each method of ``compare``.

    What ``fit`` is given is all that it sees: by it each feature is scaled to [-1, 1], from its
    median and how far most of its values lie from that (what lies further is compressed, so that
    outliers do not flatten the rest), the autoencoder is trained on all of it, labelled or not, and
    everything else on what has a label. So it can stand in ``cross_validate``, ``GridSearchCV``
    and pipelines.

    A label of -1 means none, as in scikit-learn's own semi-supervised classifiers; among names
    it may be ``"-1"``, and what is missing (``None``, NaN, ``pandas.NA``) is none either. Only
    where that would leave a single class, in ``y`` of -1 and one other number, are these two
    taken as the two classes, with a warning.

    Args:
        method: ``"parameters"`` (the pretrained encoder, trained further), ``"features"`` (its
            features, with logistic regression), ``"distilled"`` (a student of ``parameters``),
            ``"propagated"`` (a fresh network, taught by labels that spread among the unlabelled
            examples), ``"vat"`` (that network, taught to answer alike all around them as well),
            ``"scratch"`` (the same network without pretraining) or ``"linear"``
            (logistic regression on the scaled input).
        hidden_units: Widths of the encoder's hidden layers.
        latent_dim: Width of its code.
        student_units: Widths of the student's hidden layers (``"distilled"``).
        noise: Share of the inputs that is dropped in pretraining, from 0 to below 1.
        epochs: Passes over the labelled examples.
        pretrain_epochs: Passes over all examples in pretraining.
        batch_size: Examples per step.
        learning_rate: Of Adam, in all that is trained; ``None``: 1e-3, and 1e-4 where pretrained
            parameters are trained further.
        augment: Random views of the examples for every network that learns the labels, such as
            ``"affine"`` (images, turned and shifted a little) or ``"noise:0.1"``; ``None`` for
            none.
        image_shape: ``(height, width)`` or ``(height, width, channels)`` where features are the
            pixels of an image, row by row: they are then scaled together, not each by itself.
        memory: Folder, or ``joblib.Memory``, in which pretraining is kept: fits of the same
            examples with the same seed that differ in what comes after it, as in a grid search,
            pretrain once. By default nothing is kept. With ``random_state=None`` no two are the
            same.
        random_state: Seed, ``RandomState`` or ``Generator`` of all that is random; an integer
            repeats exactly.

    Attributes:
        classes_: The classes, ascending.
        network_: The classifier, a functional Keras model from scaled features to logits.
        scaler_: What scales the features.
        schema_: What the columns of a data frame are, as for ``csv:`` files; ``None`` for numbers
            alone.
        n_features_in_: Number of features.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> from kt_transfer import TransferClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> y[100:] = -1  # no label
        >>> classifier = TransferClassifier("features", pretrain_epochs=2, random_state=0)
        >>> classifier = classifier.fit(X, y)
        >>> classifier.predict_proba(X).shape
        (1797, 10)
    """

    def __init__(
        self,
        method="parameters",
        *,
        hidden_units=(500,),
        latent_dim=500,
        student_units=(64,),
        noise=0.7,
        epochs=100,
        pretrain_epochs=50,
        batch_size=32,
        learning_rate=None,
        augment=None,
        image_shape=None,
        memory=None,
        random_state=None,
    ):
        self.method = method
        self.hidden_units = hidden_units
        self.latent_dim = latent_dim
        self.student_units = student_units
        self.noise = noise
        self.epochs = epochs
        self.pretrain_epochs = pretrain_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.augment = augment
        self.image_shape = image_shape
        self.memory = memory
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None):
        """Learn from features and labels.

        Args:
            X: Shape ``(n, features)``; or a ``pandas.DataFrame`` with columns of words, dates,
                truth values and missing cells, each of which is found out as for ``csv:`` files.
            y: Shape ``(n,)``, numbers or names of classes; ``-1`` for no label.
            sample_weight: Shape ``(n,)``, how much each example counts beside the others, in
                pretraining too; only their ratios matter. One of weight 0 is left out of
                everything, scaling and ``classes_`` included.

        Returns:
            The classifier itself.

        Raises:
            ValueError: If there are fewer than two classes, a setting is out of range, or the
                training diverges.
        """
        settings = self._settings()
        missing = arguments.missing_labels(y)
        if missing.any():
            y = np.where(missing, UNLABELLED, np.asarray(y, object))
        self.schema_, is_table = None, arguments.is_table(X)
        if is_table:
            X = arguments.named_frame(X)
            X, y = validate_data(self, X, y, skip_check_array=True)
            y = column_or_1d(y)
            check_consistent_length(X, y)
        else:
            X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        weights = arguments.weights_of(sample_weight, len(X))
        X, y, weights = X[weights > 0], y[weights > 0], weights[weights > 0]
        labelled = _labelled(y, has_missing=missing.any())
        known = _in_one_type(y[labelled])
        check_classification_targets(known)
        encoder = LabelEncoder().fit(known)
        self.classes_ = encoder.classes_
        if len(self.classes_) < 2:
            raise ValueError(
                f"y was given with {len(self.classes_)} class, expected at least 2 classes: give "
                "examples of another."
            )
        labels = np.full(len(y), UNLABELLED)
        labels[labelled] = encoder.transform(known)
        if is_table:
            settings.pop("image_shape")
            self.schema_, self.scaler_, sizes = _features_of_table(X)
            self.network_ = self._learn(self._scaled(X), labels, weights, settings, sizes)
            return self
        shape = settings.pop("image_shape") or X.shape[1:]
        if math.prod(shape) != X.shape[1]:
            raise ValueError(
                f"image_shape {self.image_shape!r} was given, expected one of {X.shape[1]} pixels, "
                "as many as there are features"
            )
        value_range = column_ranges(X) if len(shape) == 1 else observed_range(X)
        self.scaler_ = FunctionTransformer(scaled_rows, kw_args={"value_range": value_range})
        x = self._scaled(X).reshape(-1, *shape)
        self.network_ = self._learn(x, labels, weights, settings, ())
        return self

    def predict_proba(self, X):
        """Probabilities of the classes, ``(n, features)`` to ``(n, classes)``."""
        check_is_fitted(self)
        if self.schema_ is not None:
            X = arguments.named_frame(X) if hasattr(X, "columns") else X
            X = validate_data(self, X, skip_check_array=True, reset=False)
            if not len(X):
                return np.empty((0, len(self.classes_)))
        else:
            X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        X = self._scaled(X)
        # Filled up, so that an answer does not depend on how many are asked for: the products of
        # a few rows are rounded in another way than those of many.
        filled = np.pad(X, [(0, -len(X) % _ROWS_TOGETHER), (0, 0)])
        logits = [
            self.network_(filled[start : start + _ROWS_AT_ONCE]).numpy()
            for start in range(0, len(filled), _ROWS_AT_ONCE)
        ]
        return softmax(np.concatenate(logits)[: len(X)].astype(np.float64))

    def predict(self, X):
        """The most probable class of each example, ``(n, features)`` to ``(n,)``."""
        most_probable = self.predict_proba(X).argmax(axis=1)
        return self.classes_[most_probable]

    def _learn(
        self, x, labels: np.ndarray, weights: np.ndarray, settings: dict, category_sizes: tuple
    ) -> keras.Model:
        """The winner's refit of a comparison that has one candidate."""
        as_it_is = preprocessing_model(x.shape[1:], (-1.0, 1.0), "float32")
        method = method_with(self.method, **settings)
        source = self._source(x, as_it_is, settings, method.needs_source, category_sizes)
        with tempfile.TemporaryDirectory() as folder:
            try:
                comparison = Comparison(
                    x,
                    labels,
                    num_classes=len(self.classes_),
                    preprocessing=as_it_is,
                    budgets=[int((labels != UNLABELLED).sum())],
                    num_folds=2,
                    seed=arguments.seed_from(self.random_state),
                    methods={self.method: method},
                    sources=[source],
                    folder=folder,
                    value_range=(-1.0, 1.0) if x.ndim == 2 else observed_range(x),
                    # Alike, they are none: the same fit as without.
                    sample_weight=None if (weights == weights[0]).all() else weights,
                )
                (candidate,) = comparison.candidates
                learned = comparison.refit(*candidate)[0].network
            except UserError as error:
                raise ValueError(str(error)) from error
        # Without what its training needed.
        network = type(learned).from_config(learned.get_config())
        network.set_weights(learned.get_weights())
        return network

    def _source(
        self,
        x: np.ndarray,
        preprocessing: keras.Model,
        settings: dict,
        is_pretrained: bool,
        category_sizes: tuple[int, ...],
    ) -> Source:
        autoencoder = dense_autoencoder(
            math.prod(x.shape[1:]),
            settings["hidden_units"],
            settings["latent_dim"],
            noise=settings["noise"],
            category_sizes=category_sizes,
        )
        pretraining = None
        if is_pretrained:
            shared = ("batch_size", "learning_rate")
            steps = {name: settings[name] for name in shared if name in settings}
            steps = Steps(epochs=settings["pretrain_epochs"], **steps)
            pretraining = AutoencoderLearner(autoencoder, preprocessing, steps, len(x))
            if self.memory is not None:
                named = ("hidden_units", "latent_dim", "noise")
                recipe = {name: settings[name] for name in named} | dataclasses.asdict(steps)
                recipe |= {"shape": x.shape[1:], "category_sizes": category_sizes}
                pretraining = _Kept(pretraining, recipe, arguments.memory_of(self.memory))
        return Source("X", transferable_encoder(autoencoder), preprocessing, pretraining)

    def _scaled(self, X) -> np.ndarray:
        return self.scaler_.transform(X)

    def _settings(self) -> dict:
        """The settings that are given, as plain Python has them; ``ValueError`` for a bad one."""
        if not isinstance(self.method, str) or self.method not in BY_NAME:
            raise ValueError(f"method {self.method!r} was given, expected {', '.join(BY_NAME)}")
        if self.memory is not None:
            arguments.memory_of(self.memory)
        given = {name: getattr(self, name) for name in _CHECKS}
        for name in ("learning_rate", "augment"):  # each method has its own
            if given[name] is None:
                del given[name]
        return {name: _CHECKS[name](name, value) for name, value in given.items()}


class _Kept:
    """Pretraining that is read where it was done before: by examples, weights, seed and recipe.

    Args:
        learner: What does it, and holds the autoencoder.
        recipe: All that decides the result beside what ``learn`` is given.
        memory: Where results are kept.
    """

    def __init__(self, learner: AutoencoderLearner, recipe: dict, memory):
        # One string: joblib's hash of a dictionary depends on which of its parts are one object.
        self.learner, self.recipe = learner, json.dumps(recipe | {"version": __version__})
        self.autoencoder, self.preprocessing = learner.autoencoder, learner.preprocessing
        self._pretrained = memory.cache(_pretrained, ignore=["learner", "callbacks"])

    @property
    def encoder_weights(self) -> list[np.ndarray]:
        """What is transferred."""
        return self.learner.encoder_weights

    def learn(self, x, *, seed: int, sample_weight=None, callbacks=()) -> float:
        """Learn, or read what was learned; the seconds that it took."""
        began = time.perf_counter()
        weights = self._pretrained(self.learner, x, seed, sample_weight, self.recipe, callbacks)
        self.autoencoder.set_weights(weights)
        return time.perf_counter() - began


def _pretrained(learner, x, seed, sample_weight, recipe, callbacks) -> list[np.ndarray]:
    learner.learn(x, seed=seed, sample_weight=sample_weight, callbacks=callbacks)
    return learner.autoencoder.get_weights()


_CHECKS = {
    "hidden_units": arguments.widths,
    "latent_dim": arguments.whole_number,
    "student_units": arguments.widths,
    "noise": arguments.share,
    "epochs": arguments.whole_number,
    "pretrain_epochs": arguments.whole_number,
    "batch_size": arguments.whole_number,
    "learning_rate": arguments.rate,
    "augment": arguments.views,
    "image_shape": arguments.image_shape,
}


def _features_of_table(frame) -> tuple[Schema, FunctionTransformer, tuple[int, ...]]:
    """The columns of a frame, what makes features of its rows, and how many of each category."""
    try:
        schema = schema_of(frame)
        rows = schema.matrix(frame)
    except UserError as error:
        raise ValueError(str(error)) from error
    layout = Layout(features_of(schema, rows), schema)
    scaled = preprocessing_model(rows.shape[1:], column_ranges(rows), "float64", layout=layout)
    given = {"schema": schema, "preprocessing": scaled}
    scaler = FunctionTransformer(_rows_of_table, kw_args=given)
    return schema, scaler, category_sizes(layout.features)


def _rows_of_table(frame, schema: Schema, preprocessing: keras.Model) -> np.ndarray:
    if not hasattr(frame, "columns"):
        raise ValueError(
            "an array was given, expected a data frame with the columns of the one that fit was "
            "given: give such a frame"
        )
    try:
        rows = schema.matrix(frame)
    except UserError as error:
        raise ValueError(str(error)) from error
    pieces = [
        np.asarray(preprocessing(rows[start : start + _ROWS_AT_ONCE]))
        for start in range(0, len(rows), _ROWS_AT_ONCE)
    ]
    return np.concatenate(pieces)


def _labelled(y: np.ndarray, has_missing: bool) -> np.ndarray:
    """Which examples have a label."""
    labelled = has_label(y)
    if labelled.all() or has_missing:
        return labelled
    known = set(y[labelled])
    if len(known) != 1 or isinstance(*known, str):
        return labelled
    warnings.warn(
        "y holds -1 and one other value: taken as two classes, since with -1 as no label "
        "there would be one",
        stacklevel=3,
    )
    return np.ones(len(y), bool)


def _in_one_type(known: np.ndarray) -> np.ndarray:
    """Numbers that came among other things, in the type of numbers."""
    if known.dtype.kind != "O" or any(isinstance(value, str) for value in known):
        return known
    return np.array(known.tolist())
