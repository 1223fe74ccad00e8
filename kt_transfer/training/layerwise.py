"""Learning rates that differ from layer to layer.

This module stands on a private method of Keras's optimizers (``_get_variable_index``);
``tests/training/test_layerwise.py`` says plainly when it moves.
"""

from __future__ import annotations

import keras


class LayerwiseAdam(keras.optimizers.Adam):
    """Adam whose step, not its gradient, is scaled for each variable.

    Adam divides by the gradients' own size, so scaling a gradient changes nothing; here the
    learning rate with which a variable's step is taken is multiplied by the variable's factor.

    Args:
        factors: ``{variable: factor}``, 0 or more; variables that are not in it have 1.
        **kwargs: Those of ``keras.optimizers.Adam``.

    Example:
        >>> optimizer = LayerwiseAdam({v: 0.1 for v in encoder.trainable_variables})
    """

    def __init__(self, factors: dict, **kwargs):
        super().__init__(**kwargs)
        self._factors_by_id = {id(variable): factor for variable, factor in factors.items()}
        self._factors: list[float] = []

    def build(self, variables):
        """Make the moments, and put the factors in the order of the variables."""
        super().build(variables)
        self._factors = [self._factors_by_id.get(id(variable), 1.0) for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        """One step of one variable."""
        factor = self._factors[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * factor)


def decayed_rates(layers: list[keras.layers.Layer], decay: float) -> dict[str, float]:
    """Factors of the learning rate by layer: 1 for the last, ``decay`` times less each before.

    Discriminative fine-tuning (Howard & Ruder, 2018, https://arxiv.org/abs/1801.06146).

    Args:
        layers: Layers in their order, input to output; those without weights are left out.
        decay: R, above 0 and at most 1.

    Example:
        >>> decayed_rates([first, second, head], 0.5)
        {'hidden_1': 0.25, 'hidden_2': 0.5, 'head': 1.0}
    """
    names = [layer.name for layer in layers if layer.weights]
    return {name: decay ** (len(names) - 1 - n) for n, name in enumerate(names)}


def factors_of_variables(layers: list[keras.layers.Layer], rates: dict[str, float]) -> dict:
    """``{variable: factor}`` of the layers that ``rates`` names."""
    return {
        variable: rates[layer.name]
        for layer in layers
        if layer.name in rates
        for variable in layer.weights
    }
