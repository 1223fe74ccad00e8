"""What a comparison transfers from: each source, and whether it may be trusted as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kt_transfer.comparison.comparison import Source
from kt_transfer.comparison.refitting import refittable
from kt_transfer.data import Dataset, load_data
from kt_transfer.data.overlap import shared_rows
from kt_transfer.data.rows import take_rows
from kt_transfer.errors import UserError, named
from kt_transfer.methods.pretraining import MASKED_SHARE
from kt_transfer.methods.reconstruction import AutoencoderLearner
from kt_transfer.methods.steps import Steps
from kt_transfer.models.autoencoders import dense_autoencoder, transferable_encoder
from kt_transfer.runs import recording, session
from kt_transfer.runs.folder import Run, open_source
from kt_transfer.sources.adapting import Expected, adapted, describe_for, why_incompatible
from kt_transfer.sources.loading import load_source

# Unlabelled examples are many: as pretrain takes them.
PRETRAIN_BATCH_SIZE = 64


def sources_of(config, data: Dataset) -> list[Source]:
    """Every candidate source: those given, other data, or else the target's own examples."""
    given = [_given_source(config, name, data) for name in dict.fromkeys(config.source)]
    if config.source_data:
        other = session.load_data(config, config.source_data, flag="--source-data")
        return [*given, _pretrained_on(other, config, data)]
    return given or [_pretrained_on(data, config, data)]


def _pretrained_on(other: Dataset, config, data: Dataset) -> Source:
    """An autoencoder trained on a data set: anew in every fold if that is the target itself."""
    autoencoder = dense_autoencoder(
        other.num_features,
        config.hidden_units,
        config.latent_dim,
        noise=MASKED_SHARE,
        category_sizes=other.category_sizes,
    )
    expected = Expected.of(other)
    if reason := why_incompatible(data.input_shape, expected, data.schema):
        raise UserError(
            setting="source_data",
            given=other.spec,
            expected=f"examples that those of {data.spec} can be made to fit",
            but=reason,
            remedy="give data with examples of the same kind",
        )
    is_target = other.fingerprint == data.fingerprint
    examples = None if is_target else _without_targets(other, data, config)
    return Source(
        other.spec,
        transferable_encoder(autoencoder),
        for_folds(adapted(data, expected), data),
        _learner(
            autoencoder,
            other,
            _pretraining(config),
            is_target,
        ),
        examples,
    )


def _pretraining(config) -> Steps:
    given = {} if config.learning_rate is None else {"learning_rate": config.learning_rate}
    return Steps(epochs=config.pretrain_epochs, batch_size=PRETRAIN_BATCH_SIZE, **given)


def for_folds(preprocessing, data: Dataset):
    """Preprocessing of the target's examples, by the range of what each fold may see."""
    return refittable(preprocessing, data.value_range) if data.has_observed_range else preprocessing


def _without_targets(other: Dataset, data: Dataset, config):
    """Examples of other data, but for those that are the target's: they may be held out there."""
    shared = shared_rows(other.x, (data.x, data.x_test))
    if not shared.any():
        return other.x
    told = f"{shared.sum():,} of its {len(shared):,} examples are among those of {data.spec}"
    if (~shared).sum() < 2:
        raise UserError(
            setting="source_data",
            given=other.spec,
            expected="examples that the folds do not hold out",
            but=told,
            remedy=f"leave {named('source_data')} out, and each fold pretrains on its own part",
        )
    session.say(config)(f"{other.spec}: {told}, and are left out of pretraining")
    return take_rows(other.x, np.flatnonzero(~shared))


def _learner(autoencoder, data: Dataset, settings: Steps, is_target: bool) -> AutoencoderLearner:
    preprocessing = recording.preprocessing_for(autoencoder, data)
    if is_target:
        preprocessing = for_folds(preprocessing, data)
    return AutoencoderLearner(autoencoder, preprocessing, settings, num_examples=len(data.x))


