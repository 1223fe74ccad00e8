"""Classifiers: a backbone and a head that emits logits."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from kt_transfer.models.autoencoders import code_layer, dense_stack

# Logit of a class that has no examples: its probability is zero, its logarithm finite.
_NEVER = -1000.0
# Inverse regularization strengths to choose from, the strongest regularization first.
STRENGTHS = tuple(np.logspace(-4, 2, 7))
# Five folds of more examples than this cost more than they tell.
MANY_EXAMPLES = 10_000


def dense_encoder(
    input_dim: int, hidden_units: Sequence[int], latent_dim: int | None = None
) -> keras.Model:
    """A backbone of dense ReLU layers, with a code layer only where ``latent_dim`` is given.

    Args:
        input_dim: Features of one example.
        hidden_units: Widths of the hidden layers.
        latent_dim: Width of the layer ``"bottleneck"``; ``None`` for none.

    Returns:
        A functional model named ``"encoder"``, ``(batch, input_dim)`` to ``(batch, width)``.
    """
    x = keras.Input((input_dim,), name="features")
    code = dense_stack(x, hidden_units)
    if latent_dim:
        code = code_layer(code, latent_dim)
    return keras.Model(x, code, name="encoder")


def classifier(
    backbone: keras.Model, num_classes: int, *, dropout: float = 0.0, name: str = "classifier"
) -> keras.Model:
    """``backbone`` with a new dense head.

    Args:
        backbone: Functional model from ``(batch, features)``, or from images, to
            ``(batch, width)``; its layers and weights are shared, not copied.
        num_classes: Width of the head, the layer ``"head"``.
        dropout: Share of the backbone's outputs that is dropped during training, by a layer
            ``"dropout"`` before the head (Srivastava et al., 2014); 0 for none.
        name: Name of the model.

    Returns:
        A functional model from the same to logits of ``(batch, num_classes)``.

    Example:
        >>> model = classifier(dense_encoder(64, [32]), num_classes=10)
        >>> [layer.name for layer in model.layers]
        ['features', 'encoder', 'head']
    """
    x = keras.Input(backbone.input_shape[1:], name="features")
    features = backbone(x)
    if dropout:
        features = layers.Dropout(dropout, name="dropout")(features)
    return keras.Model(x, layers.Dense(num_classes, name="head")(features), name=name)


def after_encoder(model: keras.Model, features):
    """The logits that a classifier makes of what its layer ``"encoder"`` gives.

    Args:
        model: A classifier, as from :func:`classifier`.
        features: A symbolic tensor of ``(batch, width)``.

    Example:
        >>> model = classifier(dense_encoder(64, [32]), num_classes=10, dropout=0.5)
        >>> after_encoder(model, keras.Input((32,))).shape
        (None, 10)
    """
    for layer in model.layers[model.layers.index(model.get_layer("encoder")) + 1 :]:
        features = layer(features)
    return features


def fit_logistic_regression(
    features: np.ndarray, labels: np.ndarray, num_classes: int, *, seed: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Logistic regression with its regularization and scaling chosen inside the given examples.

    By five stratified folds, or fewer where a class has fewer examples: C, and whether each
    feature is scaled by its own deviation or all by one. A few examples know the deviation of a
    feature badly, and what rarely speaks is then heard too loud: on MNIST, 100 labels, features of
    a wide autoencoder, 24.8 % errors by its own, 20.4 % by one. Above ``MANY_EXAMPLES`` each by
    its own, and C by one stratified hold-out of 20 %: it rises until the held-out loss does, each
    fit starting at the one before. A class of one example leaves nothing to choose by: C is 1.

    Args:
        features: Shape ``(n, width)``; ``float32`` is kept.
        labels: Shape ``(n,)``, at least two classes; one without examples is never answered.
        num_classes: Number of classes.
        seed: Seed of the folds or the hold-out.

    Returns:
        Kernel ``(width, num_classes)`` and bias ``(num_classes,)`` for the features as they
        are (the scaler is folded in), and the inverse regularization strength C.
    """
    spread = float(features.std()) or 1.0
    present, counts = np.unique(labels, return_counts=True)
    scaler, regression = _fitted_regression(features / spread, labels, counts.min(), seed)
    coefficients, intercepts = regression.coef_.T, regression.intercept_
    if len(present) == 2:  # one column of log-odds: as two logits
        coefficients = np.hstack([np.zeros_like(coefficients), coefficients])
        intercepts = np.concatenate([np.zeros_like(intercepts), intercepts])
    kernel = np.zeros((features.shape[1], num_classes))
    bias = np.full(num_classes, _NEVER)
    scale = 1.0 if scaler.scale_ is None else scaler.scale_[:, None]
    kernel[:, present] = coefficients / (spread * scale)
    bias[present] = intercepts - spread * scaler.mean_ @ kernel[:, present]
    return kernel.astype("float32"), bias.astype("float32"), float(regression.C)


def _fitted_regression(features, labels, smallest_class: int, seed: int):
    """The scaler and the regression on what it makes of the features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    if smallest_class > 1 and len(labels) > MANY_EXAMPLES:
        return _fitted_along_path(features, labels, seed)
    each, together = StandardScaler(), StandardScaler(with_std=False)
    pipeline = Pipeline([("scaler", each), ("regression", LogisticRegression(max_iter=1000))])
    # Threads wait for one another over products this small: one alone takes a tenth of the time.
    with threadpool_limits(1, user_api="blas"):
        if smallest_class < 2:  # it cannot be both in a fold and outside it
            fitted = pipeline.fit(features, labels)
        else:
            folds = StratifiedKFold(min(5, smallest_class), shuffle=True, random_state=seed)
            grid = {"scaler": [each, together], "regression__C": STRENGTHS}
            search = GridSearchCV(pipeline, grid, cv=folds, scoring="neg_log_loss")
            fitted = search.fit(features, labels).best_estimator_
    return fitted["scaler"], fitted["regression"]


def _fitted_along_path(features, labels, seed: int):
    """C by one hold-out; then all examples with it."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features)
    scaled = scaler.transform(features)
    x, held_x, y, held_y = train_test_split(
        scaled, labels, test_size=0.2, stratify=labels, random_state=seed
    )
    regression = LogisticRegression(max_iter=300, warm_start=True)
    best, lowest = STRENGTHS[0], np.inf
    with warnings.catch_warnings():
        # Fits that stop early are judged as they are.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for strength in STRENGTHS:
            regression.set_params(C=strength).fit(x, y)
            loss = log_loss(held_y, regression.predict_proba(held_x), labels=regression.classes_)
            if loss >= lowest:
                break
            best, lowest = strength, loss
        return scaler, regression.set_params(C=best).fit(scaled, labels)
