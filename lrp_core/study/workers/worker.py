"""One process that computes what it is sent: `Worker` is the one who sends, `main` runs in the process.

Both write a length and so many pickled bytes into a pipe. A worker ends when its pipe does: however the one who sends
ends, and whatever the worker is at.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from typing import IO, Any

from joblib.externals.loky.backend.reduction import dumps

from ...errors import LrpError
from ...registry import load_plugins
from ..turns import INSIDE

ONE_THREAD = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
    *("NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
)
"""What the libraries of numerics take their number of threads from."""

_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {module} import main; main()"
_LENGTH = struct.Struct(">Q")


class Gone(Exception):
    """A worker whose process ended before it had answered."""


class _Remote(Exception):
    """Where in a worker an error arose."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class Worker:
    """A process of one thread. Every call that it is sent is answered in `answers`: (worker, result, error)."""

    def __init__(self, answers: queue.SimpleQueue[tuple[Worker, Any, BaseException | None]]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START.format(module=__name__), json.dumps(sys.path)],
            env=os.environ | dict.fromkeys(ONE_THREAD, "1") | {INSIDE: "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for who started it, which ends it
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._calls, self._results = self.process.stdin, self.process.stdout
        threading.Thread(target=self._receive, args=(answers,), daemon=True).start()

    def send(self, function: Any, value: Any) -> None:
        """Have it compute `function(value)`. Raises what pickling these raises."""
        content = dumps((function, value))
        with suppress(BrokenPipeError):  # who receives says that it is gone
            _write(self._calls, content)

    def kill(self) -> None:
        """End it at once, and what it started."""
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                if os.name == "posix":
                    os.killpg(self.process.pid, signal.SIGKILL)
                else:
                    self.process.kill()
            self.process.wait()
        with suppress(BrokenPipeError):
            self._calls.close()

    def _receive(self, answers: queue.SimpleQueue[tuple[Worker, Any, BaseException | None]]) -> None:
        with self._results:
            while (content := _read(self._results)) is not None:
                try:
                    result, error, trace = pickle.loads(content)
                except Exception as failure:  # of a class that only the worker has
                    result, error, trace = None, LrpError(f"a worker's answer cannot be read: {failure}"), ""
                if error is not None:
                    error.__cause__ = _Remote(trace)
                answers.put((self, result, error))
        answers.put((self, None, Gone()))


def main() -> None:
    """Answer calls until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    calls, results = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what is printed goes where errors go
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def receive() -> None:
        while (content := _read(calls)) is not None:
            received.put(content)
        os._exit(1)

    threading.Thread(target=receive, daemon=True).start()
    while True:
        _write(results, _answer(received.get()))


def _answer(content: bytes) -> Any:
    try:
        load_plugins()
        function, value = pickle.loads(content)
        answer = dumps((function(value), None, ""))
    except BaseException as error:
        trace = traceback.format_exc()
        try:
            answer = dumps((None, error, trace))
            pickle.loads(answer)
        except Exception:  # an error that cannot be sent is told
            answer = dumps((None, LrpError(f"{type(error).__name__}: {error}"), trace))
    return answer


def _write(pipe: IO[bytes], content: Any) -> None:
    pipe.write(_LENGTH.pack(len(content)))
    pipe.write(content)
    pipe.flush()


def _read(pipe: IO[bytes]) -> bytes | None:
    """The next message; None where the pipe ends, in the middle of one too."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    content = pipe.read(length)
    return content if len(content) == length else None
