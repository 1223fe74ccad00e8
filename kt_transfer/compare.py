"""``python -m kt_transfer.compare``: is transferring worth it, and which way?

Every method learns the same labelled examples and is judged by the same held-out ones; the
winner learns them all, is measured once on the test split, and is exported.
"""

from __future__ import annotations

if __name__ == "__main__":  # --help and mistakes are answered before TensorFlow loads
    import sys

    from kt_transfer.shell.entry import main

    sys.exit(main(["compare", *sys.argv[1:]]))

import dataclasses
from collections.abc import Mapping
from inspect import Parameter
from pathlib import Path

import numpy as np

from kt_transfer import export
from kt_transfer.comparison import calibrating, comparing, conclusions, pacing
from kt_transfer.comparison.comparison import Comparison
from kt_transfer.comparison.folds import default_budgets
from kt_transfer.comparison.refitting import fixed
from kt_transfer.comparison.report import write_report
from kt_transfer.comparison.scoring import scores
from kt_transfer.comparison.summary import describe_comparison
from kt_transfer.comparison.table import Table
from kt_transfer.data import Dataset
from kt_transfer.data.dataset import Part
from kt_transfer.data.rows import take_rows
from kt_transfer.errors import UserError, named
from kt_transfer.explaining.explanation import explain
from kt_transfer.methods import Propagated
from kt_transfer.methods.candidates import (
    chosen_methods,
    read_candidates,
    require_candidates,
    with_students,
)
from kt_transfer.methods.estimator import TREES
from kt_transfer.methods.learning import Learned
from kt_transfer.methods.views import AUTO_VIEWS, views_of
from kt_transfer.models.preprocessing import as_image
from kt_transfer.models.temperature import with_temperature
from kt_transfer.reporting.classification import confusion_matrix, softmax
from kt_transfer.reporting.examples import Answers
from kt_transfer.reporting.explanations import Explanation, save_explanation
from kt_transfer.reporting.plots import plot_confusion_matrix, plot_history
from kt_transfer.runs import recording, session
from kt_transfer.runs.folder import Run, open_source
from kt_transfer.serving.server import docker_line
from kt_transfer.settings import CompareConfig
from kt_transfer.settings.calling import config_of, signature_of
from kt_transfer.training.callbacks import EpochLog

# Of more columns it takes longer than seconds to say which carry the answers.
_MOST_COLUMNS = 200
# Settings that may be objects in Python, and come first.
_OBJECTS = ("candidates", "teachers")


def run(candidates=None, teachers=None, **settings):
    """The command as a function; its settings are the fields of :class:`CompareConfig`.

    Args:
        candidates: A JSON file, or methods by name, such as ``{"frozen": Parameters(freeze=1)}``
            of :mod:`kt_transfer.methods`, which are compared beside ``methods``.
        teachers: Import paths, or classifiers with settings of their own, such as
            ``[RandomForestClassifier(500)]``.
        **settings: The fields.

    Returns:
        The table as a pandas data frame, a row a training. Its ``attrs`` hold ``run`` (the run
        folder's path), ``verdicts``, ``winner`` and ``plots`` (paths of PNG files);
        ``report.html`` is in the run folder.

    Example:
        >>> from kt_transfer import compare
        >>> settings = {"folds": 2, "repeats": 1, "methods": ("scratch", "linear"), "quiet": True}
        >>> table = compare.run(data="digits", labels=(50,), **settings)
        >>> sorted(table["method"].unique())
        ['linear', 'scratch']
    """
    further = {}
    if isinstance(candidates, Mapping):
        candidates, further = None, require_candidates(candidates)
    if teachers is not None:
        teachers = [teachers] if isinstance(teachers, str) or _learns(teachers) else list(teachers)
        settings["teachers"] = [given for given in teachers if isinstance(given, str)]
    config = config_of(CompareConfig, settings | {"candidates": candidates})
    instances = [given for given in teachers or () if not isinstance(given, str)]
    return execute(config, further | _with_students(config, instances))


run.__signature__ = signature_of(
    CompareConfig,
    *(Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=None) for name in _OBJECTS),
)


