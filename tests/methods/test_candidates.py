import json

import pytest

from kt_transfer import UserError
from kt_transfer.methods import BY_NAME, Distilled, Features, Linear, Parameters, Scratch
from kt_transfer.methods.candidates import (
    chosen_methods,
    describe,
    method_with,
    read_candidates,
    require_candidates,
    to_json,
)


@pytest.fixture
def candidates_of(tmp_path):
    """Reads candidates from a JSON file with this content."""

    def call(content):
        path = tmp_path / "candidates.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_candidates(path)

    return call


def test_a_candidate_is_a_method_with_settings_of_its_own(candidates_of):
    found = candidates_of(
        [
            {"name": "frozen", "method": "parameters", "freeze": "all", "dropout": 0.5},
            {"name": "features", "method": "features", "features_from": "all"},
            {"name": "tiny", "method": "distilled", "student_units": [8, 4]},
        ]
    )
    assert found == {
        "frozen": Parameters(freeze="all", dropout=0.5),
        "features": Features(features_from="all"),
        "tiny": Distilled(student_units=(8, 4)),
    }


def test_a_student_has_a_teacher_of_any_other_method(candidates_of):
    teacher = {"method": "features", "head": "dense", "epochs": 5}
    (student,) = candidates_of([{"name": "s", "method": "distilled", "teacher": teacher}]).values()
    assert student.teacher == Features(head="dense", epochs=5) and student.needs_source
    assert not Distilled(teacher=Linear()).needs_source
    assert "teacher features: " in describe("s", student) and "epochs 5" in describe("s", student)


def test_a_candidate_takes_the_settings_of_a_run(chain, candidates_of):
    teacher, student, longer = candidates_of(
        [
            {"name": "t", "run": str(chain.teacher)},
            {"name": "s", "run": str(chain.student)},
            {"name": "longer", "run": str(chain.teacher), "epochs": 30},
        ]
    ).values()
    assert isinstance(teacher, Parameters) and isinstance(student, Distilled)
    assert (teacher.freeze, teacher.epochs, longer.epochs) == (1, 15, 30)
    assert (student.student_units, student.epochs) == ((16,), 10)


@pytest.mark.parametrize("method", BY_NAME.values())
def test_what_is_written_down_is_read_back(method, candidates_of):
    made = method()
    assert candidates_of([{"name": "x", **to_json(made)}]) == {"x": made}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[", "cannot be read"),
        ("{}", "not a list of candidates"),
        ("[]", "not a list of candidates"),
        ([{"method": "scratch"}], "number 1 .*no name"),
        (
            [{"name": "a", "method": "magic"}],
            "'magic' is not known: give one of scratch",
        ),
        ([{"name": "a", "method": "scratch", "freese": 1}], "number 1 .*no setting 'freese'"),
        ([{"name": "a", "method": "scratch", "dropout": 2}], "number 1 .*dropout=2"),
        ([{"name": "linear", "method": "scratch"}], "'linear' is the name of another method"),
        ([{"name": "a", "method": "linear"}] * 2, "number 2 .*'a' stands twice"),
        ([{"name": "a", "run": "absent"}], "number 1 .*absent"),
        (
            [{"name": "a", "method": "distilled", "teacher": {"method": "distilled"}}],
            "'distilled' is not known: give one of scratch, linear",
        ),
        (
            [{"name": "a", "method": "distilled", "teacher": {"method": "linear", "epochs": 3}}],
            "linear has no setting 'epochs'",
        ),
    ],
)
def test_a_mistake_is_named_with_its_number(content, expected, candidates_of):
    with pytest.raises(UserError, match=f"candidates=.*{expected}"):
        candidates_of(content)


def test_candidates_in_python_are_methods():
    given = {"mine": Parameters(freeze=1)}
    assert require_candidates(given) == given
    with pytest.raises(UserError, match="a method for each name"):
        require_candidates({"mine": "parameters"})


def test_common_settings_go_to_the_methods_that_have_them():
    methods = chosen_methods(("distilled", "scratch", "linear"), epochs=7, student_units=(4,))
    assert list(methods) == ["scratch", "linear", "distilled"]
    assert methods["scratch"] == Scratch(epochs=7) and methods["linear"] == Linear()
    assert methods["distilled"].teacher == Parameters(epochs=7)
    assert methods["distilled"].student_units == (4,)
    assert method_with("parameters").learning_rate == 1e-4


def test_only_settings_that_differ_are_told():
    assert describe("scratch", Scratch(epochs=3)) == Scratch.description
    told = describe("short", Scratch(epochs=3, dropout=0.5))
    assert told == f"scratch: {Scratch.description}, epochs 3, dropout 0.5"
