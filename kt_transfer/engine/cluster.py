"""The workers of a run: they meet, agree on what they were given, and miss one that is lost.

TensorFlow's server does not tell who has not come, nor that a worker was given something else, and
a worker that is in the midst of Python learns nothing of one that is gone. So the workers meet
before it starts: worker 0, the chief, listens at its own address of ``TF_CONFIG``, where the others
find it, and compares what all were given. The chief then leaves the port to TensorFlow, while the
connections stay. On them everyone says every two seconds that it is still there.

Where a worker is lost, all others stop within seconds, whatever they are at: a signal that Python
answers where it can, and an end of the process where it cannot.

Each worker has one connection, to the chief, and what is said on it are lines of JSON objects, read
as data and never run. A worker says

- ``{"index": 1, "workers": [...], "facts": {...}}`` as it comes, with the addresses it was given;
- ``{"facts": {...}}`` where all are to agree once more (:meth:`Cluster.agree`);

the chief says

- ``{"waiting": "worker 2 (...)"}`` every two seconds until all have come;
- ``{"refused": "..."}`` to all, where a worker has another cluster or the place of another;
- ``{"verdict": {"differences": [...], "tell": ..., "last": false}}`` once it has heard all;

and both say ``{"alive": true}``, and ``{"lost": "...", "code": 75}`` to whoever they still reach
where one of them is lost (75), or has ended by a mistake (2).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from kt_transfer.engine.places import Place
from kt_transfer.errors import UserError, listed

# What a supervisor starts again: EX_TEMPFAIL of sysexits.h.
LOST_WORKER = 75
# How long a worker that has not come is waited for, and when that is first said.
WAIT_SECONDS, SAY_SECONDS = 600.0, 5.0
# How often each says that it is there, and for how long it may say nothing, as in TensorFlow.
BEAT_SECONDS, SILENCE_SECONDS = 2.0, 10.0
# How long a process may take to stop by itself.
GRACE_SECONDS = 5.0
# A line longer than this is no worker's.
_LONGEST_LINE = 1 << 22
_POLL_SECONDS = 0.25


class LostWorker(BaseException):
    """Another worker is gone; all have to be started again, and go on from the last checkpoint.

    No :class:`Exception`, since it has to end whatever goes on, as Ctrl-C does.

    Args:
        sentence: Which one, what became of it, and what to do.
        code: The exit code of a process that ends because of it.

    Attributes:
        scratch: A folder to remove at the end of the process.
    """

    def __init__(self, sentence: str, code: int = LOST_WORKER):
        super().__init__(sentence)
        self.code, self.scratch = code, None


# Held by the thread that ends the process.
_ENDING = threading.Lock()


def end_process(lost: LostWorker) -> None:
    """Say who was lost, and exit without TensorFlow's farewell, which waits for all workers."""
    _ENDING.acquire()
    with contextlib.suppress(OSError, ValueError):
        print(f"error: {lost}", file=sys.stderr, flush=True)
        sys.stdout.flush()
    if lost.scratch:
        shutil.rmtree(lost.scratch, ignore_errors=True)
    os._exit(lost.code)