def _learns(teacher) -> bool:
    """Whether it is one classifier, rather than several."""
    return hasattr(teacher, "fit")


def execute(config: CompareConfig, candidates: Mapping | None = None, search=None):
    """Strategy, data, every cell, verdicts; the winner refitted, measured once and exported.

    Args:
        config: The settings.
        candidates: Further candidates by name.
        search: The settings of a ``tune compare`` that this is a part of: what its run folder
            keeps, to go on with.
    """
    began = pacing.now()
    config = session.with_image_size(config, {name: open_source(name) for name in config.source})
    methods = methods_of(config, candidates)
    # Asked for, they are refused before the data are read.
    taught = _with_students(config, config.teachers or ())
    command, kept = "compare", config
    if search is not None:
        command, kept = "tune-compare", dataclasses.replace(search, image_size=config.image_size)
    with session.start_run(command, kept) as run:
        strategy = recording.begin(run, config)
        data = session.load_data(config, config.data)
        data.require_labels()
        recording.check_data(session.say(config), data, config.folds)
        recording.note_data(run, data)
        if config.labels is None:
            fitting = default_budgets(data.num_labelled, config.folds)
            config = dataclasses.replace(config, labels=fitting)
            run.update_json("config.json", labels=list(fitting))
        methods = _for_the_data(config, data, methods) | taught
        table = Table(run.path)
        with strategy.scope():
            comparison = comparing.fill(config, methods, run, data, table, began)
            found = conclusions.summarize(config, comparison, table, data.class_names)
            winner = found["winner"]
            temperature = found["temperature"] = calibrating.temperature(config, table, found)
            found["test"], answers, why = _save_winner(
                config, run, data, comparison, winner, temperature
            )
        found["explanations"] = why and save_explanation(why, run.folder("plots"))
        run.write_json("comparison.json", found)  # the model card tells of it
        version = export.write_version(
            run, config.name, config.export_dir, data=data, data_dir=config.data_dir
        )
        found["exported"] = str(version)
        run.write_json("comparison.json", found)
        then = _commands_after(config, version)
        write_report(config, run, data, comparison, found, table, answers, why, then)
    views = any(_sees_views(method, data) for method in methods.values())
    _tell(config, run, found, version, then, views)
    frame = table.frame()
    frame.attrs.update(
        run=str(run.path),
        verdicts=found["verdicts"],
        winner=found["winner"],
        plots=[str(path) for path in sorted((run.path / "plots").glob("*.png"))],
    )
    return frame


def methods_of(config: CompareConfig, candidates: Mapping | None = None) -> dict:
    """The methods with the settings of the command, then the further candidates."""
    methods = chosen_methods(config.methods, **_settings_of_methods(config))
    further = read_candidates(config.candidates) if config.candidates else candidates or {}
    if twice := sorted(set(methods) & set(further)):
        raise UserError(
            setting="candidates",
            given=config.candidates or list(further),
            expected=f"names that are not among {named('methods')}",
            but=f"{twice[0]} is",
            remedy="give it another name, or leave the method out",
        )
    return methods | further


def _for_the_data(config: CompareConfig, data: Dataset, methods: dict) -> dict:
    """Where nothing else was asked for, trees and no graph for the rows of a table."""
    if len(data.input_shape) > 1 or config.methods != CompareConfig.methods:
        return methods
    # Measured on tables (benchmarks/tables.py): trees are good teachers, graphs win on none.
    methods = {name: method for name, method in methods.items() if name != Propagated.name}
    return methods | (_with_students(config, (TREES,)) if config.teachers is None else {})


def _settings_of_methods(config: CompareConfig) -> dict:
    """The settings that all candidates have in common, as far as they are given."""
    names = ("epochs", "batch_size", "student_units", "learning_rate", "augment")
    return {name: getattr(config, name) for name in names if getattr(config, name) is not None}


def _with_students(config: CompareConfig, teachers) -> dict:
    """The teachers that are no networks, each with its student."""
    return with_students(teachers, **_settings_of_methods(config))


