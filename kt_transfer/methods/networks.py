"""How a whole network learns: from scratch, or from a source's parameters."""

from __future__ import annotations

import keras
import numpy as np

from kt_transfer.data.rows import quarter_of_memory
from kt_transfer.engine.fused_model import scaling
from kt_transfer.errors import settings_named
from kt_transfer.methods.layered import Layered
from kt_transfer.methods.learning import (
    Examples,
    Learned,
    Problem,
    RepeatedFit,
    Start,
    copy_of,
    regress,
    start_fresh,
)
from kt_transfer.models.classifiers import classifier, compile_classifier
from kt_transfer.models.freezing import freeze_layers, layers_with_weights, split_frozen
from kt_transfer.training.layerwise import LayerwiseAdam, decayed_rates, factors_of_variables
from kt_transfer.training.schedules import Stage, unfreezing


class NetworkLearner:
    """A classifier that is trained as a whole, stage by stage where layers are unlocked in turn.

    Args:
        method: Its settings, a :class:`~.scratch.Scratch` or :class:`~.parameters.Parameters`.
        problem: With ``encoder`` and ``preprocessing``.

    Example:
        >>> from kt_transfer import load_data
        >>> from kt_transfer.methods import Scratch
        >>> from kt_transfer.models.classifiers import dense_encoder
        >>> from kt_transfer.models.preprocessing import preprocessing_model
        >>> data = load_data("digits")
        >>> scaled = preprocessing_model(data.input_shape, data.scaling_range, data.x.dtype)
        >>> problem = Problem(10, 100, dense_encoder(64, [32]), scaled)
        >>> learner = Scratch(epochs=2).prepare(problem)
        >>> learned = learner.learn(Examples(data.x[:100], data.y[:100]), seed=0)
        >>> learned.logits(data.x_test[:5]).shape
        (5, 10)
    """

    def __init__(self, method: Layered, problem: Problem):
        self.method, self.problem = method, problem
        self.preprocessing = problem.preprocessing
        encoder = copy_of(problem.encoder)
        self.network = classifier(encoder, problem.num_classes, dropout=method.dropout)
        with settings_named(count="freeze"):  # a number that cannot be is refused here
            freeze_layers(encoder, method.freeze)
        num_layers = len(layers_with_weights(encoder))
        self._stages = unfreezing(
            num_layers,
            method.epochs,
            num_frozen=num_layers if method.freeze == "all" else method.freeze,
            head_epochs=method.head_epochs,
            unfreeze_every=method.unfreeze_every,
        )
        self._prepared: dict[Stage, tuple] = {}

    @property
    def learning_rates(self) -> tuple[float, dict[str, float]]:
        """The initial learning rate, and its factor by layer."""
        names = layers_with_weights(self.network)
        return self.method.learning_rate, decayed_rates(names, self.method.layer_decay)

    def take(self, method: Layered) -> None:
        """Go on with other settings of those that the method may be given anew."""
        self.method = method
        for _, fit in self._prepared.values():
            fit.settings = method

    def initialize(self, seed: int, start: Start) -> None:
        """Give the network the weights that it starts from; the head has fresh ones."""
        start_fresh(self.network, seed)
        if start.encoder_weights is not None:
            self.network.get_layer("encoder").set_weights(start.encoder_weights)

    def learn(
        self, examples: Examples, *, seed: int, start: Start | None = None, callbacks=()
    ) -> Learned:
        """Learn from fresh weights, or from what is transferred.

        Args:
            examples: All of them labelled.
            seed: Of the initial weights, dropout and the order of examples.
            start: What is transferred.
            callbacks: Keras callbacks that watch the fit.
        """
        start, regression = start or Start(), None
        encoder = self.network.get_layer("encoder")
        self.initialize(seed, start)
        if self.method.regresses:
            given = (encoder, self.preprocessing, examples, self.problem.num_classes)
            regression = regress(start, *given, seed=seed)
            head = self.network.get_layer("head")
            head.set_weights([regression.kernel, regression.bias])
        head_seconds = regression.seconds if regression else 0.0
        seconds, steps, curve, execution = head_seconds, 0, {}, None
        for stage in self._stages:
            freeze_layers(encoder, stage.num_frozen)
            fitted, execution = self._fit(stage, examples, seed, callbacks)
            seconds, steps = seconds + fitted.seconds, steps + fitted.steps
            curve |= fitted.curve
        strength = regression.strength if regression else None
        took = (seconds, steps, curve, head_seconds, strength, execution)
        return Learned(self.network, self.preprocessing, *took)

    def _fit(self, stage: Stage, examples: Examples, seed: int, callbacks):
        """Train the layers that are not locked; what locked first layers give is computed once."""
        if stage not in self._prepared:
            self._prepared[stage] = self._prepare(stage, examples)
        frozen, fit = self._prepared[stage]
        if frozen is not None:
            examples = examples.through(frozen, self.preprocessing)
        return fit.fit(examples, seed=seed, callbacks=callbacks), fit.fused.execution

    def _prepare(self, stage: Stage, examples: Examples):
        frozen, trained, transform = None, self.network, scaling(self.preprocessing)
        parts = split_frozen(self.network)
        num_rows = len(examples.x) + len(examples.validation[1] if examples.validation else ())
        # Of views that are new in every epoch, the frozen layers run in the step.
        reusable = parts is not None and self.problem.augment is None
        if reusable and _fits_in_memory(parts[0], num_rows):
            (frozen, trained), transform = parts, None
        elif stage != self._stages[-1]:
            # Each stage has an optimizer of its own, and so a model over the same layers.
            trained = keras.Model(trained.input, trained.output, name=trained.name)
        compile_classifier(trained, self._optimizer())
        fit = RepeatedFit(
            trained,
            self.network,
            self.method,
            self.problem.num_examples,
            transform,
            first=stage.first,
            end=stage.end,
            augment=self.problem.augment,
            jit_compile=self.problem.jit_compile,
        )
        return frozen, fit

    def _optimizer(self) -> keras.optimizers.Optimizer:
        learning_rate, rates = self.learning_rates
        if self.method.layer_decay == 1:
            return keras.optimizers.Adam(learning_rate)
        factors = factors_of_variables(layers_with_weights(self.network), rates)
        return LayerwiseAdam(factors, learning_rate=learning_rate)


def _fits_in_memory(model: keras.Model, num_rows: int) -> bool:
    """Whether what a model gives may be kept: convolutions give more than they are given."""
    numbers = num_rows * int(np.prod(model.output_shape[1:]))
    copies = 4  # on the way from the batches of a prediction to the tensors of the training
    return copies * 4 * numbers <= quarter_of_memory()
