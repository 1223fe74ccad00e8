"""``FusedModel``: any Keras model, trained many steps per program on data held in memory.

See :mod:`kt_transfer.engine` for an example; ``ARCHITECTURE.md`` explains the design on one page.

This module uses private methods of Keras (``_symbolic_build``, ``_flatten_layers``,
``_flatten_metrics_in_order``) and private attributes (``_initial_epoch``, ``_loss_tracker``);
a test in ``tests/engine/test_fused_model.py`` fails when a new version of Keras changes them.
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from kt_transfer.data.rows import quarter_of_memory
from kt_transfer.engine import fallback, feeds
from kt_transfer.engine.batch_hooks import uses_batch_hooks, writes_batch_summaries
from kt_transfer.engine.dataset_feed import DatasetFeed
from kt_transfer.engine.fallback import NeedsStockKeras
from kt_transfer.engine.feeds import map_arrays
from kt_transfer.engine.model_proxy import ModelProxy
from kt_transfer.engine.program import Program
from kt_transfer.engine.replicas import (
    on_own_replicas,
    require_same_update,
    synchronized_batch_statistics,
)
from kt_transfer.engine.results import concatenate, to_numpy, to_python

logger = logging.getLogger("kt_transfer")

# Compiling with XLA takes seconds and saves milliseconds per step.
MIN_STEPS_FOR_XLA = 1500
# A few batches are predicted in less time than tracing takes.
MIN_BATCHES_TO_TRACE = 8


def _as_on_one_device(fit: Callable) -> Callable:
    """``fit`` with what makes several replicas equal one device, or refuses what does not."""

    @functools.wraps(fit)
    def wrapped(self, *args, **kwargs):
        num_replicas = self.strategy.num_replicas_in_sync
        require_same_update(self.model.optimizer, num_replicas)
        layers = self.model._flatten_layers() if num_replicas > 1 else ()
        with synchronized_batch_statistics(layers) as count:
            if count:
                self._say_once(f"the batch statistics of {count} layers are those of all replicas")
            return fit(self, *args, **kwargs)

    return wrapped


class FusedModel(ModelProxy):
    """A Keras model whose ``fit``, ``evaluate`` and ``predict`` run many steps per program.

    It is the same model, not a copy: layers, weights, optimizer, metrics and callbacks are
    those of the wrapped model. Attributes other than the arguments below are read from and set on
    the wrapped model, and ``isinstance(fused, keras.Model)`` is true, so that it can be called,
    cloned and saved like the wrapped model; saving it saves the wrapped model. It can be copied,
    and pickled if ``transform`` and ``augment`` can be.

    Results are those of stock Keras with the same order of examples, up to rounding. The order
    in epoch e is ``epoch_order(n, seed, e)``, so that a resumed fit continues exactly.

    Whatever cannot be done exactly as stock Keras does it (generators, sparse input,
    ``steps_per_epoch``, eager execution, a step that cannot be traced, ...) is left to stock
    Keras, with ``transform`` and ``augment`` applied; one warning says so, and why.

    The batches of a ``tf.data.Dataset`` are used as they are. Reading the next epoch starts
    before the callbacks are called at the end of the current one. Callbacks that do something at
    every batch are called at every batch, which makes training slower.

    Args:
        model: Any Keras model, built or not.
        transform: Function ``(x, y, sample_weight) -> (x, y, sample_weight)`` that is applied to
            every batch inside the program, in training, evaluation and prediction (there with
            ``y`` and ``sample_weight`` ``None``). Use it to scale the inputs, for example.
        deterministic: Whether ``transform`` always returns the same for the same example. If
            ``False``, the predictions that a model learns from are made for every batch anew,
            not once per fit.
        augment: Function ``(x, seed) -> x`` that augments the training examples of a batch at
            random, inside the program and before ``transform``. ``seed`` is a pair of integers
            that differs from step to step, so that a resumed fit continues exactly. Evaluation
            and prediction are not augmented.
        seed: Seed of the order of examples and of ``augment``.
        jit_compile: Whether to compile with XLA: ``True``, ``False``, or ``"auto"``, which
            compiles if the fit has at least ``MIN_STEPS_FOR_XLA`` steps, there is one replica, and
            no convolution would run on a CPU.
        expected_steps: Number of steps by which ``"auto"`` decides (default: that of the first
            fit). Give it if fits of slightly different lengths, with :meth:`reset` between them,
            should all run in the same way.
        memory_budget: Bytes of examples that may be held as tensors (default: a quarter of
            the machine's memory); larger arrays are streamed in blocks.

    Example:
        >>> model = FusedModel(keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]))
        >>> model.compile(optimizer="adam", loss="mse")
        >>> history = model.fit(np.ones((8, 4)), np.ones((8, 1)), epochs=2, verbose=0)
        >>> sorted(history.history)
        ['loss']
    """

    OWN_ATTRIBUTES = frozenset(
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
        self._logged: set[str] = set()
        self._view_seed: keras.Variable | None = None
        self._clear()

    def _clear(self) -> None:
        """Drop everything that depends on how the model was compiled."""
        self._programs: dict[str, Program] = {}
        self._summary_programs: dict[str, Program] = {}
        self._stock_functions: dict[str, Callable] = {}
        self._key: tuple = ()
        self._traced_predict = None
        self._num_predicted = 0
        self._num_transformed = 0
        self._initial_optimizer: list[np.ndarray] = []

    @property
    def strategy(self) -> tf.distribute.Strategy:
        """The strategy under which the model was created."""
        return self.model.distribute_strategy

    def reset(self, weights: list[np.ndarray] | None = None) -> None:
        """Reset the weights and the optimizer, and keep the compiled program.

        Many fits of the same shape (cross-validation folds, trials) are compiled only once this
        way. Do not set TensorFlow's random seed between them (as
        ``keras.utils.set_random_seed`` does): it makes TensorFlow trace every program again.

        Args:
            weights: As from ``model.get_weights()``; ``None`` keeps the current ones.
        """
        if weights is not None:
            self.model.set_weights(weights)
        variables = self.model.optimizer.variables if self.model.optimizer is not None else []
        for variable, value in zip(variables, self._initial_optimizer, strict=False):
            variable.assign(value)

    @_as_on_one_device
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
        arguments = {name: value for name, value in locals().items() if name != "self"}
        try:
            fallback.check_model(self.model, "fit", steps_per_epoch or validation_steps)
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
            self._seed_views()
            self._prepare(feed, validation, epochs)
        except NeedsStockKeras as reason:
            return self._with_stock_keras("fit", reason, arguments)
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
        every = model.steps_per_execution if uses_batch_hooks(callbacks, "train") else None

        model.stop_training = False
        callbacks.on_train_begin()
        # Set by BackupAndRestore when it restores a model.
        first = model._initial_epoch or initial_epoch
        logs = {}
        for epoch in range(first, epochs):
            model.reset_metrics()
            callbacks.on_epoch_begin(epoch)
            blocks = feed.blocks(order_seed, epoch, epoch + 1 < epochs)
            for end, logs in self._program("train", callbacks).run(
                feed, blocks, every, callbacks.on_train_batch_begin
            ):
                callbacks.on_train_batch_end(end, logs)
                if model.stop_training:
                    break
            epoch_logs = self._epoch_logs(logs)
            if validation is not None and _is_validated(epoch, validation_freq):
                results = self._evaluate(validation, callbacks)
                epoch_logs |= {f"val_{name}": value for name, value in results.items()}
            callbacks.on_epoch_end(epoch, epoch_logs)
            logs = epoch_logs
            if model.stop_training:
                break
        if isinstance(model.optimizer, keras.optimizers.Optimizer) and epochs > 0:
            # If the optimizer averages the weights, the averages become the weights.
            model.optimizer.finalize_variable_values(model.trainable_weights)
        callbacks.on_train_end(logs)
        self._log_execution("train", feed)
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
        """Evaluate; arguments and result are those of ``keras.Model.evaluate``."""
        arguments = {k: v for k, v in locals().items() if k not in ("self", "kwargs")} | kwargs
        try:
            fallback.check_model(self.model, "evaluate", steps or kwargs)
            feed = self._feed(x, y, sample_weight, batch_size)
            self._prepare(None, feed, 1)
        except NeedsStockKeras as reason:
            return self._with_stock_keras("evaluate", reason, arguments)
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
        arguments = {name: value for name, value in locals().items() if name != "self"}
        try:
            fallback.check_model(self.model, "predict", steps)
            if not feeds.is_arrays(x):
                raise NeedsStockKeras(f"x of type {type(x).__name__} was given")
            arrays = self._pack(x)
        except NeedsStockKeras as reason:
            return self._with_stock_keras("predict", reason, arguments)
        self._clear_if_changed()
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
        # Counted across calls, since predict may be called batch by batch.
        self._num_predicted += num_steps
        step = self._predict_step
        if self._num_predicted >= MIN_BATCHES_TO_TRACE:
            self._traced_predict = self._traced_predict or on_own_replicas(self.strategy, step)
            step = self._traced_predict
        self.model.stop_predicting = False
        callbacks.on_predict_begin()
        every = self.model.steps_per_execution
        batches = feeds.batches_of(arrays, size)
        pieces = []
        for first in range(0, num_steps, every):
            callbacks.on_predict_batch_begin(first)
            together = itertools.islice(batches, every)
            executed = [tree.map_structure(to_numpy, step(batch)) for batch in together]
            pieces += executed
            # As Keras does, the last step of a full execution, also if fewer batches are left.
            callbacks.on_predict_batch_end(first + every - 1, {"outputs": concatenate(executed)})
            if self.model.stop_predicting:
                break
        callbacks.on_predict_end()
        return concatenate(pieces)

    def answers(self, x):
        """Predict quietly, in large batches: for models that treat each example by itself."""
        return self.predict(x, feeds.predict_batch_size(feeds.pack(x)), verbose=0)

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
        # The transform is given the examples in their own dtype, the model in Keras's.
        packed = keras.utils.pack_x_y_sample_weight(*transformed)
        if self.model.compute_dtype == "float64" or self._has_float64_input():
            return packed
        return map_arrays(_cast_float64, packed)

    def _augmented(self, data):
        """A batch, or a replica's share of one, augmented for the current step."""
        if self.augment is None:
            return data
        self._num_transformed += 1
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        step = tf.cast(self.model.optimizer.iterations.value, tf.int32)
        share = step * self.strategy.num_replicas_in_sync + replica
        seed = tf.stack([tf.cast(self._view_seed.value, tf.int32), share])
        return keras.utils.pack_x_y_sample_weight(self.augment(x, seed), y, sample_weight)

    def _seed_views(self) -> None:
        """Keep the seed of the views in a variable, since fits with other seeds share a program."""
        if self.augment is None:
            return
        if self._view_seed is None:
            with self.strategy.scope():
                self._view_seed = keras.Variable(0, trainable=False, dtype="int64", name="seed")
        self._view_seed.assign(self.seed)

    def _with_stock_keras(self, method: str, reason: NeedsStockKeras, arguments: dict):
        """Call stock Keras with the same arguments, ``transform`` and ``augment`` applied."""
        model = self.model
        if isinstance(self.strategy, tf.distribute.MultiWorkerMirroredStrategy):
            raise ValueError(
                f"{method} of {model.name} needs stock Keras ({reason}), which cannot run on "
                "several workers: give arrays or a tf.data.Dataset of arrays, and a model that "
                "FusedModel can run itself"
            ) from reason
        self.execution = f"stock Keras: {reason}"
        self._say_once(f"{method} of {model.name}: {self.execution}", logging.WARNING)
        x = arguments["x"]
        if method == "fit" and hasattr(model, "complete_targets") and feeds.is_arrays(x):
            # Here, since the model's own fit would predict from examples not yet transformed.
            arguments["y"] = self._targets(x, arguments["y"], reuse=self.augment is None)
        if self.transform is None and self.augment is None:
            return getattr(model, method)(**arguments)
        if feeds.is_arrays(x) and any(_is_float64(leaf) for leaf in tree.flatten(x)):
            raise ValueError(
                f"float64 examples were given with a transform, but {reason}, so that stock Keras "
                "is used, which casts them to float32 before the transform: give float32"
            )
        self._seed_views()
        self._clear_if_changed()
        before = self._num_transformed
        wrap = {
            "train_step": lambda step: lambda data: step(self._transformed(self._augmented(data))),
            "test_step": lambda step: lambda data: step(self._transformed(data)),
            "predict_step": lambda step: lambda data: step(self._to_predict(data)),
        }
        traced = dict(self._stock_functions)
        with fallback.replaced_steps(model, wrap, self._stock_functions):
            result = getattr(model, method)(**arguments)
        if self._num_transformed == before and not any(traced.values()):
            raise ValueError(
                f"{type(model).__name__} was given with a transform or augment, but its {method} "
                "does not call train_step, test_step or predict_step, so that neither was applied: "
                "transform the examples beforehand"
            )
        return result

    def _targets(self, x, y, reuse: bool = True):
        """The targets; if the model learns from predictions, with those for each example."""
        if not hasattr(self.model, "complete_targets"):
            return y
        if not reuse or not self.deterministic:
            # Examples differ in every epoch, so the predictions are made in each step.
            return self.model.as_targets(y) if hasattr(self.model, "as_targets") else y
        predict = None
        if self.model.target_model is not None:
            predict = FusedModel(self.model.target_model, transform=self.transform).answers
        return self.model.complete_targets(x, y, predict, self.memory_budget)

    def _pack(self, x, y=None, sample_weight=None):
        if not hasattr(self.model, "complete_targets"):
            sample_weight = feeds.for_each_output(y, sample_weight)
        keep_types = self.transform is not None or self._has_float64_input()
        return feeds.pack(x, y, sample_weight, keep_types=keep_types)

    def _has_float64_input(self) -> bool:
        # A model that starts by scaling raw examples is given their full precision, too.
        models = (self.model, getattr(self.model, "student", None))
        inputs = [tensor for model in models for tensor in getattr(model, "inputs", None) or ()]
        return any(tensor.dtype == "float64" for tensor in inputs)

    def _feed(self, x, y, sample_weight, batch_size):
        """The feed for evaluation."""
        if isinstance(x, tf.data.Dataset):
            if y is not None or sample_weight is not None:
                raise NeedsStockKeras("y or sample_weight was given beside a tf.data.Dataset")
            return DatasetFeed(x)
        if not feeds.is_arrays(x):
            raise NeedsStockKeras(f"x of type {type(x).__name__} was given")
        data = self._pack(x, self._targets(x, y), sample_weight)
        return self._arrays_feed(data, batch_size)

    def _arrays_feed(self, data, batch_size: int | None):
        return feeds.make_feed(data, batch_size or 32, self.memory_budget, self.strategy)

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
        """The feeds for training and for validation (or ``None``)."""
        if shuffle == "batch":
            raise NeedsStockKeras('shuffle="batch" was given')
        if self.model.optimizer is None:
            raise NeedsStockKeras("the model has no optimizer")
        validation = None
        if validation_data is not None:
            val_x, val_y, val_weight = keras.utils.unpack_x_y_sample_weight(validation_data)
            validation = self._feed(val_x, val_y, val_weight, validation_batch_size)
        if isinstance(x, tf.data.Dataset):
            if class_weight is not None or (validation_split and validation is None):
                raise NeedsStockKeras(
                    "class_weight or validation_split was given with a tf.data.Dataset"
                )
            return self._feed(x, y, sample_weight, batch_size), validation
        if not feeds.is_arrays(x):
            raise NeedsStockKeras(f"x of type {type(x).__name__} was given")
        data = self._pack(x, self._targets(x, y, reuse=self.augment is None), sample_weight)
        if validation_split and validation is None:
            data, held = feeds.split_tail(data, validation_split)
            validation = self._arrays_feed(held, validation_batch_size)
        if class_weight is not None:
            # After the split: class weights do not apply to the validation loss.
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
            if sample_weight is not None:
                raise NeedsStockKeras("class_weight and sample_weight were given")
            if tree.is_nested(y) and not hasattr(self.model, "complete_targets"):
                raise NeedsStockKeras("class_weight was given with several outputs")
            data = keras.utils.pack_x_y_sample_weight(x, y, feeds.class_weights(y, class_weight))
        return self._arrays_feed(data, batch_size), validation

    def _clear_if_changed(self) -> None:
        # compile() creates a new loss tracker. The tuple keeps the old one alive, so that the two
        # cannot be the same object.
        key = (
            self.model._loss_tracker,
            getattr(self.model, "optimizer", None),  # missing before the model is compiled
            self.transform,
            self.augment,
            self.jit_compile,
        )
        if len(self._key) != len(key) or any(
            old is not new for old, new in zip(self._key, key, strict=True)
        ):
            self._clear()
            self._key = key

    def _prepare(self, feed, validation, epochs: int) -> None:
        """Build the model and trace the programs, unless an earlier call has done so.

        Validation is compiled with XLA only if its own steps are many enough.

        Raises:
            NeedsStockKeras: If the model cannot be built or its step cannot be traced.
        """
        self._clear_if_changed()
        self._summary_programs.clear()
        num_test_steps = (validation.num_steps or 0) * epochs if feed and validation else 0
        if feed is not None:
            # Of all epochs, so that a resumed fit runs in the same way as an uninterrupted one.
            num_steps = self.expected_steps or (feed.num_steps or MIN_STEPS_FOR_XLA) * epochs
            self._make_program("train", feed, self._train_step, num_steps)
            if not self._initial_optimizer:
                variables = self.model.optimizer.variables
                self._initial_optimizer = [variable.numpy() for variable in variables]
            self._log_execution("train", feed, num_steps)
        if validation is not None:
            self._make_program("test", validation, self._test_step, num_test_steps)
            if feed is None and "train" not in self._programs:
                self._log_execution("test", validation)
        for each in (feed, validation):
            if isinstance(each, DatasetFeed):
                each.read_first_block()
                if not each.block_rows:
                    raise NeedsStockKeras("the tf.data.Dataset is empty")

    def _make_program(self, kind: str, feed, step: Callable, num_steps: int) -> None:
        if kind not in self._programs:
            jit = self._uses_xla(num_steps)
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
            raise NeedsStockKeras(
                f"its step cannot be traced for many batches: {type(error).__name__}: {first}"
            ) from error

    def _program(self, kind: str, callbacks) -> Program:
        """The program for training or evaluation.

        The summary writer of a step is fixed when the step is traced. If ``TensorBoard`` opens
        one, the program is therefore traced again at the first batch, when stock Keras traces,
        and used for this fit only, since the writer is closed at its end.
        """
        program = self._programs[kind]
        if not writes_batch_summaries(callbacks):
            return program
        if kind not in self._summary_programs:
            self._summary_programs[kind] = Program(self.strategy, program.step, program.jit)
        return self._summary_programs[kind]

    def _batch_spec(self, feed):
        """A transformed batch, as ``tf.TensorSpec``."""
        batch = map_arrays(
            lambda spec: tf.TensorSpec((feed.batch_size, *spec.shape[1:]), spec.dtype), feed.spec
        )
        transformed = tf.function(self._transformed, autograph=False)
        return transformed.get_concrete_function(batch).structured_outputs

    def _uses_xla(self, num_steps: int) -> bool:
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

    def _log_execution(self, kind: str, feed, num_steps: int = 0) -> None:
        replicas = self.strategy.num_replicas_in_sync
        program = self._summary_programs.get(kind, self._programs[kind])
        how = "XLA" if program.jit else "graph"
        self.execution = f"{how}, {feed.kind}, {replicas} replica{'s' * (replicas > 1)}"
        about = f"training {self.model.name}: {self.execution}"
        self._say_once(about, logging.INFO, f" ({num_steps} steps)")

    def _say_once(self, message: str, level: int = logging.INFO, more: str = "") -> None:
        if message not in self._logged:
            self._logged.add(message)
            logger.log(level, "%s%s", message, more)

    def _epoch_logs(self, logs) -> dict:
        """The results of the metrics, or the logs of an overridden ``train_step``."""
        kind, stock = type(self.model), keras.Model
        overridden = [name for name in _LOGGING if getattr(kind, name) is not getattr(stock, name)]
        if logs and not overridden and self.strategy.num_replicas_in_sync == 1:
            # The last step has read the metrics already; doing so again takes milliseconds.
            return to_python(logs)
        results = self.model.get_metrics_result()
        return to_python(results if not logs or set(logs) == set(results) else logs)

    def _evaluate(self, feed, callbacks) -> dict:
        model = self.model
        every = model.steps_per_execution if uses_batch_hooks(callbacks, "test") else None
        model.stop_evaluating = False
        callbacks.on_test_begin()
        model.reset_metrics()
        logs = {}
        blocks = feed.blocks(None, 0)
        for end, logs in self._program("test", callbacks).run(
            feed, blocks, every, callbacks.on_test_batch_begin
        ):
            callbacks.on_test_batch_end(end, logs)
            if model.stop_evaluating:
                break
        logs = self._epoch_logs(logs)
        callbacks.on_test_end(logs)
        return logs


