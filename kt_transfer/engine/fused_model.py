"""How training steps are executed: many steps in one program, the data resident.

A small network on a CPU or one GPU spends most of its time outside the arithmetic: in
Python, in per-op dispatch, in handing over batches. :class:`FusedModel` wraps any compiled
Keras model and executes its own ``train_step`` many times inside one program; a batch is
gathered by index from data that stays where the arithmetic is. ``ARCHITECTURE.md``
explains it on one page.

This is the one module that stands on private methods of Keras (``_symbolic_build``,
``_flatten_layers``, ``_flatten_metrics_in_order``, and the attributes ``_initial_epoch`` and
``_loss_tracker``); ``tests/engine/test_fused_model.py`` says plainly when they move.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from kt_transfer.data.rows import quarter_of_memory
from kt_transfer.engine import feeds, handover
from kt_transfer.engine.batch_hooks import looks_at_batches
from kt_transfer.engine.dataset_feed import DatasetFeed
from kt_transfer.engine.handover import HandOver
from kt_transfer.engine.program import Program, map_arrays
from kt_transfer.engine.results import as_numbers, joined, to_numpy
from kt_transfer.engine.standing_in import StandIn

logger = logging.getLogger("kt_transfer")

# XLA takes seconds to compile and saves milliseconds a step.
MIN_STEPS_FOR_XLA = 1500
# A few large batches are over before a program would be made.
MIN_BATCHES_TO_TRACE = 8


class FusedModel(StandIn):
    """A compiled Keras model whose ``fit``, ``evaluate`` and ``predict`` are fused.

    It is the same model, not a copy: layers, weights, optimizer, metrics and callbacks are
    the wrapped model's. Every attribute that is not among the arguments below is looked up and
    set there, and ``isinstance(fused, keras.Model)`` holds, so that it can be called, cloned and
    saved as the wrapped model; what is saved is the wrapped model. It can be copied and, where
    ``transform`` and ``augment`` can, pickled.

    Results are those of stock Keras with the same order of examples, up to rounding. The
    order in epoch e is ``epoch_order(n, seed, e)``, so a resumed fit continues exactly.

    What cannot be done exactly as stock Keras does it (generators, sparse input, a number of
    steps, eager execution, a model whose step cannot be traced, ...) is handed over to stock
    Keras, ``transform`` and ``augment`` included; a warning says so once, and why.

    The batches of a ``tf.data.Dataset`` are taken as they come. Its next epoch begins to be
    read while this one ends, before the callbacks of its end are called. Callbacks that do
    something at every batch are called for every batch, which costs speed.

    Args:
        model: Any Keras model; built or functional.
        transform: Function ``(x, y, sample_weight) -> (x, y, sample_weight)`` that is run
            inside the program on every batch, in training, evaluation and prediction
            (there with ``y`` and ``sample_weight`` ``None``); scaling belongs here.
        deterministic: Whether ``transform`` makes the same of the same example every time.
            Where it augments at random, a teacher has to look at each view, and its soft
            targets are not computed once.
        augment: Function ``(x, seed) -> x`` that makes a random view of the training examples of
            a batch, before ``transform`` and inside the program: of two integers that differ from
            step to step, so that a resumed fit continues exactly. Evaluation and prediction see
            the examples as they are.
        seed: Seed of the order of examples, and of their views.
        jit_compile: Whether to compile with XLA: ``True``, ``False``, or ``"auto"`` for where
            the fit is long enough to pay for compiling (``MIN_STEPS_FOR_XLA``), there is one
            replica, and no convolution would run on a CPU.
        expected_steps: Steps of a fit, where many of about that size are to be executed alike,
            :meth:`reset` between them (default: those of the first).
        memory_budget: Bytes of examples that may be held as tensors (default: a quarter of
            the machine's memory); larger arrays are streamed in blocks.

    Example:
        >>> model = FusedModel(keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]))
        >>> model.compile(optimizer="adam", loss="mse")
        >>> history = model.fit(np.ones((8, 4)), np.ones((8, 1)), epochs=2, verbose=0)
        >>> sorted(history.history)
        ['loss']
    """

    OWN = frozenset(
        {
            "model",
            "transform",
            "deterministic",
            "augment",
            "seed",
            "jit_compile",
            "expected_steps",
            "memory_budget",
            "execution",
        }
    )

    def __init__(
        self,
        model: keras.Model,
        *,
        transform: Callable | None = None,
        deterministic: bool = True,
        augment: Callable | None = None,
        seed: int = 0,
        jit_compile: bool | str = "auto",
        expected_steps: int | None = None,
        memory_budget: int | None = None,
    ):
        self.model = model
        self.transform = transform
        self.deterministic = deterministic
        self.augment = augment
        self.seed = seed
        self.jit_compile = jit_compile
        self.expected_steps = expected_steps
        self.memory_budget = memory_budget or quarter_of_memory()
        self.execution: str | None = None
        self._said: set[str] = set()
        self._forget()

    def _forget(self) -> None:
        """Drop what was made for the model as it was compiled."""
        self._programs: dict[str, Program] = {}
        self._stock_functions: dict[str, Callable] = {}
        self._made_for: tuple = ()
        self._traced_predict = None
        self._num_predicted = 0
        self._num_transformed = 0
        self._fresh: list[np.ndarray] = []

    @property
    def strategy(self) -> tf.distribute.Strategy:
        """The strategy under which the model was made."""
        return self.model.distribute_strategy

    def reset(self, weights: list[np.ndarray] | None = None) -> None:
        """Start anew with the compiled program kept: given weights, a fresh optimizer.

        Many fits of one shape (folds, label budgets, trials) thus compile once. Leave the random
        seed of TensorFlow alone between them: setting it (``keras.utils.set_random_seed`` does)
        makes TensorFlow prepare every program anew.

        Args:
            weights: As from ``model.get_weights()``; ``None`` keeps the present ones.
        """
        if weights is not None:
            self.model.set_weights(weights)
        variables = self.model.optimizer.variables if self.model.optimizer is not None else []
        for variable, value in zip(variables, self._fresh, strict=False):
            variable.assign(value)

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        initial_epoch=0,
        steps_per_epoch=None,
        validation_steps=None,
        validation_batch_size=None,
        validation_freq=1,
    ) -> keras.callbacks.History:
        """Train; arguments and result are those of ``keras.Model.fit``."""
        given = {name: value for name, value in locals().items() if name != "self"}
        try:
            handover.check_model(self.model, "fit", steps_per_epoch or validation_steps)
            feed, validation = self._feeds_of_fit(
                x,
                y,
                sample_weight,
                batch_size,
                class_weight,
                shuffle,
                validation_split,
                validation_data,
                validation_batch_size or batch_size,
            )
            epochs = min(epochs, keras.config.max_epochs() or epochs)
            self._prepare(feed, validation, epochs)
        except HandOver as reason:
            return self._with_stock_keras("fit", reason, given)
        model = self.model
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = keras.callbacks.CallbackList(
                callbacks,
                add_history=True,
                add_progbar=verbose != 0,
                verbose=verbose,
                epochs=epochs,
                steps=feed.num_steps,
                model=model,
            )
        order_seed = self.seed if shuffle else None
        every = model.steps_per_execution if looks_at_batches(callbacks, "train") else None

        model.stop_training = False
        callbacks.on_train_begin()
        # BackupAndRestore says here where to go on.
        first = model._initial_epoch or initial_epoch
        logs = {}
        for epoch in range(first, epochs):
            model.reset_metrics()
            callbacks.on_epoch_begin(epoch)
            blocks = feed.blocks(order_seed, epoch, epoch + 1 < epochs)
            for end, logs in self._programs["train"].run(
                feed, blocks, every, callbacks.on_train_batch_begin
            ):
                callbacks.on_train_batch_end(end, logs)
                if model.stop_training:
                    break
            epoch_logs = self._epoch_logs(logs)
            if validation is not None and _is_due(epoch, validation_freq):
                results = self._evaluate(validation, callbacks)
                epoch_logs |= {f"val_{name}": value for name, value in results.items()}
            callbacks.on_epoch_end(epoch, epoch_logs)
            logs = epoch_logs
            if model.stop_training:
                break
        if isinstance(model.optimizer, keras.optimizers.Optimizer) and epochs > 0:
            # Averages of the weights, where the optimizer keeps some, become the weights.
            model.optimizer.finalize_variable_values(model.trainable_weights)
        callbacks.on_train_end(logs)
        self._describe("train", feed)
        return model.history

    def evaluate(
        self,
        x=None,
        y=None,
        batch_size=None,
        verbose="auto",
        sample_weight=None,
        steps=None,
        callbacks=None,
        return_dict=False,
        **kwargs,
    ):
        """Measure; arguments and result are those of ``keras.Model.evaluate``."""
        given = {k: v for k, v in locals().items() if k not in ("self", "kwargs")} | kwargs
        try:
            handover.check_model(self.model, "evaluate", steps or kwargs)
            feed = self._feed(x, y, sample_weight, batch_size)
            self._prepare(None, feed, 1)
        except HandOver as reason:
            return self._with_stock_keras("evaluate", reason, given)
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = keras.callbacks.CallbackList(
                callbacks,
                add_progbar=verbose != 0,
                verbose=verbose,
                epochs=1,
                steps=feed.num_steps,
                model=self.model,
            )
        logs = self._evaluate(feed, callbacks)
        return logs if return_dict else self.model._flatten_metrics_in_order(logs)

    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """Predict; arguments and result are those of ``keras.Model.predict``."""
        given = {name: value for name, value in locals().items() if name != "self"}
        try:
            handover.check_model(self.model, "predict", steps)
            if not feeds.is_arrays(x):
                raise HandOver(f"x of type {type(x).__name__} was given")
            arrays = self._pack(x)
        except HandOver as reason:
            return self._with_stock_keras("predict", reason, given)
        self._forget_if_compiled_anew()
        size = batch_size or 32
        num_steps = -(-feeds.num_rows(arrays) // size)
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = keras.callbacks.CallbackList(
                callbacks,
                add_progbar=verbose != 0,
                verbose=verbose,
                epochs=1,
                steps=num_steps,
                model=self.model,
            )
        # Of many calls too: a teacher is asked batch by batch.
        self._num_predicted += num_steps
        step = self._predict_step
        if self._num_predicted >= MIN_BATCHES_TO_TRACE:
            self._traced_predict = self._traced_predict or tf.function(
                step, reduce_retracing=True, autograph=False
            )
            step = self._traced_predict
        self.model.stop_predicting = False
        callbacks.on_predict_begin()
        pieces = []
        for number, batch in enumerate(feeds.batches_of(arrays, size)):
            callbacks.on_predict_batch_begin(number)
            outputs = step(batch)
            pieces.append(tree.map_structure(to_numpy, outputs))
            callbacks.on_predict_batch_end(number, {"outputs": outputs})
            if self.model.stop_predicting:
                break
        callbacks.on_predict_end()
        return joined(pieces)

    def answers(self, x):
        """As :meth:`predict`, quietly and many examples at once: every example by itself."""
        return self.predict(x, feeds.rows_at_once(feeds.pack(x)), verbose=0)

    def compile(self, *args, **kwargs) -> None:
        """Compile the wrapped model; arguments are those of ``keras.Model.compile``."""
        self.model.compile(*args, **kwargs)

    def _train_step(self, data):
        return self.model.train_step(self._transformed(self._augmented(data)))

    def _test_step(self, data):
        return self.model.test_step(self._transformed(data))

    def _predict_step(self, data):
        return self.model.predict_step(self._to_predict(data))

    def _to_predict(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(self._transformed(data))
        return (x,)

    def _transformed(self, data):
        if self.transform is None:
            return data
        self._num_transformed += 1
        transformed = self.transform(*keras.utils.unpack_x_y_sample_weight(data))
        # The transform saw the examples in their own type, the model gets Keras's.
        packed = keras.utils.pack_x_y_sample_weight(*transformed)
        wide = self.model.compute_dtype == "float64" or self._takes_doubles()
        return packed if wide else map_arrays(_narrow, packed)

    def _augmented(self, data):
        """A batch, or a replica's share of one, as this step sees it."""
        if self.augment is None:
            return data
        self._num_transformed += 1
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        step = tf.cast(self.model.optimizer.iterations.value, tf.int32)
        number = step * self.strategy.num_replicas_in_sync + replica
        seed = tf.stack([tf.constant(self.seed, tf.int32), number])
        return keras.utils.pack_x_y_sample_weight(self.augment(x, seed), y, sample_weight)

    def _with_stock_keras(self, method: str, reason: HandOver, given: dict):
        """What stock Keras does with the same arguments, transform and augment included."""
        model = self.model
        self.execution = f"stock Keras: {reason}"
        if self.execution not in self._said:
            self._said.add(self.execution)
            logger.warning("%s of %s: %s", method, model.name, self.execution)
        x = given["x"]
        if method == "fit" and hasattr(model, "complete_targets") and feeds.is_arrays(x):
            # Here, since its own fit would ask the teacher about what was not transformed yet.
            given["y"] = self._targets(x, given["y"], ask=self.augment is None)
        if self.transform is None and self.augment is None:
            return getattr(model, method)(**given)
        if feeds.is_arrays(x) and any(_is_double(leaf) for leaf in tree.flatten(x)):
            raise ValueError(
                f"float64 examples were given with a transform where {reason}, which leaves "
                "it to stock Keras, and that makes them float32 first: give float32"
            )
        self._forget_if_compiled_anew()
        before = self._num_transformed
        wrap = {
            "train_step": lambda step: lambda data: step(self._transformed(self._augmented(data))),
            "test_step": lambda step: lambda data: step(self._transformed(data)),
            "predict_step": lambda step: lambda data: step(self._to_predict(data)),
        }
        known = dict(self._stock_functions)
        with handover.steps_of_stock_keras(model, wrap, self._stock_functions):
            result = getattr(model, method)(**given)
        if self._num_transformed == before and not any(known.values()):
            raise ValueError(
                f"{type(model).__name__} was given with a transform or augment, but its {method} "
                "does not come by its train_step, test_step or predict_step, so that neither was "
                "applied: transform the examples beforehand"
            )
        return result

    def _targets(self, x, y, ask: bool = True):
        """The targets, with what a teacher says of each example if the model has one."""
        if not hasattr(self.model, "complete_targets"):
            return y
        if not ask or not self.deterministic:
            # Of a view that is new in every epoch the teacher has to be asked each time.
            return self.model.as_targets(y) if hasattr(self.model, "as_targets") else y
        teacher = FusedModel(self.model.target_model, transform=self.transform)
        return self.model.complete_targets(x, y, teacher.answers, self.memory_budget)

    def _pack(self, x, y=None, sample_weight=None):
        if not hasattr(self.model, "complete_targets"):
            sample_weight = feeds.for_each_output(y, sample_weight)
        keep_types = self.transform is not None or self._takes_doubles()
        return feeds.pack(x, y, sample_weight, keep_types=keep_types)

    def _takes_doubles(self) -> bool:
        # What begins with the scaling of raw examples sees them as they are, too.
        models = (self.model, getattr(self.model, "student", None))
        inputs = [tensor for model in models for tensor in getattr(model, "inputs", None) or ()]
        return any(tensor.dtype == "float64" for tensor in inputs)

    def _feed(self, x, y, sample_weight, batch_size):
        """What evaluation reads."""
        if isinstance(x, tf.data.Dataset):
            if y is not None or sample_weight is not None:
                raise HandOver("y or sample_weight was given beside a tf.data.Dataset")
            return DatasetFeed(x)
        if not feeds.is_arrays(x):
            raise HandOver(f"x of type {type(x).__name__} was given")
        data = self._pack(x, self._targets(x, y), sample_weight)
        return feeds.make_feed(data, batch_size or 32, self.memory_budget)

    def _feeds_of_fit(
        self,
        x,
        y,
        sample_weight,
        batch_size,
        class_weight,
        shuffle,
        validation_split,
        validation_data,
        validation_batch_size,
    ):
        """What training reads, and what evaluation does, or ``None``."""
        if shuffle == "batch":
            raise HandOver('shuffle="batch" was given')
        if self.model.optimizer is None:
            raise HandOver("the model has no optimizer")
        validation = None
        if validation_data is not None:
            val_x, val_y, val_weight = keras.utils.unpack_x_y_sample_weight(validation_data)
            validation = self._feed(val_x, val_y, val_weight, validation_batch_size)
        if isinstance(x, tf.data.Dataset):
            if class_weight is not None or (validation_split and validation is None):
                raise HandOver("class_weight or validation_split was given with a tf.data.Dataset")
            return self._feed(x, y, sample_weight, batch_size), validation
        if not feeds.is_arrays(x):
            raise HandOver(f"x of type {type(x).__name__} was given")
        data = self._pack(x, self._targets(x, y, ask=self.augment is None), sample_weight)
        if validation_split and validation is None:
            data, held = feeds.split_tail(data, validation_split)
            validation = feeds.make_feed(held, validation_batch_size or 32, self.memory_budget)
        if class_weight is not None:
            # After the split: the validation loss is not weighed.
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
            if sample_weight is not None:
                raise HandOver("class_weight and sample_weight were given")
            if tree.is_nested(y) and not hasattr(self.model, "complete_targets"):
                raise HandOver("class_weight was given with several outputs")
            data = keras.utils.pack_x_y_sample_weight(x, y, feeds.class_weights(y, class_weight))
        return feeds.make_feed(data, batch_size or 32, self.memory_budget), validation

    def _forget_if_compiled_anew(self) -> None:
        # Compiling makes a new loss tracker. Held, so that no other takes its place in memory.
        made_for = (
            self.model._loss_tracker,
            getattr(self.model, "optimizer", None),  # none before it is compiled
            self.transform,
            self.augment,
            self.jit_compile,
        )
        if len(self._made_for) != len(made_for) or any(
            one is not other for one, other in zip(self._made_for, made_for, strict=True)
        ):
            self._forget()
            self._made_for = made_for

    def _prepare(self, feed, validation, epochs: int) -> None:
        """Make variables and programs, unless those of an earlier fit still stand.

        Evaluation is compiled only where it is long by itself: it takes seconds as training does.

        Raises:
            HandOver: If the model cannot be built or its step not be traced.
        """
        self._forget_if_compiled_anew()
        num_test_steps = (validation.num_steps or 0) * epochs if feed and validation else 0
        if feed is not None:
            # All epochs: a resumed fit is executed as the whole one.
            num_steps = self.expected_steps or (feed.num_steps or MIN_STEPS_FOR_XLA) * epochs
            self._make("train", feed, self._train_step, num_steps)
            if not self._fresh:
                self._fresh = [variable.numpy() for variable in self.model.optimizer.variables]
            self._describe("train", feed, num_steps)
        if validation is not None:
            self._make("test", validation, self._test_step, num_test_steps)
            if feed is None and "train" not in self._programs:
                self._describe("test", validation)
        for each in (feed, validation):
            if isinstance(each, DatasetFeed):
                each.begin()
                if not each.rows:
                    raise HandOver("the tf.data.Dataset is empty")

    def _make(self, kind: str, feed, step: Callable, num_steps: int) -> None:
        if kind not in self._programs:
            jit = self._decide(num_steps)
            if kind == "test" and "train" in self._programs and not self._programs["train"].jit:
                jit = False
        try:
            if kind not in self._programs:
                with self.strategy.scope():
                    self.model._symbolic_build(data_batch=self._batch_spec(feed))
                self._programs[kind] = Program(self.strategy, step, jit)
            self._programs[kind].trace(feed)
        except Exception as error:
            self._programs.pop(kind, None)
            first = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
            raise HandOver(
                f"its step cannot be traced for many batches: {type(error).__name__}: {first}"
            ) from error

    def _batch_spec(self, feed):
        """A batch as the model sees it, as shapes and types."""
        batch = map_arrays(
            lambda spec: tf.TensorSpec((feed.batch_size, *spec.shape[1:]), spec.dtype), feed.spec
        )
        transformed = tf.function(self._transformed, autograph=False)
        return transformed.get_concrete_function(batch).structured_outputs

    def _decide(self, num_steps: int) -> bool:
        """Whether to compile with XLA."""
        replicas = self.strategy.num_replicas_in_sync
        if replicas > 1:
            if self.jit_compile is True:
                raise ValueError(
                    f"jit_compile=True was given with {replicas} replicas, but TensorFlow cannot "
                    'compile across devices: give "auto" or False.'
                )
            return False
        if self.jit_compile == "auto":
            return num_steps >= MIN_STEPS_FOR_XLA and is_faster_compiled(self.model)
        return bool(self.jit_compile)

    def _describe(self, kind: str, feed, num_steps: int = 0) -> None:
        replicas = self.strategy.num_replicas_in_sync
        how = "XLA" if self._programs[kind].jit else "graph"
        self.execution = f"{how}, {feed.kind}, {replicas} replica{'s' * (replicas > 1)}"
        if self.execution not in self._said:
            self._said.add(self.execution)
            logger.info("training %s: %s (%d steps)", self.model.name, self.execution, num_steps)

    def _epoch_logs(self, logs) -> dict:
        """What the metrics hold, or what a ``train_step`` of the model's own returned."""
        kind, stock = type(self.model), keras.Model
        own = [name for name in _LOGGING if getattr(kind, name) is not getattr(stock, name)]
        if logs and not own and self.strategy.num_replicas_in_sync == 1:
            # The last step has asked the metrics already: milliseconds, which short epochs feel.
            return as_numbers(logs)
        results = self.model.get_metrics_result()
        return as_numbers(results if not logs or set(logs) == set(results) else logs)

    def _evaluate(self, feed, callbacks) -> dict:
        model = self.model
        every = model.steps_per_execution if looks_at_batches(callbacks, "test") else None
        model.stop_evaluating = False
        callbacks.on_test_begin()
        model.reset_metrics()
        logs = {}
        blocks = feed.blocks(None, 0)
        for end, logs in self._programs["test"].run(
            feed, blocks, every, callbacks.on_test_batch_begin
        ):
            callbacks.on_test_batch_end(end, logs)
            if model.stop_evaluating:
                break
        logs = self._epoch_logs(logs)
        callbacks.on_test_end(logs)
        return logs


