"""What cannot be drawn costs nothing else."""

import errno

import numpy as np
import pytest
from PIL import Image

from kt_transfer.reporting.drawing import drawn
from kt_transfer.reporting.plots import plot_confusion_matrix, plot_contact_sheet

NAMES = ("5 $\\frac$", "a_$^{", "=cmd|' /C calc'!A0", "<b>&amp;")


def test_names_never_reach_a_parser_of_formulas(tmp_path, capsys):
    plot_confusion_matrix(np.eye(4, dtype=int), NAMES, tmp_path / "matrix.png")
    plot_contact_sheet(np.zeros((4, 3, 3)), NAMES, tmp_path / "sheet.png")
    assert capsys.readouterr().err == ""
    for name in ("matrix", "sheet"):
        assert Image.open(tmp_path / f"{name}.png").size > (99, 99)


def test_what_cannot_be_drawn_is_said(tmp_path, capsys):
    path = tmp_path / "matrix.png"
    plot_confusion_matrix(np.eye(2), ("cat", "\udce7"), path)
    said = capsys.readouterr().err
    assert said.startswith(f"{path} could not be drawn (")
    assert said.endswith("); all else is complete\n")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_an_error_as_ever(tmp_path):
    @drawn
    def plot(path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with pytest.raises(OSError, match="No space left"):
        plot(tmp_path / "x.png")
