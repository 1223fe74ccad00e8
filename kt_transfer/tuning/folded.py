"""A KerasTuner search, cross-validated, of anyone's Keras model."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import keras
import keras_tuner
import numpy as np

from kt_transfer.engine.fused_model import FusedModel
from kt_transfer.errors import TrainingFailed, UserError, listed
from kt_transfer.files.reading import read_json
from kt_transfer.files.writing import replacing
from kt_transfer.methods.learning import initial_weights_of
from kt_transfer.methods.reusing import MOST_KEPT
from kt_transfer.training.diverging import StopOnDivergence
from kt_transfer.tuning.oracles import Search, oracle_of
from kt_transfer.tuning.report import write_report
from kt_transfer.tuning.trials import TrialTuner, row_of


class FoldedTuner:
    """Searches the hyperparameters of a Keras model, each trial judged by the same folds.

    As for ``keras_tuner.RandomSearch``, a function builds and compiles a model from ``hp``. Unlike
    there, what ranks the trials never chooses how long they are trained: in every fold a part of
    the training examples decides after which epoch the weights are best, and the held-out fold
    judges these weights. A trial that cannot win any more ends after some of its folds.

    The function is called anew for every fold: weights that it loads are what each fold starts
    from, as are those of layers made outside of it. Models of equal architecture share one
    compiled program, whatever their learning rate; not those with functions or classes that are
    not registered with Keras, since these may differ without saying so.

    Args:
        build: Function ``hp -> compiled keras.Model``.
        objective: Name of a metric of the model, or ``"loss"``, without ``"val_"``.
        direction: ``"max"`` or ``"min"`` (default: ``"min"`` for ``"loss"``, else ``"max"``).
        folds: Folds of the examples, at least 2; stratified where the targets are classes.
        search: ``"random"``, ``"bayesian"``, ``"hyperband"`` or ``"grid"``; the first trial has
            the defaults of all hyperparameters.
        max_trials: Trials at most; hyperband plans its own number.
        seed: Of trials, folds, initial weights and the order of examples.
        directory: Of the search; one that is there already goes on where it was interrupted, with
            the same examples and settings.
        say: Where a line for each trial goes.

    Example:
        >>> def build(hp):
        ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        ...     loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        ...     rate = hp.Float("learning_rate", 1e-4, 1e-1, sampling="log", default=1e-3)
        ...     model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
        ...     return model
        >>> from sklearn.datasets import load_iris
        >>> x, y = load_iris(return_X_y=True)
        >>> tuner = FoldedTuner(build, max_trials=3, directory="search", say=lambda line: None)
        >>> tuner.search(x, y, epochs=5)
        >>> [len(trial["scores"]) <= 5 for trial in tuner.trials]
        [True, True, True]
        >>> model = tuner.train_best(x, y)
    """

    def __init__(
        self,
        build: Callable[[keras_tuner.HyperParameters], keras.Model],
        *,
        objective: str = "accuracy",
        direction: str | None = None,
        folds: int = 5,
        search: Search = "random",
        max_trials: int = 10,
        seed: int = 0,
        directory: str | Path = "search",
        say: Callable[[str], None] = print,
    ):
        if folds < 2:
            raise UserError(
                setting="folds",
                given=folds,
                expected="at least 2 to judge the trials by",
                remedy="give more",
            )
        self.build, self.objective, self.num_folds = build, objective, folds
        self.direction = direction or ("min" if objective == "loss" else "max")
        self.search_kind, self.max_trials, self.seed = search, max_trials, seed
        self.directory, self.say = Path(directory), say
        self.trials: list[dict] = []
        self._epochs: dict[str, list[int]] = {}
        self._programs: OrderedDict[str, _Program] = OrderedDict()
        self._first_weights = _FirstWeights()

    def search(
        self,
        x: np.ndarray,
        y: np.ndarray,
        *,
        epochs: int = 50,
        batch_size: int = 32,
        inner_share: float = 0.2,
        groups: Sequence | None = None,
    ) -> None:
        """Run the trials, and write ``trials.csv`` and ``report.html`` into the directory.

        Args:
            x: Examples, shape ``(n, ...)``.
            y: Targets, shape ``(n,)`` or ``(n, ...)``; integers are classes.
            epochs: Passes over the training examples at most.
            batch_size: Examples per step, where ``hp`` has no ``batch_size``.
            inner_share: Share of what a fold trains on whose loss decides after which epoch the
                weights are best; 0 trains for all epochs.
            groups: A value for each example: those with equal ones stay in one fold.
        """
        x, y = np.asarray(x), np.asarray(y)
        self._given = _Given(epochs, batch_size, inner_share, None if groups is None else groups)
        _require_folds(y, self.num_folds, groups)
        splits = _splits(x, y, self.num_folds, self.seed, groups)
        space = keras_tuner.HyperParameters()
        self._built(space, self.seed, x)
        self._require_same_search(x, y, space)
        tuner = TrialTuner(
            lambda trial: self._scores(trial, x, y, splits),
            num_folds=self.num_folds,
            metric=self.objective,
            say=self.say,
            oracle=oracle_of(
                self.search_kind,
                space,
                metric=f"val_{self.objective}",
                direction=self.direction,
                seed=self.seed,
                max_trials=self.max_trials,
                max_epochs=epochs,
            ),
            folder=self.directory / "tuner",
        )
        try:
            tuner.run_all()
        finally:
            self._first_weights.restore()
        self.trials = [
            {**row_of(trial), "epochs": self._epochs_of(trial)}
            for _, trial in sorted(tuner.oracle.trials.items())
        ]
        done = [trial for trial in self.trials if trial["score"] is not None]
        if not done:
            raise TrainingFailed(
                f"every one of {len(self.trials)} trials failed, expected one at least to choose: "
                f"the last says, {self.trials[-1]['message']}"
            )
        choose = min if self.direction == "min" else max
        self.best = choose(done, key=lambda trial: trial["score"])
        found = {
            "command": "search",
            "objective": f"validation {self.objective}",
            "direction": self.direction,
            "folds": self.num_folds,
            "judged": len(x),
            "best": self.best["trial"],
            "trials": self.trials,
        }
        write_report(self.directory, found)

    @property
    def best_hyperparameters(self) -> keras_tuner.HyperParameters:
        """Those of the best trial, as the function that builds takes them."""
        chosen = keras_tuner.HyperParameters()
        self.build(chosen)
        chosen.values.update(self.best["settings"])
        return chosen

    def train_best(self, x: np.ndarray, y: np.ndarray) -> keras.Model:
        """A model with the best hyperparameters, trained on all examples.

        It is trained for as many epochs as were best in its folds, in the median.
        """
        x, y = np.asarray(x), np.asarray(y)
        # One of its own, which no later search changes.
        program = _Program(self._built(self.best_hyperparameters, self.seed, x))
        program.train(
            x,
            y,
            seed=self.seed,
            epochs=self.best["epochs"],
            batch_size=self._batch_size(self.best["settings"]),
        )
        return program.fused.model

    def _scores(self, trial, x, y, splits) -> Iterator[float]:
        """Score of each held-out fold; and after which epoch its weights were best."""
        hp = trial.hyperparameters.copy()
        values, given = hp.values, self._given
        epochs = values.get("tuner/epochs", given.epochs)
        for number, (train, judging) in enumerate(splits):
            program = self._program(self._built(hp, self.seed + number, x))
            stopping = np.arange(0)
            if given.inner_share:
                groups = None if given.groups is None else np.asarray(given.groups)[train]
                kept, inner = _inner_split(y[train], given.inner_share, self.seed, groups)
                train, stopping = train[kept], train[inner]
            best = program.train(
                x[train],
                y[train],
                seed=self.seed + number,
                epochs=epochs,
                batch_size=self._batch_size(values),
                stopping=(x[stopping], y[stopping]) if len(stopping) else None,
            )
            self._note_epochs(trial.trial_id, number, best)
            yield program.score(x[judging], y[judging], self.objective)

    def _batch_size(self, values: dict) -> int:
        return int(values.get("batch_size", self._given.batch_size))

    def _program(self, model: keras.Model) -> _Program:
        """A compiled program for a model: that of an equal one, which takes over its weights."""
        key = _architecture(model)
        if key is None:
            return _Program(model)
        if key in self._programs:
            self._programs.move_to_end(key)
            self._programs[key].start_from(model)
            return self._programs[key]
        self._programs[key] = _Program(model)
        if len(self._programs) > MOST_KEPT:
            self._programs.popitem(last=False)
        return self._programs[key]

    def _built(self, hp, seed: int, x: np.ndarray) -> keras.Model:
        """A model with the initial weights that belong to a seed, where the function draws them."""
        with initial_weights_of(seed):
            model = self.build(hp)
            if not model.built:
                model(x[:1])
        self._first_weights.give(model)
        return model

    def _require_same_search(self, x, y, space: keras_tuner.HyperParameters) -> None:
        """A directory is gone on with as if nothing else had been asked; so nothing else may be."""
        given = self._given
        asked = {
            "search": self.search_kind,
            "objective": self.objective,
            "direction": self.direction,
            "folds": self.num_folds,
            "seed": self.seed,
            "epochs": given.epochs,
            "batch_size": given.batch_size,
            "inner_share": given.inner_share,
            "x": _fingerprint(x),
            "y": _fingerprint(y),
            "groups": None if given.groups is None else _fingerprint(np.asarray(given.groups)),
            "hyperparameters": json.loads(json.dumps([hp.get_config() for hp in space.space])),
        }
        path = self.directory / "search.json"
        if path.is_file():
            before = read_json(path)
            other = [name for name, value in asked.items() if before.get(name) != value]
            if other:
                raise UserError(
                    setting="directory",
                    given=str(self.directory),
                    expected="a new folder, or one with the same search to go on with",
                    but=f"the search in it had other {listed(other)}",
                    remedy="give another folder, or remove this one",
                )
        self.directory.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            unfinished.write_text(json.dumps(asked, indent=1))

    def _note_epochs(self, trial: str, fold: int, best: int) -> None:
        """Beside KerasTuner's state, since an interrupted search has to know them, too."""
        path = self.directory / "tuner" / f"trial_{trial}" / "epochs.json"
        found = json.loads(path.read_text()) if fold and path.is_file() else []
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([*found[:fold], best]))

    def _epochs_of(self, trial) -> int:
        path = self.directory / "tuner" / f"trial_{trial.trial_id}" / "epochs.json"
        found = json.loads(path.read_text()) if path.is_file() else []
        return int(np.median(found)) if found else self._given.epochs