# What a model may do in its own way with the numbers of a step.
_LOGGING = ("train_step", "test_step", "compute_metrics", "get_metrics_result")


def _is_double(leaf) -> bool:
    return getattr(leaf, "dtype", None) in (np.float64, tf.float64)


def _narrow(leaf: tf.Tensor) -> tf.Tensor:
    """``float64`` in the type of Keras's floats."""
    return tf.cast(leaf, keras.config.floatx()) if leaf.dtype == tf.float64 else leaf


def scaling(preprocessing: keras.Model) -> Callable:
    """A Keras model from raw examples to inputs, as the transform of a :class:`FusedModel`."""
    return lambda x, y, sample_weight: (preprocessing(x), y, sample_weight)


def predict_raw(model: keras.Model, preprocessing: keras.Model, x) -> np.ndarray:
    """What a model says of raw examples, ``(n, ...)`` to ``(n, outputs)``."""
    return FusedModel(model, transform=scaling(preprocessing)).answers(x)


def is_faster_compiled(model: keras.Model) -> bool:
    """Whether every layer of the model compiles, and none is the slower for it."""
    layers = list(model._flatten_layers())
    if not all(getattr(layer, "supports_jit", True) for layer in layers):
        return False
    # XLA's convolutions are slow on a CPU: a step of the convolutional autoencoder on MNIST took
    # 6 to 9 times as long as in a graph, on two cores.
    is_convolutional = any(hasattr(layer, "kernel_size") for layer in layers)
    return not is_convolutional or bool(tf.config.list_logical_devices("GPU"))


def _is_due(epoch: int, frequency) -> bool:
    if isinstance(frequency, int):
        return (epoch + 1) % frequency == 0
    return epoch + 1 in frequency
