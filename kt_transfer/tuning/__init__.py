"""Searches of settings with KerasTuner that do not fool themselves.

A trial is judged by folds of the labels, the same for all trials; how long it is trained is never
chosen by the examples that rank it; and one that cannot win any more ends early.
:class:`FoldedTuner` does so for anyone's model, ``python -m kt_transfer.tune`` for the commands.
"""

from __future__ import annotations

from kt_transfer.tuning.folded import FoldedTuner

__all__ = ["FoldedTuner"]
