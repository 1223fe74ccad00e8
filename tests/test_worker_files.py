"""The files of ``examples/workers``, as far as they can be tried without Slurm and Kubernetes.

``python`` and ``srun`` are scripts here that write down what they were called with.
"""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from kt_transfer.engine.places import place_of_environment
from kt_transfer.settings import PretrainConfig
from kt_transfer.shell.main import parse

FILES = Path(__file__).parents[1] / "examples" / "workers"
# Ends with the next code of the file "codes".
PYTHON = r"""#!/bin/bash
printf '%s\n' "$TF_CONFIG" >> tf_config
printf '%q ' "$@" >> called; echo >> called
code=$(head -n 1 codes); sed -i 1d codes; exit "$code"
"""
# One step of two tasks on two nodes, by Slurm's documentation of the variables that it sets.
SRUN = r"""#!/bin/bash
while [[ $1 == --* ]]; do shift; done
export SLURM_STEP_NODELIST='node[1-2]' SLURM_STEP_TASKS_PER_NODE='1(x2)' SLURM_STEP_NUM_TASKS=2
for task in 0 1; do
    SLURM_PROCID=$task SLURM_NODEID=$task "$@" || worst=$?
    env | grep ^SLURM_ > "slurm$task"; echo "SLURM_PROCID=$task" >> "slurm$task"
    echo "SLURM_NODEID=$task" >> "slurm$task"
done
exit "${worst:-0}"
"""


@pytest.fixture
def call(tmp_path):
    """Runs a script of bash in an empty folder; the exit code and what it has called."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (("python", PYTHON), ("srun", SRUN)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    environ = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}

    def run(script, *words, codes, **more):
        (tmp_path / "codes").write_text("".join(f"{code}\n" for code in codes))
        (tmp_path / "called").unlink(missing_ok=True)
        here = environ | {"PATH": f"{tools}:{os.environ['PATH']}"} | more
        done = subprocess.run(["bash", *script, *words], cwd=tmp_path, env=here, timeout=30)
        called = (tmp_path / "called").read_text().splitlines()
        return done.returncode, [shlex.split(line) for line in called]

    return run


def settings_of(words):
    """The settings of a call of ``python -m kt_transfer.pretrain``."""
    assert words[:2] == ["-m", "kt_transfer.pretrain"]
    return parse("pretrain", PretrainConfig, words[2:])


def test_two_machines(call, tmp_path):
    script = (FILES / "two_machines.sh",)
    code, called = call(script, "1", codes=[75, 137, 0], RUN=str(tmp_path / "run"), DATA="digits")
    assert (code, len(called)) == (0, 3)
    assert called[0] == called[2]
    config = settings_of(called[0])
    assert (config.strategy, config.resume, config.out) == ("auto", True, tmp_path / "run")
    told = (tmp_path / "tf_config").read_text().splitlines()[-1]
    assert place_of_environment({"TF_CONFIG": told}).name() == "worker 1 (192.168.0.2:23456)"
    # A mistake and Ctrl-C are not repeated, and it does not go on for ever.
    for codes, end in (([2], 2), ([130], 130), ([75] * 9, 75)):
        code, called = call(script, "0", codes=codes)
        assert (code, len(called)) == (end, min(len(codes), 5))


def test_slurm(call, tmp_path):
    script = (FILES / "slurm.sbatch",)
    code, called = call(script, codes=[0, 75, 0, 0], RUN=str(tmp_path / "run"), DATA="digits")
    assert (code, len(called)) == (0, 4)
    config = settings_of(called[-1])
    assert (config.resume, config.out) == (True, tmp_path / "run")
    for task in range(2):
        lines = (tmp_path / f"slurm{task}").read_text().splitlines()
        place = place_of_environment(dict(line.split("=", 1) for line in lines))
        assert (place.index, place.count) == (task, 2)
        assert place.address()[0] == f"node{task + 1}"
    code, called = call(script, codes=[2, 2], RUN=str(tmp_path / "run"))
    assert (code, len(called)) == (2, 2)


def test_kubernetes(call, tmp_path):
    yaml = pytest.importorskip("yaml")
    service, job = yaml.safe_load_all((FILES / "kubernetes.yaml").read_text())
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    names = {service["metadata"]["name"], pod["subdomain"]}
    assert len(names) == 1
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert spec["completions"] == spec["parallelism"] == 2
    [rule] = spec["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    assert [volume["name"] for volume in pod["volumes"]] == [
        mount["name"] for mount in container["volumeMounts"]
    ]
    [args] = container["args"]
    for index in range(2):
        code, called = call(("-c", args), codes=[0], JOB_COMPLETION_INDEX=str(index))
        place = place_of_environment({"TF_CONFIG": (tmp_path / "tf_config").read_text()})
        (tmp_path / "tf_config").unlink()
        # A pod of an indexed Job is called by the Job, its index and the Service.
        host = f"{job['metadata']['name']}-{index}.{service['metadata']['name']}"
        assert place.address() == (host, container["ports"][0]["containerPort"])
        assert code == 0
        assert settings_of(called[0]).resume
