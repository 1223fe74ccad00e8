"""What a check of several settings says where they do not agree."""

from __future__ import annotations

from kt_transfer.errors import UserError


def require(condition: bool, setting: str, given: object, expected: str) -> None:
    """Refuse what was given unless the condition holds."""
    if not condition:
        raise UserError(setting=setting, given=given, expected=expected, remedy="give such a value")


def require_fewer_epochs(setting: str, given: int | None, epochs: int) -> None:
    """What comes before the rest has to leave an epoch for it."""
    fits = given is None or 0 <= given < epochs
    require(fits, setting, given, f"fewer than the {epochs} epochs")
