"""Which worker this is, by ``TF_CONFIG`` and by the variables that ``srun`` sets (simulated)."""

import json

import pytest

from kt_transfer.engine.places import expand_hosts, place_of_environment
from kt_transfer.errors import UserError

WORKERS = ["10.0.0.1:2222", "10.0.0.2:2222"]
SLURM = {
    "SLURM_JOB_ID": "41",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_NODELIST": "gpu[08-09],big",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
}


def place(cluster, task):
    return place_of_environment({"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})})


def test_tf_config():
    assert place_of_environment({}) is None
    assert place({"worker": WORKERS}, {"type": "worker", "index": 1}).index == 1
    with_chief = {"chief": WORKERS[:1], "worker": WORKERS[1:]}
    second = place(with_chief, {"type": "worker", "index": 0})
    assert (second.index, second.is_chief) == (1, False)
    assert second.name(0) == "chief (10.0.0.1:2222)"


@pytest.mark.parametrize(
    ("cluster", "task", "said"),
    [
        (
            {"worker": WORKERS},
            {"type": "worker", "index": 2},
            r"index is 2, .* 2 workers \(0 to 1\)",
        ),
        ({"worker": WORKERS}, {"type": "chief", "index": 0}, "'chief', which its cluster does not"),
        ({"worker": WORKERS[:1] * 2}, {"type": "worker", "index": 0}, "have the same address"),
        ({"worker": ["10.0.0.1"]}, {"type": "worker", "index": 0}, "'10.0.0.1', is not HOST:PORT"),
        ({"ps": WORKERS}, {"type": "ps", "index": 0}, "the job 'ps'"),
        ({"worker": WORKERS}, None, "which worker is this"),
    ],
)
def test_a_wrong_tf_config_is_refused(cluster, task, said):
    with pytest.raises(UserError, match=said):
        place(cluster, task)


def test_tf_config_that_is_no_json():
    with pytest.raises(UserError, match="TF_CONFIG={'worker'.* expected JSON"):
        place_of_environment({"TF_CONFIG": "{'worker': 1}"})


def test_a_step_of_slurm():
    """By Slurm's documentation of these variables: there is no Slurm here."""
    environ = SLURM | {"SLURM_PROCID": "3", "SLURM_NODEID": "1"}
    found = place_of_environment(environ)
    assert found.index == 3
    assert [address for _, address in found.workers] == [
        "gpu08:20041", "gpu08:20042", "gpu09:20041", "gpu09:20042", "big:20041"
    ]  # fmt: skip
    assert json.loads(environ["TF_CONFIG"])["task"] == {"type": "worker", "index": 3}


def test_one_task_of_slurm_works_alone():
    assert place_of_environment({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}) is None


def test_slurm_tasks_in_another_order_are_refused():
    with pytest.raises(UserError, match="--distribution=block"):
        place_of_environment(SLURM | {"SLURM_PROCID": "1", "SLURM_NODEID": "1"})


def test_hosts_with_two_brackets():
    assert expand_hosts("r[1-2]n[1,3]") == ["r1n1", "r1n3", "r2n1", "r2n3"]
