"""Penalties that make a code sparse: each a function, in the table ``PENALTIES``.

Keras is imported only when a penalty is applied, so that settings can take their choices from here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Penalty:
    """A penalty on codes.

    Attributes:
        of: Function of a batch of codes, shape ``(batch, units)``, and of the wanted mean activity
            of a unit, to a scalar that is never negative: the mean penalty of an example.
        weight: Default of its weight λ, relative to a squared error summed over the features.
        activation: Activation of the code.
    """

    of: Callable
    weight: float
    activation: str = "relu"


def squared_l1(z, target=None):
    """‖z‖₁², the squared L1 norm of each code.

    Example:
        >>> float(squared_l1(np.array([[1.0, 2.0], [0.0, 1.0]])))
        5.0
    """
    from keras import ops

    return ops.mean(ops.square(ops.sum(ops.abs(z), axis=-1)))


def l1(z, target=None):
    """‖z‖₁, the L1 norm of each code.

    Example:
        >>> float(l1(np.array([[1.0, 2.0], [0.0, 1.0]])))
        2.0
    """
    from keras import ops

    return ops.mean(ops.sum(ops.abs(z), axis=-1))


def kl(z, target):
    """Σⱼ KL(ρ ‖ ρ̂ⱼ), ρ the target and ρ̂ⱼ the mean of unit j over the batch, across replicas.

    For codes between 0 and 1 (Ng, 2011,
    https://web.stanford.edu/class/cs294a/sparseAutoencoder.pdf).

    Example:
        >>> float(kl(np.array([[0.25, 0.5], [0.75, 0.5]], "float32"), 0.5))
        0.0
    """
    from keras import ops

    from kt_transfer.models.batch_penalties import replica_mean

    mean = ops.clip(replica_mean(z), 1e-7, 1.0 - 1e-7)
    return ops.sum(
        target * (ops.log(target) - ops.log(mean))
        + (1.0 - target) * (ops.log(1.0 - target) - ops.log(1.0 - mean))
    )


PENALTIES = {
    "squared_l1": Penalty(squared_l1, weight=1e-3),
    "l1": Penalty(l1, weight=1e-2),
    "kl": Penalty(kl, weight=1.0, activation="sigmoid"),
}
# Whatever makes a code sparse: a penalty, or the constraint that few units are not zero.
SPARSITIES = (*PENALTIES, "k_sparse")
