"""Candidates of a comparison: methods with settings of their own, under names of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

from kt_transfer.errors import UserError
from kt_transfer.files.reading import read_json
from kt_transfer.methods import BY_NAME, METHODS, Distilled, Parameters
from kt_transfer.methods.estimator import Estimator

# A student sees all unlabelled examples in an epoch: of many, it takes fewer epochs.
MAX_STUDENT_STEPS = 3000


def method_with(name: str, **settings):
    """A method by its name, with those of the settings that it has; the others are left out.

    Example:
        >>> method_with("parameters", freeze=1, student_units=(8,)).freeze
        1
    """
    kind = BY_NAME[name]
    own = {field.name for field in dataclasses.fields(kind)}
    given = {key: value for key, value in settings.items() if key in own}
    if kind.sees_unlabelled and kind.teacher is None:
        # Epochs of the labelled examples say nothing of those of all examples.
        given = {key: given[key] for key in given if key not in ("epochs", "batch_size")}
    if kind is Distilled:
        given = {"max_steps": MAX_STUDENT_STEPS, **given}
        given.setdefault("teacher", method_with(Parameters.name, **settings))
    return kind(**given)


def chosen_methods(names, **settings) -> dict:
    """The methods of these names with common settings, in the order in which they are reported."""
    return {
        method.name: method_with(method.name, **settings)
        for method in METHODS
        if method.name in names
    }


def with_students(teachers: Iterable, **settings) -> dict:
    """Classifiers with scikit-learn's interface, each followed by a student of it.

    Args:
        teachers: Import paths of classes, or instances.
        **settings: Of the students, as for :func:`method_with`.

    Raises:
        UserError: If one of them is not installed, or is no classifier.

    Example:
        >>> list(with_students(["sklearn.ensemble.ExtraTreesClassifier"]))
        ['ExtraTreesClassifier', 'ExtraTreesClassifier student']
    """
    methods: dict = {}
    for given in teachers:
        teacher = Estimator(estimator=given)
        teacher.unfitted()  # what cannot be made is refused here
        name = teacher.title if teacher.title not in methods else str(given)
        if name in methods:
            raise UserError(
                setting="teachers",
                given=given,
                expected="each of them once",
                remedy="leave the second out",
            )
        methods[name] = teacher
        methods[f"{name} student"] = method_with(Distilled.name, teacher=teacher, **settings)
    return methods


def read_candidates(path: Path) -> dict:
    """The candidates of a JSON file: a list of objects, each with a ``name``.

    Beside the name stand ``method`` and its settings, or ``run``, a run folder of ``finetune`` or
    ``distill`` whose settings are taken; settings beside it replace those of the run::

        [{"name": "frozen", "method": "parameters", "freeze": 1},
         {"name": "tuned", "run": "runs/search/best", "epochs": 200},
         {"name": "small", "method": "distilled", "teacher": {"method": "features"}}]

    Raises:
        UserError: If the file cannot be read, or a candidate is none.
    """
    try:
        entries = read_json(path)
        if not isinstance(entries, list) or not entries:
            raise ValueError("it is not a list of candidates")
    except (OSError, ValueError) as error:
        raise UserError(
            setting="candidates",
            given=path,
            expected="a JSON file such as "
            '[{"name": "frozen", "method": "parameters", "freeze": 1}]',
            but=f"it cannot be read ({error})",
            remedy="correct it",
        ) from error
    candidates: dict = {}
    for number, entry in enumerate(entries, 1):
        try:
            name, method = _candidate(entry)
            if name in candidates:
                raise ValueError(f"the name {name!r} stands twice")
        except (OSError, ValueError, TypeError, KeyError, UserError) as error:
            raise UserError(
                setting="candidates",
                given=path,
                expected="a name and a method with its settings for each candidate",
                but=f"number {number} is none ({str(error).rstrip('.')})",
                remedy="correct it",
            ) from error
        candidates[name] = method
    return candidates


def require_candidates(candidates: Mapping) -> dict:
    """Candidates that are given in Python, checked: a method for each name."""
    for name, method in candidates.items():
        if not isinstance(method, METHODS):
            raise UserError(
                setting="candidates",
                given={name: method},
                expected="a method for each name, such as Parameters(freeze=1)",
                remedy="take one of kt_transfer.methods",
            )
    return dict(candidates)


def to_json(method) -> dict:
    """A method as a candidate's entry, without its name."""
    if hasattr(method, "to_json"):  # one around another
        return method.to_json(to_json)
    settings = {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}
    if method.teacher is not None:
        settings["teacher"] = to_json(method.teacher)
    return {"method": method.name, **settings}


def describe(name: str, method) -> str:
    """What a candidate is, in one line: its method, and the settings that differ from its own."""
    if name == method.name:
        return method.description
    if isinstance(method, Estimator):
        return f"{method.estimator}, on the scaled inputs: no network, so it is not exported"
    if hasattr(method, "to_json"):
        return method.description
    defaults = type(method)()
    differing = [
        f"{field.name} {_shown(getattr(method, field.name))}"
        for field in dataclasses.fields(method)
        if field.name not in ("max_steps", "teacher")
        and getattr(method, field.name) != getattr(defaults, field.name)
    ]
    if method.teacher not in (None, defaults.teacher):
        differing.append(f"teacher {describe('teacher', method.teacher)}")
    return ", ".join([f"{method.name}: {method.description}", *differing])


def _shown(value) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _candidate(entry) -> tuple[str, object]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"]:
        raise ValueError("it has no name")
    settings = {key: value for key, value in entry.items() if key not in ("name", "method", "run")}
    name, method = entry["name"], entry.get("method")
    if "run" in entry:
        method, own = _of_run(Path(entry["run"]))
        settings = own | settings
    if method not in BY_NAME:
        raise ValueError(f"the method {method!r} is not known: give one of {', '.join(BY_NAME)}")
    if name in BY_NAME and name != method:
        raise ValueError(f"{name!r} is the name of another method")
    return name, _structured(BY_NAME[method], settings)


def _of_run(path: Path) -> tuple[str, dict]:
    """Method and settings of a run folder."""
    settings = read_json(path / "config.json")
    command = read_json(path / "run.json").get("command")
    if command == "distill":
        method = "distilled"
    elif command == "finetune":
        method = settings["method"]
        fresh = settings["source"] == "scratch" or settings["reinitialize"]
        if method == "parameters" and fresh:
            method = "scratch"
    else:
        raise ValueError(f"{path} is a run of {command}, expected finetune or distill")
    own = {field.name for field in dataclasses.fields(BY_NAME[method])} - {"teacher"}
    if method == "features" and settings.get("head") is None:
        settings.pop("head", None)
    return method, {key: value for key, value in settings.items() if key in own}


def _structured(kind: type, settings: dict):
    known = {field.name for field in dataclasses.fields(kind)}
    if unknown := sorted(set(settings) - known):
        raise ValueError(f"{kind.name} has no setting {unknown[0]!r}: it has {', '.join(known)}")
    given = {key: _plain(value) for key, value in settings.items()}
    if isinstance(given.get("teacher"), dict):
        given["teacher"] = _teacher(**given["teacher"])
    return kind(**given)


def _teacher(method: str = Parameters.name, **settings):
    """The method that trains a student's teacher."""
    if method not in BY_NAME or BY_NAME[method] is Distilled:
        others = ", ".join(name for name in BY_NAME if name != Distilled.name)
        raise ValueError(f"the teacher's method {method!r} is not known: give one of {others}")
    return _structured(BY_NAME[method], settings)


def _plain(value):
    """JSON has no tuples."""
    return tuple(map(_plain, value)) if isinstance(value, list) else value
