"""How the application that started a command stops it: by a line, or by going away.

A signal would do on Linux and macOS; on Windows one process cannot interrupt another one like
that. A pipe works everywhere, and tells the end of the application too, however it came about.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading

#: Environment variable that switches it on, with the value "stdin".
CONTROL = "ATTRIBSEG_CONTROL"


def listen_for_stop() -> None:
    """Where the environment asks for it, watch standard input in a thread.

    The line ``stop``, or the end of the input, interrupts the main thread as Ctrl-C does.
    """
    if os.environ.pop(CONTROL, "") != "stdin":
        return
    # Elsewhere, and nothing in its place: processes started later must not hold the pipe, and on
    # Windows libraries that look at standard input while it is read hang.
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=_watch, args=(pipe,), name="control", daemon=True).start()


def _watch(pipe: int) -> None:
    """Wait for the line or the end; unbuffered, since a daemon must not hold a lock at exit."""
    received = b""
    while b"stop" not in received.splitlines():
        try:
            chunk = os.read(pipe, 4096)
        except OSError:
            chunk = b""
        if not chunk:
            break
        # Of other lines only the last, perhaps unfinished one is kept.
        received = (received + chunk)[-4096:]
    if sys.platform == "win32":
        _thread.interrupt_main()
    else:  # a real signal also ends what the main thread waits for
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
