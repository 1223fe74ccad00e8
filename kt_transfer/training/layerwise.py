"""Learning rates that differ from layer to layer.

This module stands on a private method of Keras's optimizers (``_get_variable_index``);
``tests/training/test_layerwise.py`` says plainly when it moves.
"""

from __future__ import annotations

from collections.abc import Iterable

import keras


class LayerwiseAdam(keras.optimizers.Adam):
    """Adam whose step, not its gradient, is scaled for each variable.

    Adam divides by the gradients' own size, so scaling a gradient changes nothing; here the
    learning rate with which a variable's step is taken is multiplied by the variable's factor.

    Args:
        factors: Pairs of a variable and its factor, 0 or more; all others have 1.
        **kwargs: Those of ``keras.optimizers.Adam``.

    Example:
        >>> encoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> optimizer = LayerwiseAdam([(v, 0.1) for v in encoder.trainable_variables])
    """

    def __init__(self, factors: Iterable[tuple[keras.Variable, float]], **kwargs):
        super().__init__(**kwargs)
        # By identity: Keras's variables compare by value.
        self._factors_by_id = {id(variable): factor for variable, factor in factors}
        self._factors: list[float] = []

    def build(self, variables):
        """Make the moments, and put the factors in the order of the variables."""
        super().build(variables)
        self._factors = [self._factors_by_id.get(id(variable), 1.0) for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        """One step of one variable."""
        factor = self._factors[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * factor)


def decayed_rates(names: Iterable[str], decay: float) -> dict[str, float]:
    """Factors of the learning rate by layer: 1 for the last, ``decay`` times less each before.

    Discriminative fine-tuning (Howard & Ruder, 2018, https://arxiv.org/abs/1801.06146).

    Args:
        names: Names of the layers, input to output.
        decay: R, above 0 and at most 1.

    Example:
        >>> decayed_rates(["hidden_1", "hidden_2", "head"], 0.5)
        {'hidden_1': 0.25, 'hidden_2': 0.5, 'head': 1.0}
    """
    names = list(names)
    return {name: decay ** (len(names) - 1 - n) for n, name in enumerate(names)}


def factors_of_variables(layers: dict, rates: dict[str, float]) -> list[tuple]:
    """Variables with their factors, of the layers, by name, that ``rates`` names."""
    return [
        (variable, rates[name])
        for name, layer in layers.items()
        if name in rates
        for variable in layer.weights
    ]