class Cluster:
    """The workers of this process's run, from when they have met.

    Args:
        place: Who they are, and which of them this is.
        facts: What has to be the same on all of them: its name in a sentence, its value as JSON.
        note: Called with a line that says who is waited for.
        remedy: What to do when one is lost, for the end of a sentence.

    Raises:
        UserError: On every worker, if facts differ, or two workers have the same place.
        LostWorker: If not all have come in :data:`WAIT_SECONDS`.

    Attributes:
        scratch: A folder to remove if the process has to be ended.

    Example:
        >>> from kt_transfer.engine.places import Place
        >>> cluster = Cluster(Place((("worker 0", "127.0.0.1:2222"),), 0), {"epochs": 3})
        >>> cluster.agree({"data": "digits"}, tell=7)
        7
    """

    def __init__(
        self,
        place: Place,
        facts: Mapping[str, object],
        note: Callable[[str], None] = print,
        remedy: str = "start all workers again",
    ):
        self.place, self.note, self.remedy = place, note, remedy
        self.scratch: str | None = None
        self._stopped: LostWorker | None = None
        self._is_over = False
        # Whether a signal finds a block that knows what to make of it.
        self._is_together = False
        self._changed = threading.Condition()
        self._told: dict[int, list[dict]] = {index: [] for index in range(place.count)}
        self._connections: dict[int, _Connection] = {}
        if place.count > 1:
            hello = {"workers": [address for _, address in place.workers], "facts": dict(facts)}
            with _listening(place) as listener:
                if place.is_chief:
                    self._gather(listener, hello)
            if not place.is_chief:
                self._join(hello)
            threading.Thread(target=self._keep_watch, daemon=True).start()

    def agree(self, facts: Mapping[str, object] = (), tell=None, last: bool = False):
        """Wait for all workers to call this, and compare what they give.

        Args:
            facts: As when they met.
            tell: From the chief to all.
            last: Whether a worker that leaves from now on is no loss.

        Returns:
            What the chief tells.

        Raises:
            UserError: On every worker, if facts differ.
            LostWorker: If one is lost meanwhile.
        """
        self._is_over = False
        if self.place.is_chief:
            given = [dict(facts)]
            for index in range(1, self.place.count):
                given.append(self._next_from(index)["facts"])
            verdict = {"differences": _differences(given), "tell": tell, "last": last}
            self._is_over = last or bool(verdict["differences"])
            self._tell_all({"verdict": verdict})
        else:
            self._tell_all({"facts": dict(facts)})
            verdict = self._next_from(0)["verdict"]
        self._refuse(verdict["differences"])
        return verdict["tell"]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """A block that all workers run: one that leaves it with an error tells the others.

        Raises:
            LostWorker: If another is lost, whatever error this worker has because of it.
        """
        try:
            self._is_together = True
            if self._stopped is not None:
                raise self._cause()
            yield
        except UserError as error:
            self._leave(error.as_flags(), 2)
            raise
        except BaseException as error:
            if lost := self._loss_behind(error):
                raise lost from None
            said = str(error).strip().split("\n")[0][:300]
            self._leave(": ".join(filter(None, (type(error).__name__, said))), LOST_WORKER)
            raise

    def _gather(self, listener: socket.socket, hello: dict) -> None:
        """The chief waits for all others, and says who is missing, to those who have come too."""
        patience = _Patience(self.note)
        facts, strangers, left = {0: hello["facts"]}, [], set()
        while missing := [i for i in range(self.place.count) if i not in facts]:
            names = listed(self.place.name(i) + " again" * (i in left) for i in missing)
            try:
                if patience.says(f"waiting for {names}"):
                    self._tell_all({"waiting": names})
            except LostWorker as error:
                self._tell_all({"lost": str(error), "code": error.code})
                raise
            come = list(self._connections.values())
            # Those who have come first, so that one who leaves and comes again is not there twice.
            for one in select.select([*come, *strangers, listener], [], [], _POLL_SECONDS)[0]:
                if one is listener:
                    with contextlib.suppress(OSError):
                        strangers.append(_Connection(listener.accept()[0]))
                    continue
                messages = one.read()
                if one in strangers:
                    if messages is None:
                        strangers.remove(one)
                    elif messages:
                        strangers.remove(one)
                        self._welcome(one, messages[0], hello, facts)
                elif messages is None:  # it has left before all had come, and may come again
                    for index in [i for i, c in self._connections.items() if c is one]:
                        self._connections.pop(index).close()
                        del facts[index]
                        left.add(index)
        for one in strangers:
            one.close()
        found = _differences([facts[index] for index in range(self.place.count)])
        self._tell_all({"verdict": {"differences": found}})
        self._refuse(found)

    def _welcome(self, stranger: _Connection, said: dict, hello: dict, facts: dict) -> None:
        """Take up a worker that has come, or refuse it and all others."""
        index, addresses = said.get("index"), said.get("workers")
        is_worker = type(index) is int and 0 <= index < self.place.count
        if not is_worker or not isinstance(said.get("facts"), dict):
            stranger.close()
            return
        refusal = None
        if addresses != hello["workers"]:
            refusal = UserError(
                f"the workers were given different clusters ({listed(hello['workers'])} on "
                f"{self.place.name(0)}, {listed(map(str, addresses or ()))} on number {index}): "
                "set TF_CONFIG to the same cluster on all."
            )
        elif index in facts and not self._is_silent(index):
            refusal = UserError(
                f"{self.place.name(index)} is there twice: give each worker a task.index of its "
                "own in TF_CONFIG."
            )
        if refusal is not None:
            stranger.send({"refused": str(refusal)})
            self._tell_all({"refused": str(refusal)})
            raise refusal
        if index in self._connections:
            self._connections[index].close()
        facts[index] = said["facts"]
        self._connections[index] = stranger
        stranger.send({"waiting": ""})

    def _is_silent(self, index: int) -> bool:
        """Whether a worker that came does not answer: its machine may have gone without a word."""
        come = self._connections.get(index)
        return come is not None and time.monotonic() - come.heard > SILENCE_SECONDS / 2

    def _join(self, hello: dict) -> None:
        """Find the chief, as often as it takes, and hear whether all agree."""
        patience, chief = _Patience(self.note), self.place.name(0)
        while True:
            patience.says(f"waiting for {chief}")
            try:
                connection = _Connection(_connect(self.place.address(0)))
            except OSError:
                time.sleep(_POLL_SECONDS)
                continue
            connection.send({"index": self.place.index, **hello})
            if self._heard_verdict(connection):
                self._connections[0] = connection
                return
            connection.close()
            time.sleep(_POLL_SECONDS)

    def _heard_verdict(self, connection: _Connection) -> bool:
        """Whether this is the chief, and it has not left before all had come."""
        patience = None
        while time.monotonic() - connection.heard < SILENCE_SECONDS / 2:
            if not select.select([connection], [], [], _POLL_SECONDS)[0]:
                continue
            for message in (messages := connection.read()) or ():
                if "refused" in message:
                    raise UserError(message["refused"])
                if "lost" in message:
                    raise LostWorker(message["lost"], message["code"])
                if "verdict" in message:
                    self._refuse(message["verdict"]["differences"])
                    return True
                connection.send({"alive": True})
                patience = patience or _Patience(self.note, for_ever=True)
                if message.get("waiting"):
                    patience.says(f"waiting for {message['waiting']}")
            if messages is None:
                return False
        return False

    def _keep_watch(self) -> None:
        try:
            self._watch()
        except Exception as error:  # a worker that hears nothing would wait for ever
            self._stop(self._lost(self.place.index, f"cannot hear others ({error!r})"))
        if self._stopped is not None:
            self._end_process()

    def _watch(self) -> None:
        """Hear the others, and tell them that this one is there, until one is lost."""
        beat = looked = time.monotonic()
        while self._stopped is None:
            connections = dict(self._connections)
            if not connections:
                time.sleep(_POLL_SECONDS)
                continue
            ready = select.select(list(connections.values()), [], [], _POLL_SECONDS)[0]
            now = time.monotonic()
            if now - looked > SILENCE_SECONDS / 2:
                # It was this process that stood still, and could not hear what was said.
                for one in connections.values():
                    one.heard = now
            looked = now
            for index, one in connections.items():
                if one in ready:
                    messages = one.read()
                    for message in messages or ():
                        self._take(index, message)
                    if messages is None:
                        self._miss(index, "was lost")
                elif now - one.heard > SILENCE_SECONDS:
                    self._miss(index, f"has not answered for {SILENCE_SECONDS:.0f} s")
            if now - beat >= BEAT_SECONDS:
                self._tell_all({"alive": True})
                beat = now

    def _take(self, index: int, message: dict) -> None:
        if "lost" in message:
            self._stop(LostWorker(message["lost"], message["code"]))
        elif "facts" in message or "verdict" in message:
            verdict = message.get("verdict", {})
            # Here, since the chief may leave before this worker's main thread is told.
            if verdict.get("last") or verdict.get("differences"):
                self._is_over = True
            with self._changed:
                self._told[index].append(message)
                self._changed.notify_all()

    def _miss(self, index: int, what: str) -> None:
        self._connections.pop(index).close()
        if not self._is_over:
            self._stop(self._lost(index, what))

    def _stop(self, lost: LostWorker) -> None:
        if self._stopped is not None or self._is_over:
            return
        self._tell_all({"lost": str(lost), "code": lost.code})
        with self._changed:
            self._stopped = lost
            self._changed.notify_all()
        # What another says to be a mistake, this one finds too, in a moment, and says it better.
        is_told = self._is_together and callable(signal.getsignal(signal.SIGTERM))
        if lost.code == LOST_WORKER and is_told:
            os.kill(os.getpid(), signal.SIGTERM)

    def _end_process(self) -> None:
        """End the process unless it does so itself: TensorFlow may keep its main thread."""
        time.sleep(GRACE_SECONDS)
        self._stopped.scratch = self.scratch
        end_process(self._stopped)

    def _leave(self, why: str, code: int) -> None:
        if not self._is_over and self._stopped is None:
            self._is_over = True
            remedy = "" if code != LOST_WORKER else f": {self.remedy}."
            self._tell_all({"lost": f"{self.place.name()} has ended ({why}){remedy}", "code": code})

    def _loss_behind(self, error: BaseException) -> LostWorker | UserError | None:
        """The loss that made this worker fail, if it was one."""
        if isinstance(error, LostWorker):
            error.scratch = self.scratch
            return error
        if type(error).__module__.startswith("tensorflow.") and not self._is_over:
            # TensorFlow may notice first, and does not say who it was in words.
            deadline = time.monotonic() + SILENCE_SECONDS + 2
            with self._changed:
                while self._stopped is None and time.monotonic() < deadline:
                    self._changed.wait(_POLL_SECONDS)
        return self._stopped and self._cause()

    def _cause(self) -> LostWorker | UserError:
        """Why this worker stops: a mistake of another is one here too, so that nothing is left."""
        if self._stopped.code != LOST_WORKER:
            return UserError(str(self._stopped))
        self._stopped.scratch = self.scratch
        return self._stopped

    def _lost(self, index: int, what: str) -> LostWorker:
        return LostWorker(f"{self.place.name(index)} {what}: {self.remedy}.")

    def _next_from(self, index: int) -> dict:
        with self._changed:
            while not self._told[index]:
                if self._stopped is not None:
                    raise self._cause()
                if index not in self._connections:
                    raise self._lost(index, "was lost")
                self._changed.wait(_POLL_SECONDS)
            return self._told[index].pop(0)

    def _tell_all(self, message: dict) -> None:
        for one in list(self._connections.values()):
            one.send(message)

    def _refuse(self, differences: list) -> None:
        if not differences:
            return
        self._is_over = True
        parts = [
            f"{name} ("
            + ", ".join(f"{value} on {listed(map(self.place.name, on))}" for value, on in values)
            + ")"
            for name, values in differences
        ]
        raise UserError(
            f"the workers differ in {listed(parts, 5)}: start all of them with the same command "
            "line, versions and data."
        )


