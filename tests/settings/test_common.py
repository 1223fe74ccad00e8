from dataclasses import dataclass

import pytest
import tyro

from kt_transfer import UserError
from kt_transfer.methods.bounds import Share, require_bounds
from kt_transfer.methods.steps import Steps
from kt_transfer.settings.common import with_settings_of


@dataclass(frozen=True, kw_only=True)
class Guessing(Steps):
    """A method with a setting of its own.

    Attributes:
        threshold: Smallest probability that is
            trusted.
        labels: The command has this one itself.
    """

    name = "guessing"
    threshold: Share = 0.9
    labels: int = 3


@dataclass(frozen=True, kw_only=True)
@with_settings_of(Guessing)
class Config:
    """Settings of a command."""

    labels: int = 100
    """Number of labels."""

    def __post_init__(self):
        require_bounds(self)


def test_a_setting_of_a_method_is_one_of_the_command_and_left_to_the_method():
    assert Config().threshold is None and Config().labels == 100
    assert Config.settings_of_methods == {"threshold": "guessing"}
    assert tyro.cli(Config, args=["--threshold", "0.5"]) == Config(threshold=0.5)
    with pytest.raises(UserError, match="threshold=1.5 .*share from 0"):
        Config(threshold=1.5)


def test_its_text_is_that_of_the_method(capsys):
    with pytest.raises(SystemExit):
        tyro.cli(Config, args=["--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Smallest probability that is trusted. (--method guessing)" in shown
    assert "Number of labels." in shown