@dataclasses.dataclass(frozen=True)
class _Given:
    """What a search was given."""

    epochs: int
    batch_size: int
    inner_share: float
    groups: Sequence | None


class _FirstWeights:
    """Of each variable, the value that it had before anything was trained.

    Layers that were made outside of the function which builds are the same in all models: without
    this a fold would start from what others, of the examples that judge it, have taught them.
    """

    def __init__(self):
        self._known: dict[int, tuple[weakref.ref, np.ndarray]] = {}

    def give(self, model: keras.Model) -> None:
        """Give a model's variables their first value, where it is not their first model."""
        self._known = {key: kept for key, kept in self._known.items() if kept[0]() is not None}
        for variable in model.variables:
            if id(variable) in self._known:
                variable.assign(self._known[id(variable)][1])
            else:
                value = keras.ops.convert_to_numpy(variable)
                self._known[id(variable)] = weakref.ref(variable), np.array(value)

    def restore(self) -> None:
        """Give it to all variables that are left."""
        for reference, value in self._known.values():
            variable = reference()
            if variable is not None:
                variable.assign(value)


class _Program:
    """A model that is trained again and again from given weights, in one compiled program."""

    def __init__(self, model: keras.Model):
        self.fused = FusedModel(model)
        self.learning_rate = _learning_rate(model)

    def start_from(self, model: keras.Model) -> None:
        """Take the weights and the learning rate of an equal model."""
        for variable, other in zip(self.fused.model.variables, model.variables, strict=True):
            variable.assign(other)
        self.learning_rate = _learning_rate(model)

    def train(
        self,
        x,
        y,
        *,
        seed: int,
        epochs: int,
        batch_size: int,
        stopping: tuple | None = None,
    ) -> int:
        """Train from the weights that it has, in the order of examples that belongs to a seed.

        Returns:
            After which epoch the weights were taken: that of the least loss on ``stopping``, else
            the last.
        """
        model = self.fused.model
        self.fused.reset()
        if self.learning_rate is not None:
            self.fused.optimizer.learning_rate = self.learning_rate
        self.fused.seed = seed
        callbacks = [StopOnDivergence(model)]
        best = None
        if stopping is not None:
            best = keras.callbacks.EarlyStopping(
                # Of few examples an accuracy has many ties, the first of which is far too early.
                "val_loss",
                mode="min",
                patience=max(5, epochs // 5),
                restore_best_weights=True,
            )
            callbacks.append(best)
        self.fused.fit(
            x,
            y,
            epochs=epochs,
            batch_size=batch_size,
            validation_data=stopping,
            validation_batch_size=max(batch_size, 256),
            callbacks=callbacks,
            verbose=0,
        )
        return epochs if best is None else best.best_epoch + 1

    def score(self, x, y, objective: str) -> float:
        """A metric of the model on examples."""
        results = self.fused.evaluate(x, y, batch_size=256, verbose=0, return_dict=True)
        if objective not in results:
            raise UserError(
                setting="objective",
                given=objective,
                expected=f"a metric that the model is compiled with: {', '.join(results)}",
                remedy="give one of them, or compile it with that metric",
            )
        return float(results[objective])


def _architecture(model: keras.Model) -> str | None:
    """What a compiled program depends on, as text: the same for models that can share one.

    ``None`` for a model that cannot be described: a subclass without ``get_config``, or one with
    functions or classes of which only the name is known.
    """
    try:
        with warnings.catch_warnings():
            # Of lambdas, which are not to be loaded from anywhere.
            warnings.simplefilter("ignore", UserWarning)
            described = {"model": model.get_config(), "compiled": model.get_compile_config()}
        if not (_is_known(type(model)) and _says_all(described)):
            return None
        optimizer = described["compiled"]["optimizer"]["config"]
        if isinstance(optimizer.get("learning_rate"), float):
            optimizer = {**optimizer, "learning_rate": None}
            described["compiled"]["optimizer"] = {
                **described["compiled"]["optimizer"],
                "config": optimizer,
            }
        text = json.dumps(described, sort_keys=True, default=repr)
    except (NotImplementedError, TypeError, ValueError, KeyError, AttributeError, OSError):
        return None
    # Keras numbers the names of layers through a process.
    for number, name in enumerate(dict.fromkeys(_names(described))):
        text = text.replace(json.dumps(name), json.dumps(f"layer {number}"))
    return text


def _is_known(kind: type) -> bool:
    return kind.__module__.startswith("keras.") or ">" in keras.saving.get_registered_name(kind)


def _says_all(config) -> bool:
    """Whether all within a configuration is Keras's own or registered with it.

    Of any other function or class there is but the name, which those that close over a
    hyperparameter share.
    """
    if isinstance(config, dict):
        if "class_name" in config and ">" not in (config.get("registered_name") or ">"):
            return False
        if config.get("class_name") in ("function", "__lambda__"):
            return False
        config = config.values()
    if isinstance(config, str) or not isinstance(config, Iterable):
        return True
    return all(_says_all(value) for value in config)


def _names(config) -> Iterator[str]:
    """The names of a model and its layers in its configuration, in their order."""
    if isinstance(config, dict):
        if isinstance(config.get("name"), str):
            yield config["name"]
        config = config.values()
    if not isinstance(config, str):
        for value in config if isinstance(config, Iterable) else ():
            yield from _names(value)


def _learning_rate(model: keras.Model) -> float | None:
    """The learning rate that a model is compiled with; ``None`` for a schedule."""
    config = model.optimizer.get_config() if model.optimizer is not None else {}
    rate = config.get("learning_rate")
    return float(rate) if isinstance(rate, int | float) else None


def _fingerprint(values: np.ndarray) -> str:
    given = values if values.dtype != object else np.array(list(map(repr, values.ravel())))
    own = hashlib.sha256(f"{given.dtype} {values.shape}".encode())
    own.update(memoryview(np.ascontiguousarray(given)).cast("B") if given.size else b"")
    return own.hexdigest()[:16]


def _are_classes(y: np.ndarray) -> bool:
    return y.ndim == 1 and y.dtype.kind in "iubOU"


def _require_folds(y: np.ndarray, num_folds: int, groups) -> None:
    most, of_what = len(y), "the examples"
    remedy = "give fewer"
    if _are_classes(y):
        most, of_what = np.unique(y, return_counts=True)[1].max(), "those of the largest class of y"
        remedy = "give fewer, or y as floats where it holds amounts rather than classes"
    if groups is not None and len(np.unique(groups)) < most:
        most, of_what, remedy = len(np.unique(groups)), "the groups", "give fewer"
    if num_folds > most:
        raise UserError(
            setting="folds", given=num_folds, expected=f"at most {most}, {of_what}", remedy=remedy
        )


def _splits(x, y, num_folds: int, seed: int, groups) -> list[tuple[np.ndarray, np.ndarray]]:
    from sklearn.model_selection import (
        GroupKFold,
        KFold,
        StratifiedGroupKFold,
        StratifiedKFold,
    )

    are_classes = _are_classes(y)
    options = {"n_splits": num_folds, "shuffle": True, "random_state": seed}
    if groups is not None:
        kind = StratifiedGroupKFold if are_classes else GroupKFold
    else:
        kind = StratifiedKFold if are_classes else KFold
    with warnings.catch_warnings():
        # Of classes that have fewer examples than there are folds.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return list(kind(**options).split(x, y if are_classes else None, groups))


def _inner_split(y, share: float, seed: int, groups) -> tuple[np.ndarray, np.ndarray]:
    """Positions to train on, and those that decide when to stop: a fold of about that share."""
    most = len(y) if groups is None else len(np.unique(groups))
    if _are_classes(y):
        most = min(most, np.unique(y, return_counts=True)[1].max())
    parts = min(max(2, round(1 / share)), most)
    if parts < 2:  # too few for any to be held out
        return np.arange(len(y)), np.arange(0)
    return _splits(np.zeros(len(y)), y, parts, seed, groups)[0]
