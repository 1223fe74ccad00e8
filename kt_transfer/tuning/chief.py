"""Trials of one search in several processes, of this machine or of several.

The chief holds KerasTuner's oracle and serves it over KerasTuner's own gRPC service; workers ask it
for trials. KerasTuner's own chief never leaves while a worker is lost, and hears no reason why a
trial failed, so that the loop is ours: a trial whose worker is lost goes to another one.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from concurrent import futures
from pathlib import Path
from typing import NamedTuple

import grpc
from keras_tuner import synchronized
from keras_tuner.src import protos
from keras_tuner.src.distribute import oracle_client
from keras_tuner.src.distribute.oracle_chief import OracleServicer
from keras_tuner.src.engine.trial import Trial, TrialStatus

from kt_transfer.engine import local
from kt_transfer.errors import TrainingFailed, UserError, named

VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
# How long a chief may be silent, and a worker, until it counts as lost.
CHIEF_SECONDS, WORKER_SECONDS = 60.0, 60.0
# A trial that its worker was lost with so often is what loses them.
MOST_LOSSES = 3
_BEAT_SECONDS, _POLL_SECONDS, _IDLE_SECONDS = 5.0, 0.1, 0.2
_LOOPBACK = "127.0.0.1"


class Place(NamedTuple):
    """What this process is in a search, and where its chief listens."""

    tuner: str
    address: str

    @property
    def is_chief(self) -> bool:
        """As KerasTuner has it."""
        return "chief" in self.tuner


def place_of_environment(environment: MutableMapping[str, str] = os.environ) -> Place | None:
    """The place that KerasTuner's variables name; ``None`` where there are none.

    Example:
        >>> place_of_environment(dict(zip(VARIABLES, ["chief", "10.0.0.1", "8000"])))
        Place(tuner='chief', address='10.0.0.1:8000')
    """
    given = [name for name in VARIABLES if environment.get(name)]
    if not given:
        return None
    if missing := [name for name in VARIABLES if name not in given and name != VARIABLES[1]]:
        raise UserError(
            given=" and ".join(given),
            when=f"without {missing[0]}",
            expected=f"{', '.join(VARIABLES)} together",
            remedy=f"set {missing[0]} as well, or none of them",
        )
    host = environment.get(VARIABLES[1]) or _LOOPBACK
    environment.setdefault(VARIABLES[1], host)  # KerasTuner reads it itself
    return Place(environment[VARIABLES[0]], f"{host}:{environment[VARIABLES[2]]}")


class Spread(NamedTuple):
    """How the trials of a search are spread.

    Attributes:
        place: What the environment says, if anything.
        workers: Processes that the chief starts on this machine.
        arguments: Of the interpreter, for each of them.
        folder: Of what they print.
    """

    place: Place | None
    workers: int
    arguments: list[str]
    folder: Path


class Client(oracle_client.OracleClient):
    """The oracle as a worker has it: the chief's, or an error where the chief is missing."""

    def __init__(self, oracle):
        super().__init__(oracle)
        # An hour, for chiefs that start slowly: too long to learn that there is none.
        oracle_client.TIMEOUT = CHIEF_SECONDS

    def create_trial(self, tuner_id):
        """A trial, as soon as there is one."""
        while True:
            with _answers():
                trial = super().create_trial(tuner_id)
            if trial.status != TrialStatus.IDLE:
                return trial
            time.sleep(_IDLE_SECONDS)

    def end_trial(self, trial):
        """Say that a trial has ended, and why it failed, for which the message has no field."""
        told = (("message-bin", (trial.message or "").strip().encode()[-2000:]),)
        request = protos.get_service().EndTrialRequest(trial=trial.to_proto())
        with _answers():
            self.stub.EndTrial(
                request, metadata=told, wait_for_ready=True, timeout=oracle_client.TIMEOUT
            )

    def best_before(self, trial_id: str) -> list[float] | None:
        """The scores by fold of the best trial with a lower number, once all of those have ended.

        Which of them happens to be there by then is not to decide what the table holds.
        """
        request = protos.get_service().GetTrialRequest(trial_id=trial_id)
        with _answers():
            _, call = self.stub.GetTrial.with_call(
                request, wait_for_ready=True, timeout=oracle_client.TIMEOUT
            )
        told = dict(call.trailing_metadata()).get("best", "")
        return [float.fromhex(score) for score in told.split(",")] if told else None

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """While a trial runs, say that this worker is there: asked for another one, the chief
        answers with the same."""
        done = threading.Event()

        def beat():
            request = protos.get_service().CreateTrialRequest(tuner_id=self.tuner_id)
            while not done.wait(_BEAT_SECONDS):
                with contextlib.suppress(grpc.RpcError):
                    self.stub.CreateTrial(request, timeout=_BEAT_SECONDS)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def require_chief() -> None:
    """Wait for the chief, before the seconds that reading the data takes."""
    with _answers(), grpc.insecure_channel(place_of_environment().address) as channel:
        stub = protos.get_service_grpc().OracleStub(channel)
        request = protos.get_service().GetSpaceRequest()
        stub.GetSpace(request, wait_for_ready=True, timeout=CHIEF_SECONDS)


