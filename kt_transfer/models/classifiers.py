"""Classifiers: a backbone and a head that emits logits."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from kt_transfer.errors import TrainingFailed
from kt_transfer.models.autoencoders import code_layer, dense_stack
from kt_transfer.reporting.classification import cross_entropies

# Logit of a class without examples: its probability is zero, and its log-probability finite.
_NEVER = -1000.0
# Candidate inverse regularization strengths, strongest regularization first.
STRENGTHS = tuple(np.logspace(-4, 2, 7))
# Above this, five-fold cross-validation costs more than it gains over a hold-out.
MANY_EXAMPLES = 10_000
# From so many columns for each example on, regression takes place in the span of the examples.
FAR_WIDER = 32
# More columns than these, and than examples, are rotated into that span in every fold: of 200
# pictures of 30 x 32 x 3 it takes 10 s of CPU in place of 84, to the same optimum.
WIDE = 1_000


def dense_encoder(
    input_dim: int, hidden_units: Sequence[int], latent_dim: int | None = None
) -> keras.Model:
    """A backbone of dense ReLU layers, with a code layer if ``latent_dim`` is given.

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
    """Add a new dense head to a backbone.

    Args:
        backbone: Functional model from ``(batch, features)`` or images to ``(batch, width)``; its
            layers and weights are shared, not copied.
        num_classes: Width of the head, the layer ``"head"``.
        dropout: Rate of a layer ``"dropout"`` before the head (Srivastava et al., 2014); 0 for
            none.
        name: Name of the model.

    Returns:
        A functional model from the same input to ``(batch, num_classes)`` logits.

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
    """Apply the layers of a classifier that follow its layer ``"encoder"``.

    Args:
        model: A classifier, as from :func:`classifier`.
        features: Symbolic output of the encoder, ``(batch, width)``.

    Example:
        >>> model = classifier(dense_encoder(64, [32]), num_classes=10, dropout=0.5)
        >>> after_encoder(model, keras.Input((32,))).shape
        (None, 10)
    """
    for layer in model.layers[model.layers.index(model.get_layer("encoder")) + 1 :]:
        features = layer(features)
    return features


def head_of(model: keras.Model) -> keras.Model:
    """The layers of a classifier that follow its encoder, as a model of features.

    Example:
        >>> head_of(classifier(dense_encoder(64, [32]), num_classes=10)).input_shape
        (None, 32)
    """
    features = keras.Input(model.get_layer("encoder").output_shape[1:], name="features")
    return keras.Model(features, after_encoder(model, features), name="head_on_features")


def compile_classifier(network: keras.Model, optimizer) -> None:
    """Cross-entropy of logits, and accuracy."""
    network.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )


def fit_logistic_regression(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    seed: int,
    copies: np.ndarray | None = None,
    sample_weight: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Fit logistic regression, choosing regularization and scaling on the given examples.

    Five stratified folds, or fewer if a class has fewer examples, choose C and whether features
    are scaled individually or by a common standard deviation. Few examples estimate the deviation
    of a feature poorly, and rarely active features are then amplified: on MNIST with 100 labels
    and the features of a wide autoencoder, 24.8 % errors with individual scaling, 20.4 % with a
    common one. Above ``MANY_EXAMPLES``, features are scaled individually and C is chosen on one
    stratified hold-out of 20 %: it increases until the held-out loss does, with warm starts.
    Copies of an example are never split, and the only example of a class is never held out. If no
    class has two examples, C is 1.

    Args:
        features: Shape ``(n, width)``; ``float32`` is kept.
        labels: Shape ``(n,)``, at least two classes; a class without examples is never predicted.
        num_classes: Number of classes.
        seed: Seed of the folds or the hold-out.
        copies: A number for each example, shared by equal ones; ``None`` if all differ.
        sample_weight: Relative weights of the examples, shape ``(n,)``; ``None`` for equal ones.
            Held-out examples of the folds have equal weights.

    Returns:
        Kernel ``(width, num_classes)`` and bias ``(num_classes,)`` for unscaled features (the
        scaler is folded in), and the inverse regularization strength C.

    Raises:
        TrainingFailed: If the features are not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        spread = float(features.std()) or 1.0
    if not np.isfinite(spread):
        raise TrainingFailed(
            "logistic regression was given features that are not finite or too large, expected "
            "numbers that can be squared: the network that gives them has diverged; give another "
            "source, or pretrain with a smaller learning rate."
        )
    present = np.unique(labels)
    copies = np.arange(len(labels)) if copies is None else np.unique(copies, return_inverse=True)[1]
    if sample_weight is not None:  # sums to n, so that C means the same as without weights
        sample_weight = sample_weight / np.mean(sample_weight)
    given = features / spread, labels, copies, _judged(labels, copies), seed, sample_weight
    is_far_wider = features.shape[1] > FAR_WIDER * len(features)
    scaler, regression = (_fitted_in_span if is_far_wider else _fitted_regression)(*given)
    coefficients, intercepts = regression.coef_.T, regression.intercept_
    if len(present) == 2:  # one column of log-odds becomes two logits
        coefficients = np.hstack([np.zeros_like(coefficients), coefficients])
        intercepts = np.concatenate([np.zeros_like(intercepts), intercepts])
    kernel = np.zeros((features.shape[1], num_classes))
    bias = np.full(num_classes, _NEVER)
    scale = 1.0 if scaler.scale_ is None else scaler.scale_[:, None]
    kernel[:, present] = coefficients / (spread * scale)
    bias[present] = intercepts - spread * scaler.mean_ @ kernel[:, present]
    return kernel.astype("float32"), bias.astype("float32"), float(regression.C)


def _fitted_in_span(features, labels, copies, judged, seed: int, weights):
    """The same as :func:`_fitted_regression` where columns are many times as many as examples.

    The kernel is a combination of the examples, so that rotating them into the space that they
    span keeps the solution, with as many columns as examples. The scaling is that of all given
    examples, also while C is chosen.
    """
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    candidates = []
    for scaler in (StandardScaler(), StandardScaler(with_std=False)):
        scaled = scaler.fit_transform(features, sample_weight=weights)
        # On one thread, as all the rest of this: 36 examples of 36,864 columns take 0.08 s, and
        # on two that wait for each other 1.4.
        with threadpool_limits(1, user_api="blas"):
            left, singular, rotation = np.linalg.svd(scaled, full_matrices=False)
        as_it_is = StandardScaler(with_mean=False, with_std=False)
        _, regression, score = _searched(
            left * singular, labels, copies, judged, seed, weights, scalers=[as_it_is]
        )
        regression.coef_ = regression.coef_ @ rotation
        candidates.append((score, scaler, regression))
    _, scaler, regression = max(candidates, key=lambda candidate: candidate[0])
    return scaler, regression


def _fitted_regression(features, labels, copies, judged, seed: int, weights):
    """The fitted scaler and the regression on the scaled features."""
    from sklearn.preprocessing import StandardScaler

    if judged.smallest_class > 1 and len(labels) > MANY_EXAMPLES:
        return _fitted_along_path(features, labels, copies, judged, seed, weights)
    scalers = [StandardScaler(), StandardScaler(with_std=False)]
    return _searched(features, labels, copies, judged, seed, weights, scalers)[:2]


def _searched(features, labels, copies, judged, seed: int, weights, scalers):
    """The scaler and the regression that folds choose, fitted on all examples, and their score."""
    from sklearn import config_context
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    numbers, label_of, smallest_class = judged
    # With products this small, threads mostly wait for each other: one takes a tenth of the time.
    # Sample weights are passed by name, whatever metadata routing the caller has configured.
    with threadpool_limits(1, user_api="blas"), config_context(enable_metadata_routing=False):
        if smallest_class < 2:  # too few to be both trained on and held out
            scaler, strength, score = scalers[0], 1.0, 0.0
        else:
            folds = StratifiedKFold(min(5, smallest_class), shuffle=True, random_state=seed)
            splits = [
                _with_copies(copies, numbers[held]) for _, held in folds.split(numbers, label_of)
            ]
            losses = [
                [_losses_along_path(features, labels, weights, scaler, *split) for split in splits]
                for scaler in scalers
            ]
            means = np.mean(losses, axis=1)  # (scalers, strengths)
            place, chosen = np.unravel_index(means.argmin(), means.shape)
            scaler, strength, score = scalers[place], STRENGTHS[chosen], -means.min()
        scaled = scaler.fit(features, sample_weight=weights).transform(features)
        (regression,) = _path(scaled, labels, weights, [strength])
    return scaler, regression, score


def _losses_along_path(features, labels, weights, scaler, rows, held) -> list[float]:
    """The log loss of held-out examples at each strength."""
    weights = None if weights is None else weights[rows]
    scaled = scaler.fit(features[rows], sample_weight=weights).transform(features[rows])
    held_out, losses = scaler.transform(features[held]), []
    for regression in _path(scaled, labels[rows], weights, STRENGTHS):
        logits = held_out @ regression.coef_.T + regression.intercept_
        if logits.shape[1] == 1:  # the log-odds of two classes
            logits = np.hstack([np.zeros_like(logits), logits])
        true = np.searchsorted(regression.classes_, labels[held])
        losses.append(cross_entropies(true, logits).mean())
    return losses


def _path(scaled, labels, weights, strengths) -> Iterator:
    """The regression on scaled features, fitted at each strength."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression

    rotation = None
    if scaled.shape[1] > max(WIDE, len(scaled)):
        # Of all components: it leaves nothing out, and so changes no solution.
        rotation = PCA(svd_solver="full").fit(scaled)
        scaled = rotation.transform(scaled)
    for strength in strengths:
        regression = LogisticRegression(C=strength, max_iter=1000)
        regression.fit(scaled, labels, weights)
        if rotation is not None:
            regression.coef_ = regression.coef_ @ rotation.components_
            regression.intercept_ = regression.intercept_ - regression.coef_ @ rotation.mean_
        yield regression


