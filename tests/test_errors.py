"""How a mistake is told in Python and on a command line."""

import pickle

import pytest

from kt_transfer.errors import TrainingFailed, UserError, named, settings_named

MISTAKE = {
    "setting": "freeze",
    "given": 9,
    "when": f"with {named('source', 'runs/a b')}",
    "expected": "0 to 3",
    "but": "that is beyond the depth",
    "remedy": f"give less, {named('head_epochs', 3)}, or leave {named('unfreeze_every')} out",
}
IN_PYTHON = (
    "freeze=9 was given with source=runs/a b, expected 0 to 3, but that is beyond the depth: give "
    "less, head_epochs=3, or leave unfreeze_every out."
)
AS_FLAGS = (
    "--freeze 9 was given with --source runs/a b, expected 0 to 3, but that is beyond the depth: "
    "give less, --head-epochs 3, or leave --unfreeze-every out."
)


def test_settings_are_names_in_python_and_flags_in_the_shell():
    error = UserError(**MISTAKE)
    assert (str(error), error.as_flags()) == (IN_PYTHON, AS_FLAGS)


def test_an_error_carries_its_parts():
    error = UserError(**MISTAKE)
    assert (error.setting, error.given, error.expected) == ("freeze", 9, "0 to 3")
    assert error.remedy == "give less, head_epochs=3, or leave unfreeze_every out"


def test_parts_may_be_left_out():
    assert str(UserError(setting="seed", given=-1, remedy="give another")) == (
        "seed=-1 was given: give another."
    )
    assert str(UserError(given="a.npz", but="it is empty", remedy="fill it")) == (
        "a.npz was given, but it is empty: fill it."
    )
    assert str(UserError("One sentence.")) == UserError("One sentence.").as_flags()


@pytest.mark.parametrize(
    ("given", "in_python", "as_flags"),
    [
        (True, "resume=True", "--resume"),
        ((8, 0), "resume=(8, 0)", "--resume 8 0"),
        ((0.0, 2.5), "resume=(0.0, 2.5)", "--resume 0 2.5"),
        ((), "resume=()", "--resume"),
        (0, "resume=0", "--resume 0"),
        (1, "resume=1", "--resume 1"),
        ("a {b} c", "resume=a {b} c", "--resume a {b} c"),
    ],
)
def test_values_are_told_as_they_are_given(given, in_python, as_flags):
    error = UserError(setting="resume", given=given, remedy="x")
    assert str(error) == f"{in_python} was given: x."
    assert error.as_flags() == f"{as_flags} was given: x."
    if not isinstance(given, tuple):  # in a sentence they stand as text
        mentioned = UserError(named("resume", given))
        assert (str(mentioned), mentioned.as_flags()) == (in_python, as_flags)


def test_a_caller_names_settings_as_it_knows_them():
    with (
        pytest.raises(TrainingFailed) as raised,
        settings_named(layers="freeze", other="unused"),
        settings_named(count="layers"),
    ):
        raise TrainingFailed(
            setting="count", given=9, remedy=f"give a smaller {named('count')}, or {named('all')}"
        )
    assert raised.value.setting == "freeze"
    assert str(raised.value) == "freeze=9 was given: give a smaller freeze, or all."
    assert raised.value.as_flags() == "--freeze 9 was given: give a smaller --freeze, or --all."


def test_an_error_survives_another_process():
    error = UserError(**MISTAKE)
    error.rename({"freeze": "count"})
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == IN_PYTHON.replace("freeze=", "count=")