def _given_source(config, name: str, data: Dataset) -> Source:
    run = open_source(name)
    if run is not None and _data_of(run) == data.fingerprint:
        return _trained_anew(config, run, data)
    _require_same_size(config, name, run)
    lineage = list(_lineage(run))
    for ancestor in lineage[1:]:
        if _data_of(ancestor) == data.fingerprint:
            raise _has_seen(name, data, f"it descends from {ancestor.path}")
    for own in {own.settings["data"]: own for own in lineage}.values():
        _require_apart(name, own, data, config)
    encoder, expected = load_source(name, run, data)
    session.say(config)(f"{name}: {describe_for(data, expected)}")
    return Source(name, encoder, for_folds(adapted(data, expected), data))


def require_unseen_labels(name: str, run: Run | None, data: Dataset) -> None:
    """Refuse a source that has learned from the labels of the target, which folds judge by.

    That it has seen the examples without their labels is of no matter where settings are ranked,
    since it has for all of them.
    """
    for ancestor in _lineage(run):
        settings = ancestor.settings
        unlabelled = ancestor.is_autoencoder and not settings.get("labels")
        if _data_of(ancestor) == data.fingerprint and not unlabelled:
            how = "it has learned from their labels"
            raise _has_seen(name, data, how if ancestor is run else f"{ancestor.path} has")


def _require_same_size(config, name: str, run: Run | None) -> None:
    """Refuse a run on the target's own pictures in another size, in which it is not known again."""
    same = run is not None and run.data == config.data and run.data.startswith("images:")
    if not same or run.image_size == config.image_size:
        return
    raise UserError(
        setting="image_size",
        given=config.image_size,
        when=f"with {name}, which learned from the same pictures",
        expected=f"the {run.image_size} that it has, so that it is trained anew in every fold",
        remedy=f"give {named('image_size', run.image_size)}",
    )


def _require_apart(name: str, ancestor: Run, data: Dataset, config) -> None:
    """Refuse a run whose training examples are, by another name, among the target's."""
    seen, table = ancestor.settings["data"], session.table_options(ancestor.settings)
    try:
        size = config.image_size or ancestor.image_size
        other = load_data(seen, data_dir=config.data_dir, table=table, image_size=size)
    except UserError:
        session.say(config)(
            f"{name}: {seen}, which it learned from, is not there any more to be checked"
        )
        return
    shared = shared_rows(other.x, (data.x, data.x_test))
    if shared.any():
        share = f"{shared.sum():,} of the {len(shared):,} examples of {seen}"
        raise _has_seen(name, data, f"{share}, which it learned from, are among them")


def _trained_anew(config, run: Run, data: Dataset) -> Source:
    """A run on the target's own examples: its recipe again, without what a fold holds out."""
    settings = run.settings
    if not run.is_autoencoder or settings.get("labels"):
        raise _has_seen(str(run.path), data, "it has learned from their labels")
    autoencoder = run.load_model()
    steps = Steps(**{name: settings[name] for name in ("epochs", "batch_size", "learning_rate")})
    return Source(
        str(run.path),
        transferable_encoder(autoencoder),
        for_folds(recording.preprocessing_for(autoencoder, data), data),
        _learner(autoencoder, data, steps, is_target=True),
    )


def _data_of(run: Run) -> str | None:
    return run.read_json("run.json").get("data", {}).get("fingerprint")


def _lineage(run: Run | None) -> Iterator[Run]:
    """A run, and the runs that it came from, as far as they are still there."""
    if run is None:
        return
    yield run
    settings = run.settings
    given = [settings.get("source") or (), settings.get("teacher") or ()]
    for path in [
        path for paths in given for path in ([paths] if isinstance(paths, str) else paths)
    ]:
        if (Path(path) / "run.json").is_file():
            yield from _lineage(Run(Path(path)))


def _has_seen(name: str, data: Dataset, how: str) -> UserError:
    return UserError(
        setting="source",
        given=name,
        expected=f"a model that has not seen the examples of {data.spec} that the folds hold out",
        but=how,
        remedy="give a run of pretrain without labels, which is trained anew in every fold, or one "
        "of other data",
    )