# Methods that a model may override to change what is logged.
_LOGGING = ("train_step", "test_step", "compute_metrics", "get_metrics_result")


def _is_float64(leaf) -> bool:
    return getattr(leaf, "dtype", None) in (np.float64, tf.float64)


def _cast_float64(leaf: tf.Tensor) -> tf.Tensor:
    """Cast ``float64`` to ``keras.config.floatx()``."""
    return tf.cast(leaf, keras.config.floatx()) if leaf.dtype == tf.float64 else leaf


def scaling(preprocessing: keras.Model) -> Callable:
    """The ``transform`` of a :class:`FusedModel` that applies a preprocessing model to ``x``."""
    return lambda x, y, sample_weight: (preprocessing(x), y, sample_weight)


def predict_raw(model: keras.Model, preprocessing: keras.Model, x) -> np.ndarray:
    """Predict from raw examples, ``(n, ...)`` to ``(n, outputs)``."""
    return FusedModel(model, transform=scaling(preprocessing)).answers(x)


def is_faster_compiled(model: keras.Model) -> bool:
    """Whether XLA supports every layer of the model and slows none of them down."""
    layers = list(model._flatten_layers())
    if not all(getattr(layer, "supports_jit", True) for layer in layers):
        return False
    # XLA's convolutions are slow on a CPU: on two cores, a step of a convolutional autoencoder on
    # MNIST took 6 to 9 times as long as in a graph.
    is_convolutional = any(hasattr(layer, "kernel_size") for layer in layers)
    return not is_convolutional or bool(tf.config.list_logical_devices("GPU"))


def _is_validated(epoch: int, frequency) -> bool:
    if isinstance(frequency, int):
        return (epoch + 1) % frequency == 0
    return epoch + 1 in frequency
