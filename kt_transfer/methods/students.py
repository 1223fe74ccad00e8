"""How a student learns from a teacher."""

from __future__ import annotations

import keras
import numpy as np

from kt_transfer.data.rows import quarter_of_memory
from kt_transfer.engine.fused_model import FusedModel
from kt_transfer.errors import UserError
from kt_transfer.methods.distilled import Distilled
from kt_transfer.methods.learning import (
    Examples,
    Learned,
    Problem,
    RepeatedFit,
    Start,
    jit_choice,
    on_raw,
    start_fresh,
)
from kt_transfer.models.classifiers import classifier, dense_encoder
from kt_transfer.training.distiller import Distiller
from kt_transfer.training.schedules import hints_first


class StudentLearner:
    """A small network that learns from a teacher's soft targets, and from labels where it may.

    Args:
        method: Its settings.
        problem: With ``teacher`` and ``flat``, and ``student`` for one that exists already.

    Raises:
        UserError: If the loss needs more classes than there are.
    """

    def __init__(self, method: Distilled, problem: Problem):
        if method.loss == "standardized" and problem.num_classes < 3:
            raise UserError(
                setting="loss",
                given=method.loss,
                when=f"for {problem.num_classes} classes",
                expected="at least 3",
                but="of two classes all standardized logits are alike",
                remedy="give another loss, such as kl",
            )
        self.method, self.preprocessing = method, problem.flat
        self.network, self._initial = problem.student, None
        if self.network is None:
            encoder = dense_encoder(problem.flat.output_shape[-1], method.student_units)
            self.network = classifier(encoder, problem.num_classes, name="student")
        else:
            self._initial = self.network.get_weights()
        # Of raw examples, since a random view of one is raw as well.
        distiller = Distiller(
            teacher=problem.teacher,
            student=on_raw(self.network, self.preprocessing),
            temperature=method.temperature,
            alpha=method.alpha,
            loss=method.loss,
            beta=method.beta,
            hint=method.hint,
            hint_student=method.hint_student,
            hint_weight=method.hint_weight,
            hint_loss=method.hint_loss,
        )
        distiller.compile(keras.optimizers.Adam(method.learning_rate), metrics=["accuracy"])
        self.distiller, self._augment = distiller, problem.augment
        self._ask = None
        if problem.teacher is not None:
            self._ask = FusedModel(distiller.target_model).answers
        # Of views that are new in every epoch the teacher is asked in the step.
        in_step = [] if problem.augment is None else [problem.teacher]
        self._fit = RepeatedFit(
            distiller,
            distiller,
            method,
            problem.num_examples,
            max_steps=method.max_steps,
            augment=problem.augment,
            jit_compile=jit_choice(problem, *in_step),
        )

    @property
    def learning_rates(self) -> tuple[float, dict[str, float]]:
        """The initial learning rate; no layer has a factor of its own."""
        return self.method.learning_rate, {}

    def take(self, method: Distilled) -> None:
        """Go on with other settings of those that the method may be given anew."""
        self.method, self._fit.settings = method, method
        self.distiller.temperature, self.distiller.alpha = method.temperature, method.alpha

    def epochs(self, num_examples: int) -> int:
        """Passes over so many examples."""
        return self._fit.epochs(num_examples)

    def initialize(self, seed: int, start: Start | None = None) -> None:
        """Give the student, and the projection of its hint, the weights that they start from."""
        if self._initial is None:
            start_fresh(self.network, seed)
        else:
            self.network.set_weights(self._initial)
        if self.distiller.projection is not None:
            kernel, bias = self.distiller.projection.weights
            kernel.assign(keras.initializers.GlorotUniform(seed)(kernel.shape))
            bias.assign(np.zeros(bias.shape))

    def learn(
        self, examples: Examples, *, seed: int, start: Start | None = None, callbacks=()
    ) -> Learned:
        """Learn from a teacher, which is asked as it is now, or from what it said before.

        Args:
            examples: Labelled or not. Without a teacher, their ``y`` is ``(labels, logits)``, and
                that of those held out too; NaN stands for nothing said.
            seed: Of the initial weights and the order of examples.
            start: Not used: what is transferred is in the teacher.
            callbacks: Keras callbacks that watch the fit.
        """
        self.initialize(seed)
        method = self.method
        # Once for every example, found again by its row: the teacher never runs in a step. Of
        # views that are new in every epoch it has to be asked each time.
        if self._augment is None:
            examples = examples._replace(y=self._targets(examples.x, examples.y))
        if examples.validation is not None:
            x_held, y_held = examples.validation
            examples = examples._replace(validation=(x_held, self._targets(x_held, y_held)))
        if method.hint_epochs:
            callbacks = [hints_first(method.hint_epochs, method.hint_weight), *callbacks]
        fitted = self._fit.fit(examples, seed=seed, callbacks=callbacks)
        execution = self._fit.fused.execution
        return Learned(self.network, self.preprocessing, *fitted, execution=execution)

    def _targets(self, x, y):
        return self.distiller.complete_targets(x, y, self._ask, quarter_of_memory())