@contextlib.contextmanager
def _answers() -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        where = place_of_environment().address
        raise UserError(
            given=f"{VARIABLES[1]}:{VARIABLES[2]} {where}",
            expected="the address of the search's chief",
            but=f"none answers there within {CHIEF_SECONDS:g} s ({error.code().name})",
            remedy="start the chief, with chief as its KERASTUNER_TUNER_ID, or look what ended it",
        ) from error


class _Service(OracleServicer):
    """KerasTuner's service, which also notes when each worker was heard."""

    def __init__(self, oracle, best_before: Callable, ended: Callable):
        super().__init__(oracle)
        self.best_before, self.ended = best_before, ended
        self.heard: dict[str, float] = {}
        self.failure: Exception | None = None

    def CreateTrial(self, request, context):
        self.heard[request.tuner_id] = time.monotonic()
        with self._kept():
            trial = self.oracle.create_trial(request.tuner_id)
            if trial.status == TrialStatus.STOPPED:
                self.stop_triggered = True
                if self.oracle.ongoing_trials or self.oracle._retry_queue:
                    # Their workers may be lost yet: this one stays for what they leave.
                    trial.status = TrialStatus.IDLE
                else:
                    self.heard.pop(request.tuner_id, None)  # it leaves
            return protos.get_service().CreateTrialResponse(trial=trial.to_proto())

    def GetTrial(self, request, context):
        best = self.best_before(request.trial_id)
        told = ",".join(float(score).hex() for score in best or ())
        context.set_trailing_metadata((("best", told),))
        return super().GetTrial(request, context)

    def EndTrial(self, request, context):
        @synchronized
        def end(oracle):
            trial = Trial.from_proto(request.trial)
            own = oracle.trials[trial.trial_id]
            if own in oracle.ongoing_trials.values():  # or else it was given to another
                trial.message = dict(context.invocation_metadata()).get("message-bin", b"").decode()
                trial.message = trial.message or None
                # On the wire they have no order, and the table's columns have.
                values, order = trial.hyperparameters.values, list(own.hyperparameters.values)
                order += sorted(set(values) - set(order))
                trial.hyperparameters.values = {n: values[n] for n in order if n in values}
                oracle.end_trial(trial)
                self.ended(own)

        with self._kept():
            end(self.oracle)
        return protos.get_service().EndTrialResponse()

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        """What goes wrong here is the chief's to tell, such as a disk that is full."""
        try:
            yield
        except Exception as error:
            self.failure = self.failure or error
            raise


def serve(oracle, spread: Spread, best_before: Callable, ended: Callable, say: Callable) -> None:
    """Be the chief until the search is done.

    Args:
        oracle: The search's.
        spread: Where to listen, and what to start.
        best_before: Function of a trial's number: scores of the best one before it, if known.
        ended: Called with each trial that has ended.
        say: Where a line for each lost worker goes.
    """
    # Two chiefs at one port would each be asked by workers of the other.
    alone = [("grpc.so_reuseport", 0)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1), options=alone)
    service = _Service(oracle, best_before, ended)
    protos.get_service_grpc().add_OracleServicer_to_server(service, server)
    asked = spread.place.address if spread.place else f"{_LOOPBACK}:0"
    try:
        port = server.add_insecure_port(asked)
    except RuntimeError:
        port = 0
    if not port:
        raise UserError(
            given=f"{VARIABLES[1]}:{VARIABLES[2]} {asked}",
            expected="an address of this machine with a free port",
            remedy="give another port, or end what listens there",
        )
    address = f"{asked.rsplit(':', 1)[0]}:{port}"
    server.start()
    workers = _Workers(spread, address)
    try:
        if spread.workers:
            workers.start()
        _watch(oracle, service, workers, say)
    finally:
        local.end(workers.running.values())
        server.stop(1).wait()


