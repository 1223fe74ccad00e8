"""Workers meet, agree and miss one that is lost: processes without TensorFlow, on loopback."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kt_transfer.engine import cluster
from kt_transfer.engine.launch import _free_ports

ROOT = Path(__file__).parents[2]
# A worker that waits a tenth as long as others do; then it does what its second argument says.
WORKER = """
import json, os, signal, sys, time
from kt_transfer.engine import cluster
from kt_transfer.engine.places import place_of_environment
from kt_transfer.errors import UserError
for name in ("SAY_SECONDS", "BEAT_SECONDS", "SILENCE_SECONDS", "GRACE_SECONDS"):
    setattr(cluster, name, getattr(cluster, name) / 5)
cluster.WAIT_SECONDS = float(os.environ.get("WAIT", 60))
def stop(number, frame):
    raise KeyboardInterrupt
signal.signal(signal.SIGTERM, stop)
note = lambda line: print(line, flush=True)
try:
    met = cluster.Cluster(place_of_environment(), json.loads(sys.argv[1]), note)
    met.scratch = sys.argv[3]
    with met.together():
        note("met")
        exec(sys.argv[2])
        met.agree(last=True)
except UserError as error:
    print(error, flush=True)
    raise SystemExit(2)
except cluster.LostWorker as error:
    cluster.end_process(error)