class _Judged(NamedTuple):
    """Distinct examples that may be held out.

    Attributes:
        numbers: Their numbers of copies.
        labels: Their labels.
        smallest_class: Size of the smallest class among them.
    """

    numbers: np.ndarray
    labels: np.ndarray
    smallest_class: int


def _judged(labels, copies) -> _Judged:
    """The examples that regularization may be chosen by."""
    first = np.sort(np.unique(copies, return_index=True)[1])
    present, inverse, counts = np.unique(labels[first], return_inverse=True, return_counts=True)
    # A class may occur only as a contradictory copy of another example.
    single = np.union1d(present[counts < 2], np.setdiff1d(labels, present))
    needed = copies[np.isin(labels, single)]
    kept = (counts[inverse] > 1) & ~np.isin(copies[first], needed)
    judged = first[kept]
    remaining = np.unique(labels[judged], return_counts=True)[1]
    return _Judged(copies[judged], labels[judged], min(remaining, default=0))


def _with_copies(copies: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Training rows and held-out rows, given the numbers of the held-out examples."""
    out = np.isin(copies, held)
    return np.flatnonzero(~out), np.flatnonzero(out)


def _fitted_along_path(features, labels, copies, judged, seed: int, weights):
    """Choose C on one hold-out, then fit on all examples."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features, sample_weight=weights)
    scaled = scaler.transform(features)
    halves = train_test_split(
        judged.numbers, test_size=0.2, stratify=judged.labels, random_state=seed
    )
    place = np.full(len(labels), len(labels))  # in the order of this split
    for half in halves:
        place[half] = np.arange(len(half))
    rows, held = (
        some[np.argsort(place[copies[some]], kind="stable")]
        for some in _with_copies(copies, halves[1])
    )
    weight, held_weight = (None, None) if weights is None else (weights[rows], weights[held])
    x, y, held_x, held_y = scaled[rows], labels[rows], scaled[held], labels[held]
    regression = LogisticRegression(max_iter=300, warm_start=True)
    best, lowest = STRENGTHS[0], np.inf
    with warnings.catch_warnings():
        # Fits that stop before convergence are scored as they are.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for strength in STRENGTHS:
            regression.set_params(C=strength).fit(x, y, weight)
            answers = regression.predict_proba(held_x)
            loss = log_loss(held_y, answers, sample_weight=held_weight, labels=regression.classes_)
            if loss >= lowest:
                break
            best, lowest = strength, loss
        return scaler, regression.set_params(C=best).fit(scaled, labels, weights)