class _Connection:
    """Messages to and from another worker, each a line of JSON."""

    def __init__(self, connected: socket.socket):
        self.socket, self.heard = connected, time.monotonic()
        self._rest, self._sending = b"", threading.Lock()
        connected.settimeout(BEAT_SECONDS)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, message: dict) -> None:
        # One that is gone is found by reading.
        with self._sending, contextlib.suppress(OSError):
            self.socket.sendall(json.dumps(message).encode() + b"\n")

    def read(self) -> list[dict] | None:
        """What has come; ``None`` once nothing more will, or if this is no worker."""
        try:
            data = self.socket.recv(1 << 16)
            *lines, self._rest = (self._rest + data).split(b"\n")
            messages = [json.loads(line) for line in lines]
        except (OSError, ValueError):
            return None
        if not data or len(self._rest) > _LONGEST_LINE:
            return None
        if not all(isinstance(message, dict) for message in messages):
            return None
        if messages:
            self.heard = time.monotonic()
        return messages

    def close(self) -> None:
        self.socket.close()


class _Patience:
    """Says now and then who is waited for, and not for ever."""

    def __init__(self, note: Callable[[str], None], for_ever: bool = False):
        self.note, self.seconds = note, float("inf") if for_ever else WAIT_SECONDS
        self.began = self.beat = time.monotonic()
        self.pause, self.next = SAY_SECONDS, self.began + SAY_SECONDS

    def says(self, line: str) -> bool:
        """Say it if it is time to; whether the others are to be told.

        Raises:
            LostWorker: If it has been waited long enough.
        """
        now = time.monotonic()
        if now - self.began > self.seconds:
            who = line.removeprefix("waiting for ")
            raise LostWorker(
                f"{who} did not come in {self.seconds / 60:.0f} minutes: see whether all workers "
                "were started, and reach one another at these addresses."
            )
        if now >= self.next:
            self.note(line)
            # Again after 5, 10, 20, ... seconds.
            self.pause *= 2
            self.next = now + self.pause
        if now - self.beat >= BEAT_SECONDS:
            self.beat = now
            return True
        return False


