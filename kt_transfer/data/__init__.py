"""Data sets: loading, checking and splitting."""

from kt_transfer.data.dataset import Dataset, Like
from kt_transfer.data.sources import load_data, require_data
from kt_transfer.data.splits import draw_labels, hold_out
from kt_transfer.data.table_options import TableOptions

__all__ = [
    "Dataset",
    "Like",
    "TableOptions",
    "draw_labels",
    "hold_out",
    "load_data",
    "require_data",
]