class _Workers:
    """The processes that the chief has started, by their names."""

    def __init__(self, spread: Spread, address: str):
        self.spread, self.address, self.started = spread, address, 0
        self.running: dict[str, subprocess.Popen] = {}

    def start(self) -> None:
        """Start as many as are missing."""
        host, port = self.address.rsplit(":", 1)
        host = _LOOPBACK if host in ("0.0.0.0", "[::]") else host
        while len(self.running) < self.spread.workers:
            name = f"worker-{self.started}"
            self.started += 1
            self.log(name).unlink(missing_ok=True)
            self.running[name] = local.start(
                self.spread.arguments,
                environment=dict(zip(VARIABLES, (name, host, port), strict=True)),
                log=self.log(name),
                share=self.spread.workers,
            )

    def log(self, name: str) -> Path:
        """The file of what it prints."""
        return self.spread.folder / f"{name}.log"


def _watch(oracle, service: _Service, workers: _Workers, say: Callable) -> None:
    losses: dict[str, int] = {}
    in_a_row, ended_before = 0, len(oracle.end_order)
    while True:
        time.sleep(_POLL_SECONDS)
        if service.failure is not None:
            raise service.failure
        lost = []
        for name, process in list(workers.running.items()):
            if (code := process.poll()) is None:
                continue
            del workers.running[name]
            service.heard.pop(name, None)
            if code == 2:
                raise UserError(local.last_line(workers.log(name)))
            if code:
                lost.append(name)
                how = f"signal {-code}" if code < 0 else local.last_line(workers.log(name))
                say(f"{name} was lost ({how})")
        for name, heard in dict(service.heard).items():
            if time.monotonic() - heard <= WORKER_SECONDS:
                continue
            service.heard.pop(name, None)
            if name in workers.running:
                workers.running[name].kill()  # found to be lost in a moment
            else:
                lost.append(name)
                say(f"{name} was lost (silent for {WORKER_SECONDS:g} s)")
        for name in lost:
            trial = _release(oracle, name, losses)
            if trial is not None and trial.status == TrialStatus.FAILED:
                service.ended(trial)
        if len(oracle.end_order) > ended_before:
            in_a_row, ended_before = 0, len(oracle.end_order)
        in_a_row += len(lost)
        if in_a_row > MOST_LOSSES * max(1, workers.spread.workers):
            raise TrainingFailed(f"{in_a_row} workers were lost in a row, with no trial ended")
        open_trials = oracle.ongoing_trials or oracle._retry_queue
        if service.stop_triggered and not open_trials:
            # Those that still wait are told to leave when they ask again.
            if not workers.running and not service.heard:
                return
        elif workers.spread.workers:
            workers.start()


def _release(oracle, tuner: str, losses: dict[str, int]) -> Trial | None:
    """Take a trial from a worker that is lost, for the next one that asks."""

    @synchronized
    def release(oracle):
        oracle.tuner_ids.discard(tuner)
        trial = oracle.ongoing_trials.pop(tuner, None)
        if trial is None:
            return None
        trial.metrics = type(trial.metrics)()
        losses[trial.trial_id] = losses.get(trial.trial_id, 0) + 1
        if losses[trial.trial_id] >= MOST_LOSSES:
            trial.status, trial.message = TrialStatus.FAILED, f"lost {MOST_LOSSES} workers"
            oracle.end_order.append(trial.trial_id)
            oracle._save_trial(trial)
        else:
            oracle._retry_queue.append(trial.trial_id)
        oracle.save()
        return trial

    return release(oracle)


def require_spreadable(search, space) -> None:
    """Refuse what cannot be spread over processes."""
    given = {"setting": "workers", "given": search.workers}
    if callable(space):
        raise UserError(
            **given,
            when=f"with a function as {named('space')}",
            expected="what a worker can read",
            remedy="give what it searches as a dict or a JSON file",
        )
    if search.strategy == "multi_worker":
        raise UserError(
            **given,
            when=f"with {named('strategy', 'multi_worker')}",
            expected="trials of one process each",
            remedy=f"leave {named('strategy')} out",
        )
