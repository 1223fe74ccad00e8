"""``python -m kt_transfer.label``: choose which unlabelled examples to label next."""

from __future__ import annotations

if __name__ == "__main__":  # answers --help and reports errors before TensorFlow is imported
    import sys

    from kt_transfer.shell.entry import main

    sys.exit(main(["label", *sys.argv[1:]]))

from pathlib import Path

import numpy as np

from kt_transfer.data import Dataset
from kt_transfer.data.rows import take_rows
from kt_transfer.engine.fused_model import FusedModel, predict_raw
from kt_transfer.errors import UserError
from kt_transfer.files.spreadsheets import without_formulas
from kt_transfer.files.writing import require_free_file
from kt_transfer.methods.queries import margins, most_informative
from kt_transfer.models.classifiers import head_of
from kt_transfer.reporting.classification import softmax
from kt_transfer.reporting.plots import plot_contact_sheet
from kt_transfer.runs import folder as runs
from kt_transfer.runs import session
from kt_transfer.runs.folder import Run
from kt_transfer.settings import LabelConfig
from kt_transfer.settings.calling import takes
from kt_transfer.sources.loading import like, preprocessing_for_new

# More of them take minutes to draw, and nobody looks at them on one page.
_MOST_PICTURES = 100


@takes(LabelConfig)
def run(config: LabelConfig) -> Path:
    """The command as a function; its settings are the fields of :class:`LabelConfig`.

    Returns:
        The CSV file: ``row`` of the example in its source, the class that the run predicts
        (``predicted``), its probability (``confidence``), and by how much it exceeds the second
        (``margin``); the most uncertain first.

    Example:
        >>> from kt_transfer import label
        >>> label.run(run="runs/digits-teacher", count=5, out="next.csv", quiet=True)
        PosixPath('next.csv')
    """
    return execute(config)


def execute(config: LabelConfig) -> Path:
    """Predict the unlabelled examples, choose among the uncertain ones, write them down."""
    import pandas as pd

    path = Path(config.out)
    require_free_file(path, overwrite=config.overwrite)
    if path.suffix == ".png":
        raise UserError(
            setting="out",
            given=path,
            expected="a CSV file, beside which the pictures are in a file that ends in .png",
            remedy=f"give {path.with_suffix('.csv')}",
        )
    require_free_file(sheet := path.with_suffix(".png"), overwrite=config.overwrite)
    source = runs.open_run(config.run)
    config = session.reading_as(source, config)
    network, preprocessing = source.load_classifier()
    data = session.load_data(
        config, config.data or source.data, like=like(preprocessing, schema=source.schema)
    )
    preprocessing = preprocessing_for_new(source, preprocessing, data, session.say(config))
    pool = _without_label(source, data)
    x = take_rows(data.x, pool)
    features = predict_raw(network.get_layer("encoder"), preprocessing, x)
    probabilities = softmax(FusedModel(head_of(network)).answers(features))
    chosen = most_informative(probabilities, features, config.count, seed=config.seed)
    names = np.array(source.label_names)[probabilities[chosen].argmax(axis=1)]
    table = pd.DataFrame(
        {
            "row": data.rows[pool[chosen]],
            "predicted": names,
            "confidence": probabilities[chosen].max(axis=1),
            "margin": margins(probabilities[chosen]),
        }
    )
    if data.ids is not None:
        own = config.id if config.id not in table else "id"
        table.insert(0, own, data.ids[table["row"]])
    with runs.replacing(path, overwrite=config.overwrite) as temporary:
        without_formulas(table).to_csv(temporary, index=False, float_format="%.4g")
    pictures = ""
    if len(data.input_shape) in (2, 3):
        drawn = chosen[:_MOST_PICTURES]
        titles = [f"{row}: {name}?" for row, name in zip(table["row"], names, strict=True)]
        plot_contact_sheet(take_rows(x, drawn), titles[: len(drawn)], sheet)
        which = "pictures" if len(drawn) == len(chosen) else f"the first {len(drawn)} pictures"
        pictures = f", {which} in {sheet}"
    say = session.say(config)
    say(f"{len(table)} of {len(pool):,} unlabelled examples of {data.spec} in {path}{pictures}")
    given = source.settings.get("labels")
    words = ["--from-run", source.path, *(["--labels", given + len(table)] if given else [])]
    again = runs.command_line(source.command, *words, "--out", "RUN")
    say(f"next: label them in your data, then {again}")
    return path


def _without_label(source: Run, data: Dataset) -> np.ndarray:
    """One row for each distinct training example without a label.

    Of data that are labelled throughout, which a run was given few labels of, those that it was
    not given.
    """
    known = data.y >= 0
    if known.all():
        known = np.zeros(len(data.y), bool)
    seen = source.read_json("run.json").get("data", {})
    if seen.get("fingerprint") == data.fingerprint:
        splits = source.read_splits(len(data.x))
        known[np.concatenate([splits["labelled"], splits["validation"]])] = True
    copies = data.copies
    is_open = (copies >= 0) & ~np.isin(copies, copies[known])
    rows = np.flatnonzero(is_open)
    rows = rows[np.sort(np.unique(copies[rows], return_index=True)[1])]
    if not len(rows):
        raise UserError(
            setting="data",
            given=data.spec,
            expected="training examples without a label",
            but="each of them has one",
            remedy="give data with more examples",
        )
    return rows
