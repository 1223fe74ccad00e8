"""The calibration of the winner, by its answers to the examples that its folds held out."""

from __future__ import annotations

import numpy as np

from kt_transfer.comparison.table import Table
from kt_transfer.errors import TrainingFailed
from kt_transfer.reporting.calibration import FoldAnswers, calibrate

# Held-out examples of a fold are a random draw; more than so many tell little more.
MOST_HELD_OUT = 2000


def answers_of(table: Table, method: str, source: str, labels: int) -> FoldAnswers | None:
    """What a candidate answered to held-out examples in all folds and repeats.

    Args:
        table: The finished table.
        method: The candidate.
        source: Its source.
        labels: The budget.

    Returns:
        Of a fold at most ``MOST_HELD_OUT`` answers; ``None`` if those of a cell are lost.
    """
    found = table.answers((method, source), labels)
    if not found or any(answers is None for answers in found):
        return None
    cut = slice(MOST_HELD_OUT)
    folds = [np.full(len(answers.rows[cut]), number) for number, answers in enumerate(found)]
    return FoldAnswers(
        labels=np.concatenate([answers.labels[cut] for answers in found]),
        logits=np.concatenate([answers.logits[cut] for answers in found]),
        folds=np.concatenate(folds),
        examples=np.concatenate([answers.rows[cut] for answers in found]),
    )


def temperature(config, table: Table, found: dict) -> float:
    """Note the calibration of the winner, and tell the temperature to export it with.

    Args:
        config: The settings of ``compare``.
        table: The finished table.
        found: What ``comparison.json`` says, with ``winner``; gets ``calibration``, as from
            :func:`~kt_transfer.reporting.calibration.calibrate`, and whether it ``is_applied``.

    Returns:
        1 unless ``calibrate`` is asked for.

    Raises:
        TrainingFailed: If it is asked for, and answers are lost.
    """
    winner = found["winner"]
    answers = answers_of(table, winner["method"], winner["source"], winner["labels"])
    if answers is None:
        if config.calibrate:
            raise TrainingFailed(
                setting="calibrate",
                given=True,
                but=f"answers to held-out examples in {table.held_out.folder} cannot be read",
                remedy="remove that folder, and what they belong to is trained again",
            )
        return 1.0
    found["calibration"] = calibrate(answers, config.seed) | {"is_applied": config.calibrate}
    return found["calibration"]["temperature"] if config.calibrate else 1.0
