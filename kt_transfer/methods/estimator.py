"""Any classifier with scikit-learn's interface, such as trees: a candidate, and a teacher."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, ClassVar

from kt_transfer.errors import UserError

TREES = "sklearn.ensemble.ExtraTreesClassifier"


# Compared by identity: instances of some libraries have no hash.
@dataclass(frozen=True, kw_only=True, eq=False)
class Estimator:
    """A classifier that has ``fit`` and ``predict_proba``, on the labelled examples alone.

    It is given flat, scaled features: of a table one for each number, word and missing value. It
    is no network, so it is not exported: ``Distilled(teacher=Estimator(...))`` makes one of it.

    Attributes:
        estimator: Import path of its class, such as ``"catboost.CatBoostClassifier"``, which is
            taken with its defaults; or an instance with settings of its own.
    """

    name: ClassVar[str] = "estimator"
    description: ClassVar[str] = "a classifier with scikit-learn's interface, on the scaled inputs"
    needs_source: ClassVar[bool] = False
    sees_unlabelled: ClassVar[bool] = False
    teacher: ClassVar[None] = None
    takes_steps: ClassVar[bool] = False
    regresses: ClassVar[bool] = False
    is_network: ClassVar[bool] = False

    estimator: Any = TREES

    @property
    def title(self) -> str:
        """Name of its class."""
        if isinstance(self.estimator, str):
            return self.estimator.rpartition(".")[2]
        return type(self.estimator).__name__

    def prepare(self, problem):
        """A learner of this method; see :class:`~.estimators.EstimatorLearner`."""
        from kt_transfer.methods.estimators import EstimatorLearner

        return EstimatorLearner(self, problem)

    def unfitted(self):
        """A new classifier of this kind.

        Raises:
            UserError: If there is no such class, or it is no classifier with probabilities.
        """
        if isinstance(self.estimator, str):
            made = _imported(self.estimator)
        else:
            from sklearn.base import clone

            made = clone(self.estimator)
        if not (hasattr(made, "fit") and hasattr(made, "predict_proba")):
            raise UserError(
                setting="teachers",
                given=self.estimator,
                expected="a classifier with fit and predict_proba",
                but="it lacks one of them",
                remedy=f"give another, such as {TREES}",
            )
        return made


def _imported(path: str):
    module, _, name = path.rpartition(".")
    try:
        if not module:
            raise ValueError("it has no dot: a package has many classes")
        kind = getattr(importlib.import_module(module), name)
        if not isinstance(kind, type):
            raise TypeError(f"{path} is no class")
        # CatBoost writes a folder and a line for each tree otherwise.
        quiet = {"verbose": 0, "allow_writing_files": False} if module == "catboost" else {}
        return kind(**quiet)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UserError(
            setting="teachers",
            given=path,
            expected="the import path of a class that is installed and needs no arguments, such as "
            f"{TREES}",
            but=f"it cannot be made ({error})",
            remedy="install its package, or correct the path",
        ) from error