@contextlib.contextmanager
def _listening(place: Place) -> Iterator[socket.socket]:
    """A socket at this worker's own address, which has to be one of this machine."""
    host, port = place.address()
    given = f"TF_CONFIG with {place.name()} as this worker"
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            break
        except OSError as error:  # a name that is given to a machine as it starts
            if time.monotonic() > deadline:
                raise UserError(
                    given=given,
                    but=f"the name {host} is not known here ({error.strerror})",
                    remedy="name a host that all workers know",
                ) from error
            time.sleep(1)
    with socket.socket(family, kind) as listener:
        # TensorFlow's server takes the port over while the connections are still there.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(place.count + 8)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                but = f"another process listens on port {port}"
                remedy = "end it if it is an earlier worker, or give each its own place and port"
            else:
                but = f"{host} is no address of this machine ({os.strerror(error.errno)})"
                remedy = "set task.index to the place of this machine in the cluster"
            raise UserError(given=given, but=but, remedy=remedy) from error
        yield listener


def _connect(address: tuple[str, int]) -> socket.socket:
    connected = socket.create_connection(address, timeout=BEAT_SECONDS)
    if connected.getsockname() == connected.getpeername():  # a port that nobody listens on yet
        connected.close()
        raise ConnectionRefusedError
    return connected


def _differences(facts: list[Mapping[str, object]]) -> list:
    """What is not the same on all: its name, and who has which values."""
    found = []
    for name in dict.fromkeys(name for one in facts for name in one):
        values: dict[str, list[int]] = {}
        for index, one in enumerate(facts):
            values.setdefault(_told(one.get(name)), []).append(index)
        if len(values) > 1:
            found.append((name, [(text[:80], on) for text, on in values.items()]))
    return found


def _told(value: object) -> str:
    if value is None:
        return "none"
    text = json.dumps(value, sort_keys=True)
    return text.strip('"') if isinstance(value, str) else text
