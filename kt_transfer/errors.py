"""The one exception that stands for a mistake of the user's."""


class UserError(Exception):
    """A mistake that the user can mend: one sentence, no traceback, exit code 2.

    The sentence names what was given, what was expected and how to mend it. Not a
    ``ValueError``: what reads the flags would wrap that in words of its own.

    Example:
        >>> raise UserError("--labels 5000 was given, but digits has 1437 training "
        ...                 "examples: give at most 1437.")
        Traceback (most recent call last):
        ...
        kt_transfer.errors.UserError: --labels 5000 was given, but digits has 1437 ...
    """
