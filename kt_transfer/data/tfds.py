"""``tfds:NAME[:VERSION]``: a TensorFlow Datasets set, downloaded once."""

from __future__ import annotations

import contextlib
import io
import os
import sys

import numpy as np

from kt_transfer.data.arrays import dataset_from_arrays
from kt_transfer.data.cache import cached_rows, file_key
from kt_transfer.data.dataset import Dataset, Like
from kt_transfer.errors import UserError, named

_ROWS_AT_ONCE = 1000


def load(
    spec: str, name: str, data_dir: str | os.PathLike | None, like: Like | None = None
) -> Dataset:
    """The ``train`` split and, if there is one, the ``test`` split, with images as ``uint8``."""
    import tensorflow_datasets as tfds

    builder = prepare(spec, name, data_dir)
    x_name, y_name = _feature_names(tfds, spec, builder)
    parts = {
        split: _read(tfds, spec, builder, split, x_name, y_name)
        for split in ("train", "test")
        if split in builder.info.splits
    }
    if "train" not in parts:
        raise UserError(
            setting="data",
            given=spec,
            when=f"with the splits {', '.join(builder.info.splits)}",
            expected="train",
            remedy="give a set that has one",
        )
    x_test, y_test = parts.get("test", (None, None))
    is_image = isinstance(builder.info.features[x_name], tfds.features.Image)
    x, y = parts["train"]
    return dataset_from_arrays(
        spec,
        x,
        y,
        x_test,
        y_test,
        class_names=tuple(builder.info.features[y_name].names),
        value_range=(0.0, 255.0) if is_image else None,
        like=like,
    )


def prepare(spec: str, name: str, data_dir: str | os.PathLike | None):
    """The builder of a set, which is downloaded if needed; fails fast without a network.

    TensorFlow is imported only for a download.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    try:
        builder = tfds.builder(name, data_dir=None if data_dir is None else os.fspath(data_dir))
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            setting="data",
            given=spec,
            expected=f"the name of a TensorFlow Datasets set ({reason})",
            remedy="see https://www.tensorflow.org/datasets/catalog",
        ) from error
    if builder.data_path.exists():
        return builder
    # By default TFDS retries for minutes without a network.
    downloader.MAX_RETRIES = 0
    try:
        with _quiet_off_terminal():
            builder.download_and_prepare()
    except Exception as error:
        raise UserError(
            setting="data",
            given=spec,
            expected=f"{builder.info.full_name} in {data_dir or _home()}",
            but=f"it is not there and cannot be fetched ({type(error).__name__})",
            remedy=f"where there is a network run `tfds build {builder.name}`, then copy its "
            f"folder here, or name the right folder with {named('data_dir')} or TFDS_DATA_DIR",
        ) from error
    return builder


def _home() -> str:
    return os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")


@contextlib.contextmanager
def _quiet_off_terminal():
    if sys.stderr.isatty():
        yield
        return
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _feature_names(tfds, spec: str, builder) -> tuple[str, str]:
    """Names of the array feature and the class label."""
    features = builder.info.features
    if keys := builder.info.supervised_keys:
        x_name, y_name = keys[0], keys[1]
    else:
        x_name, y_name = "image", "label"
    if not {x_name, y_name} <= set(features) or not isinstance(
        features[y_name], tfds.features.ClassLabel
    ):
        raise UserError(
            setting="data",
            given=spec,
            when=f"with the features {', '.join(features)}",
            expected="an image and a class label",
            remedy="give a classification set",
        )
    return x_name, y_name


def _read(tfds, spec, builder, split, x_name, y_name):
    """Examples and labels of one split, decoded once and cached."""
    shape = builder.info.features[x_name].shape
    if None in shape:
        raise UserError(
            setting="data",
            given=spec,
            when=f"with examples of shape {shape}",
            expected="one size for all",
            remedy="resize them first, for example to an npz: file",
        )

    def batches():
        read = builder.as_dataset(split=split, batch_size=_ROWS_AT_ONCE, shuffle_files=False)
        for batch in tfds.as_numpy(read.prefetch(2)):
            yield {"x": batch[x_name], "y": batch[y_name].astype(np.int32)}

    prepared = builder.data_path / "dataset_info.json"
    key = f"{builder.info.full_name}/{split}/{file_key(prepared)}"
    arrays = cached_rows(key, builder.info.splits[split].num_examples, batches)
    return arrays["x"], arrays["y"][:]