note("done")
"""
WORKS = "time.sleep(60)"
# As TensorFlow where it waits for another worker: no signal is answered.
IN_TENSORFLOW = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); time.sleep(60)"


class Workers:
    """Workers of one cluster, and what they print."""

    def __init__(self, folder, count):
        self.folder, self.started = folder, []
        self.ports = _free_ports(count)
        self.addresses = [f"127.0.0.1:{port}" for port in self.ports]

    def start(self, index, doing="", facts=None, addresses=None, **environ):
        workers = {"worker": addresses or self.addresses}
        task = {"cluster": workers, "task": {"type": "worker", "index": index}}
        scratch = self.folder / f"scratch{index}"
        scratch.mkdir(exist_ok=True)
        printed = self.folder / f"printed{len(self.started)}"
        with open(printed, "w") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", WORKER, json.dumps(facts or {}), doing, scratch],
                env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CONFIG": json.dumps(task)} | environ,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        process.printed = printed
        self.started.append(process)
        return process

    def end(self):
        for process in self.started:
            process.kill()
            process.wait()


@pytest.fixture
def workers(tmp_path):
    made = []

    def call(count):
        made.append(Workers(tmp_path, count))
        return made[-1]

    yield call
    for one in made:
        one.end()


def until(process, text, seconds=30):
    """Wait until a worker has printed this."""
    deadline = time.monotonic() + seconds
    while text not in process.printed.read_text():
        assert time.monotonic() < deadline, process.printed.read_text()
        time.sleep(0.05)


def ended(process, seconds=20):
    """Its exit code and all that it printed."""
    process.wait(seconds)
    return process.returncode, process.printed.read_text()


def test_all_meet_and_agree_and_leave_together(workers):
    three = workers(3)
    doing = "note(met.agree({'data': 'digits'}, tell=met.place.index + 7))"
    started = [three.start(index, doing, {"epochs": 3}) for index in range(3)]
    assert [ended(one) for one in started] == [(0, "met\n7\ndone\n")] * 3


def test_a_late_worker_is_waited_for_and_all_say_for_whom(workers):
    three = workers(3)
    first = [three.start(2), three.start(0)]
    waited = f"waiting for worker 1 ({three.addresses[1]})"
    for one in first:
        until(one, waited)
    # One that leaves meanwhile may come again.
    first[0].kill()
    until(first[1], f"{waited}, worker 2 ({three.addresses[2]}) again")
    first[0] = three.start(2)
    # So may one whose machine is gone without a word, once it has been silent.
    until(first[0], waited)
    first[0].send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    first[0] = three.start(2)
    until(first[0], waited)
    assert [ended(one)[0] for one in (*first, three.start(1))] == [0, 0, 0]


def test_who_never_comes_is_named(workers):
    two = workers(2)
    code, printed = ended(two.start(0, WAIT="1"))
    assert code == cluster.LOST_WORKER
    assert f"worker 1 ({two.addresses[1]}) did not come in" in printed
    code, printed = ended(two.start(1, WAIT="1"))
    assert code == cluster.LOST_WORKER
    assert f"worker 0 ({two.addresses[0]}) did not come in" in printed


def test_what_differs_is_refused_on_all_workers(workers):
    three = workers(3)
    facts = {"--epochs": 3, "the version of keras": "3.15.0"}
    other = facts | {"--epochs": 4, "the version of keras": "3.15.1"}
    started = [three.start(index, "", other if index == 1 else facts) for index in range(3)]
    names = [f"worker {index} ({address})" for index, address in enumerate(three.addresses)]
    for one in started:
        code, printed = ended(one)
        assert code == 2
        assert "met" not in printed
        assert f"--epochs (3 on {names[0]}, {names[2]}, 4 on {names[1]})" in printed
        assert "the version of keras (3.15.0 on" in printed


def test_data_that_differ_are_refused_after_the_meeting(workers):
    two = workers(2)
    started = [
        two.start(index, f"met.agree({{'the content of digits': 'hash{index}'}})")
        for index in range(2)
    ]
    for one in started:
        code, printed = ended(one)
        assert code == 2
        assert "the workers differ in the content of digits (hash0 on worker 0" in printed


def test_other_clusters_and_a_place_taken_twice_are_refused(workers):
    two = workers(2)
    chief = two.start(0)
    stranger = two.start(1, addresses=[*two.addresses, "10.0.0.1:1"])
    for one in (chief, stranger):
        code, printed = ended(one)
        assert code == 2
        assert "the workers were given different clusters" in printed

    three = workers(3)
    chief, one = three.start(0), three.start(1)
    until(one, "waiting for worker 2")
    twice = three.start(1)
    for worker in (chief, one, twice):
        code, printed = ended(worker)
        assert code == 2
        assert f"worker 1 ({three.addresses[1]}) is there twice" in printed

    chief = two.start(0)
    until(chief, "waiting for worker 1")
    code, printed = ended(two.start(0))
    assert code == 2
    assert f"another process listens on port {two.ports[0]}" in printed
    code, printed = ended(two.start(0, addresses=["192.0.2.1:2222", two.addresses[1]]))
    assert code == 2
    assert "192.0.2.1 is no address of this machine" in printed


def test_who_is_no_worker_is_not_listened_to(workers):
    two = workers(2)
    chief = two.start(0)
    until(chief, "waiting for worker 1")
    said = (
        b"GET / HTTP/1.1\r\n\r\n",
        b"{}\n",
        b'{"index": 7, "facts": {}, "workers": []}\n',
        b"[]\n",
    )
    held = []
    for line in said:
        held.append(socket.create_connection(("127.0.0.1", two.ports[0])))
        held[-1].sendall(line)
    assert [ended(one)[0] for one in (two.start(1), chief)] == [0, 0]
    for one in held:
        one.close()


@pytest.mark.parametrize("lost", [0, 1], ids=["chief", "worker"])
@pytest.mark.parametrize("doing", [WORKS, IN_TENSORFLOW, ""], ids=["python", "tensorflow", "end"])
def test_others_stop_when_one_is_killed(workers, lost, doing):
    three = workers(3)
    started = [three.start(index, WORKS if index == lost else doing) for index in range(3)]
    for one in started:
        until(one, "met")
    began = time.monotonic()
    started[lost].kill()
    for index, one in enumerate(started):
        if index != lost:
            code, printed = ended(one)
            assert code == cluster.LOST_WORKER
            assert f"error: worker {lost} ({three.addresses[lost]}) was lost: start" in printed
            assert not (three.folder / f"scratch{index}").exists()
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("lost", [0, 1], ids=["chief", "worker"])
def test_others_stop_when_one_stands_still(workers, lost):
    two = workers(2)
    started = [two.start(index, WORKS) for index in range(2)]
    for one in started:
        until(one, "met")
    began = time.monotonic()
    started[lost].send_signal(signal.SIGSTOP)
    code, printed = ended(started[1 - lost])
    assert code == cluster.LOST_WORKER
    assert f"worker {lost} ({two.addresses[lost]}) has not answered for 2 s" in printed
    assert time.monotonic() - began < 10
    # One that goes on learns that the others have left.
    started[lost].send_signal(signal.SIGCONT)
    assert ended(started[lost])[0] == cluster.LOST_WORKER


def test_an_error_of_one_ends_all(workers):
    two = workers(2)
    other = two.start(0, WORKS), two.start(1, "raise MemoryError('no room')")
    code, printed = ended(other[0])
    assert code == cluster.LOST_WORKER
    assert f"worker 1 ({two.addresses[1]}) has ended (MemoryError: no room): start all" in printed
    assert ended(other[1])[0] == 1

    two = workers(2)
    mistake = "raise UserError('the disk of --out is full: give another one.')"
    other = two.start(0, IN_TENSORFLOW), two.start(1, mistake)
    for one in other:
        code, printed = ended(one)
        assert code == 2
        assert "the disk of --out is full" in printed


def test_a_name_that_is_not_known_is_refused(workers):
    two = workers(2)
    code, printed = ended(two.start(0, addresses=["no.such.invalid:1", "b:1"], WAIT="1"), 60)
    assert code == 2
    assert "the name no.such.invalid is not known here" in printed
