"""Learning rates that differ from layer to layer.

It relies on a private method of Keras's optimizers (``_get_variable_index``);
``tests/training/test_layerwise.py`` fails if it changes.
"""

from __future__ import annotations

from collections.abc import Iterable

import keras


class LayerwiseAdam(keras.optimizers.Adam):
    """Adam with a learning-rate factor for each variable.

    Adam normalizes gradients by their size, so scaling a gradient has no effect; the learning
    rate of the variable's step is scaled instead.

    Args:
        factors: Pairs of a variable and its factor, 0 or more; other variables have a factor of 1.
        **kwargs: Arguments of ``keras.optimizers.Adam``.

    Example:
        >>> encoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> optimizer = LayerwiseAdam([(v, 0.1) for v in encoder.trainable_variables])
    """

    def __init__(self, factors: Iterable[tuple[keras.Variable, float]], **kwargs):
        super().__init__(**kwargs)
        # Keyed by identity, since Keras variables compare by value.
        self._factors_by_id = {id(variable): factor for variable, factor in factors}
        self._factors: list[float] = []

    def build(self, variables):
        """Create the moments, and order the factors as the variables."""
        super().build(variables)
        self._factors = [self._factors_by_id.get(id(variable), 1.0) for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable."""
        factor = self._factors[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * factor)


def decayed_rates(names: Iterable[str], decay: float) -> dict[str, float]:
    """Learning-rate factors by layer: 1 for the last, multiplied by ``decay`` for each one before.

    Discriminative fine-tuning (Howard & Ruder, 2018, https://arxiv.org/abs/1801.06146).

    Args:
        names: Names of the layers, input to output.
        decay: The factor from one layer to the one before, above 0 and at most 1.

    Example:
        >>> decayed_rates(["hidden_1", "hidden_2", "head"], 0.5)
        {'hidden_1': 0.25, 'hidden_2': 0.5, 'head': 1.0}
    """
    names = list(names)
    return {name: decay ** (len(names) - 1 - n) for n, name in enumerate(names)}


def factors_of_variables(layers: dict, rates: dict[str, float]) -> list[tuple]:
    """Pairs of a variable and its factor, for the layers that occur in ``rates``."""
    return [
        (variable, rates[name])
        for name, layer in layers.items()
        if name in rates
        for variable in layer.weights
    ]
