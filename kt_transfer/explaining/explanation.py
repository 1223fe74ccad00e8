"""Why a classifier answers as it does, for examples that it gets right, gets wrong or doubts."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from kt_transfer.data import Dataset
from kt_transfer.data.dataset import Part
from kt_transfer.engine.fused_model import FusedModel, scaling
from kt_transfer.explaining.choosing import choose_examples
from kt_transfer.explaining.columns import changes_by_column, importance_of_columns
from kt_transfer.explaining.gradients import integrated_gradients, on_floats
from kt_transfer.models.preprocessing import as_image
from kt_transfer.reporting.classification import softmax
from kt_transfer.reporting.explanations import (
    ColumnExplanation,
    Explained,
    Explanation,
    PixelExplanation,
)
from kt_transfer.reporting.wording import improvement

# In each group; a dozen in all.
OF_A_GROUP = 4
REPEATS = 5
# Columns are permuted among so many examples, fewer of them where there are many columns.
MOST_EXAMPLES, FEWEST_EXAMPLES, MOST_QUESTIONS = 1000, 100, 100_000
# Training examples that the mean picture is taken of, and whose values replace those of a row.
_OF_MEAN, _OTHERS = 2000, 50


def explain(
    network: keras.Model,
    preprocessing: keras.Model,
    data: Dataset,
    part: Part,
    *,
    metric: str,
    score: Callable,
    seed: int = 0,
) -> Explanation:
    """Explain the answers of a classifier to a part of a data set.

    Args:
        network: From inputs to logits.
        preprocessing: From raw examples to inputs.
        data: With the classes of the network. What stands for nothing is taken of its training
            part: the mean of its pictures, the values of its rows.
        part: Of the data; its examples with a label are explained, of which there is at least one.
        metric: A key of :data:`~kt_transfer.reporting.wording.METRICS`, in which columns are rated.
        score: The metric of labels and logits.
        seed: Of the permutations.

    Returns:
        Of pictures, what pixels contribute; of all else, what columns do, which are the values of
        an example where it is no row of a table.
    """
    known = np.flatnonzero(part.y >= 0)
    asked = FusedModel(network, transform=scaling(preprocessing))
    y = part.y[known]
    probabilities = softmax(asked.answers(part.x)[known].astype(np.float64))
    groups = choose_examples(y, probabilities, OF_A_GROUP)
    rows = np.concatenate(list(groups.values()))
    x = part.x[known[rows]]
    predicted = probabilities[rows].argmax(axis=1)
    examples = [
        Explained(
            group=group,
            row=int(part.rows[known[row]]),
            true=data.class_names[y[row]],
            predicted=data.class_names[probabilities[row].argmax()],
            probability=float(probabilities[row].max()),
        )
        for group, own in groups.items()
        for row in own
    ]
    if as_image(data.input_shape):
        return _of_pixels(network, preprocessing, data, examples, part.name, x, predicted)
    rng = np.random.default_rng(seed)
    permuted = _some(rng, len(y), _num_permuted(data.input_dim))
    others = _some(rng, len(_training(data)), _OTHERS)
    sign = improvement(metric, 1)

    def in_columns(x):
        return x.reshape(len(x), -1)

    def logits_of(x):
        return asked.answers(x.reshape(-1, *data.input_shape)).astype(np.float64)

    found = importance_of_columns(
        logits_of,
        in_columns(part.x[known[permuted]]),
        y[permuted],
        lambda y, logits: sign * score(y, logits),
        repeats=REPEATS,
        seed=seed,
    )
    changes = changes_by_column(
        lambda x: softmax(logits_of(x)),
        in_columns(x),
        predicted,
        in_columns(_training(data)[others]),
    )
    return ColumnExplanation(
        examples=examples,
        part=part.name,
        names=_names(data),
        metric=metric,
        score=sign * found.score,
        num_examples=len(permuted),
        repeats=REPEATS,
        importance=found.means,
        deviations=found.deviations,
        texts=_texts(data, in_columns(x)),
        changes=changes,
    )


def _of_pixels(network, preprocessing, data, examples, part, x, predicted) -> PixelExplanation:
    some = np.linspace(0, len(_training(data)) - 1, _OF_MEAN, dtype=int)
    baseline = _training(data)[np.unique(some)].mean(axis=0, dtype=np.float64)
    found = integrated_gradients(on_floats(network, preprocessing), x, predicted, baseline)
    values = found.values if found.values.ndim == 3 else found.values.sum(axis=-1)
    return PixelExplanation(
        examples=examples,
        part=part,
        pictures=x,
        value_range=data.value_range,
        attributions=values,
        differences=found.differences,
    )


def _training(data: Dataset):
    """The training examples; of data without any, the test examples."""
    return data.x if len(data.x) else data.x_test


def _some(rng: np.random.Generator, num: int, most: int) -> np.ndarray:
    """Rows at random, in order, none twice."""
    return np.sort(rng.permutation(num)[:most])


def _num_permuted(num_columns: int) -> int:
    """How many examples the columns are permuted among, so that it takes seconds."""
    return int(np.clip(MOST_QUESTIONS // (REPEATS * num_columns), FEWEST_EXAMPLES, MOST_EXAMPLES))


def _names(data: Dataset) -> list[str]:
    if data.schema is None:
        return [f"value {number}" for number in range(1, 1 + data.input_dim)]
    return list(data.schema.names)


def _texts(data: Dataset, x: np.ndarray) -> list[list[str]]:
    if data.schema is None:
        return [[f"{value:.4g}" for value in row] for row in x]
    return data.schema.texts_of(x)