def _sees_views(method, data: Dataset) -> bool:
    """Whether a method learns from views though nobody asked for them."""
    own = getattr(method, "augment", None)
    return own == "auto" and views_of(own, data.input_shape, data.noise_range) is not None


def _save_winner(
    config, run: Run, data: Dataset, comparison: Comparison, winner: dict, temperature: float
) -> tuple[dict, Answers, Explanation | None]:
    """Refit the winner on all labels, measure it on the test split, save it as this run.

    Its logits are divided by the temperature.

    Returns:
        Its scores on the test split, which is touched here and nowhere else; its answers there,
        those to examples that have a label; and what carries them.
    """
    method, source = winner["method"], winner["source"]
    (run.path / "history.csv").unlink(missing_ok=True)
    log = EpochLog(run.path / "history.csv")
    learned, labelled = comparison.refit(method, source, callbacks=[log])
    learned = learned._replace(preprocessing=fixed(learned.preprocessing))
    if temperature != 1.0:
        learned = learned._replace(network=with_temperature(learned.network, temperature))
    recording.note_data(run, data, train=labelled, labelled=labelled, validation=np.arange(0))
    given = open_source(source) if source in config.source else None
    recording.save_classifier(run, learned.network, learned.preprocessing, given, data)
    if comparison.transfers(method) and comparison.sources[source].pretraining is not None:
        recording.save_autoencoder(
            run, comparison.sources[source].pretraining.autoencoder, learned.preprocessing, data
        )
    known = np.flatnonzero(data.y_test >= 0)
    y, logits = data.y_test[known], learned.logits(data.x_test)[known]
    test = recording.test_metrics(y, logits)
    if len(known):
        test |= scores(y, logits)
        counts = confusion_matrix(y, logits.argmax(axis=1), data.num_classes)
        plot_confusion_matrix(
            counts, data.class_names, run.folder("plots") / "confusion_matrix.png"
        )
    metrics = {"test": test, "num_parameters": learned.network.count_params()}
    metrics |= {"temperature": temperature}
    run.write_json("metrics.json", metrics)
    if log.rows:
        plot_history(log.rows, run.folder("plots") / "loss.png")
    examples = take_rows(data.x_test, known)
    answers = Answers(examples, y, softmax(logits), data.class_names, data.value_range)
    if data.schema is not None:
        texts, columns = data.schema.texts_of(examples), data.schema.names
        answers = answers._replace(texts=texts, columns=columns)
    return test, answers, _explained(config, data, learned, labelled)


def _explained(config, data: Dataset, learned: Learned, labelled: np.ndarray) -> Explanation | None:
    """What carries the winner's answers to the test split; without labels there, to the examples
    that it has learned. ``None`` for so many columns that it would take long."""
    if not as_image(data.input_shape) and data.input_dim > _MOST_COLUMNS:
        return None
    if (data.y_test >= 0).any():
        (part,) = data.parts("test")
    else:
        x, y, rows = data.x[labelled], data.y[labelled], data.rows[labelled]
        part = Part("train", x, y, rows)
    return explain(
        learned.network,
        learned.preprocessing,
        data,
        part,
        metric=config.metric,
        score=lambda y, logits: scores(y, logits)[config.metric],
        seed=config.seed,
    )


def _tell(
    config, run: Run, found: dict, version: Path, then: list[tuple[str, str]], views: bool
) -> None:
    """The table, what it means in plain words, and what comes next."""
    say = session.say(config)
    say(f"{config.metric} on held-out examples of {config.data}, against scratch:\n")
    for line in describe_comparison(found):
        say(line)
    if views:
        say(AUTO_VIEWS)
    report = f"report {run.path / 'report.html'}"
    say(f"run {run.path}   {report}   served model {version}: {export.checked(version)}")
    for line in export.how_to_serve(version):
        say(line)
    (_, predict), _ = then
    say(f"next: {predict}")


def _commands_after(config, version: Path) -> list[tuple[str, str]]:
    """What to do with the winner, and the command for it."""
    return [
        (
            "Its answers",
            export.asking(version),
        ),
        ("To serve it", docker_line(str(version.parent), config.name)),
    ]
