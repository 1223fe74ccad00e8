"""How a new head learns on the features of a frozen encoder."""

from __future__ import annotations

import keras

from kt_transfer.engine.fused_model import scaling
from kt_transfer.methods.features import Features
from kt_transfer.methods.learning import (
    Examples,
    Learned,
    Problem,
    RepeatedFit,
    Start,
    copy_of,
    jit_choice,
    on_raw,
    regress,
    start_fresh,
)
from kt_transfer.models.classifiers import classifier, compile_classifier, head_of
from kt_transfer.models.freezing import freeze_layers, layers_with_weights
from kt_transfer.sources.bodies import features_from


class FeaturesLearner:
    """A classifier whose encoder stays as it is: its features are computed once for each fit.

    Args:
        method: Its settings.
        problem: With ``encoder`` and ``preprocessing``.
    """

    def __init__(self, method: Features, problem: Problem):
        self.method, self.problem = method, problem
        self.preprocessing = problem.preprocessing
        self._source = copy_of(problem.encoder)
        encoder = features_from(self._source, method.features_from)
        freeze_layers(encoder, "all")
        self.network = classifier(encoder, problem.num_classes, dropout=method.dropout)
        self._fit: RepeatedFit | None = None

    @property
    def learning_rates(self) -> tuple[float, dict[str, float]]:
        """The initial learning rate, 0 without steps, and its factor by layer."""
        names = layers_with_weights(self.network)
        return self.method.learning_rate if self.method.takes_steps else 0.0, dict.fromkeys(
            names, 1.0
        )

    def take(self, method: Features) -> None:
        """Go on with other settings of those that the method may be given anew."""
        self.method = method
        if self._fit is not None:
            self._fit.settings = method

    def initialize(self, seed: int, start: Start) -> None:
        """Give the encoder the weights that are transferred, and the head fresh ones."""
        if start.encoder_weights is not None:
            self._source.set_weights(start.encoder_weights)
        weights = self._source.get_weights()
        start_fresh(self.network, seed)
        self._source.set_weights(weights)

    def learn(
        self, examples: Examples, *, seed: int, start: Start | None = None, callbacks=()
    ) -> Learned:
        """Learn a new head.

        Args:
            examples: All of them labelled.
            seed: Of the folds that choose the regularization, or of a dense head.
            start: What is transferred; ``None`` for the encoder's weights as they are.
            callbacks: Keras callbacks that watch the fit of a dense head.
        """
        start = start or Start()
        self.initialize(seed, start)
        encoder, head = self.network.get_layer("encoder"), self.network.get_layer("head")
        if self.method.regresses:
            regression = regress(
                start,
                encoder,
                self.preprocessing,
                examples,
                self.problem.num_classes,
                seed=seed,
                features_from=self.method.features_from,
            )
            head.set_weights([regression.kernel, regression.bias])
            took = (regression.seconds, 0, {}, 0.0, regression.strength)
            return Learned(self.network, self.preprocessing, *took)
        if self._fit is None:
            self._fit = self._prepare()
        if self.problem.augment is None:
            examples = examples.through(encoder, self.preprocessing)
        fitted = self._fit.fit(examples, seed=seed, callbacks=callbacks)
        execution = self._fit.fused.execution
        return Learned(self.network, self.preprocessing, *fitted, execution=execution)

    def _prepare(self) -> RepeatedFit:
        """The head on features that are computed once; of views, in the step."""
        encoder = self.network.get_layer("encoder")
        model = head_of(self.network)
        compile_classifier(model, keras.optimizers.Adam(self.method.learning_rate))
        views = self.problem.augment is not None
        return RepeatedFit(
            model,
            self.network,
            self.method,
            self.problem.num_examples,
            scaling(on_raw(encoder, self.preprocessing)) if views else None,
            augment=self.problem.augment,
            jit_compile=jit_choice(self.problem, *[encoder] * views),
        )
