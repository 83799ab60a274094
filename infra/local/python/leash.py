"""Runs a Python module, and ends it as soon as whoever started it is gone.

    leash.py MODULE [ARGUMENT ...]

Standard input is the leash: nobody writes to it, and it closes when its other end closes it or dies, however it dies.
Then the module gets the SIGTERM that lets it clean up, and five seconds for that.
"""

import os
import runpy
import signal
import sys
import threading
import time

CLEAN_UP_SECONDS = 5


def hold():
    # os.read and not sys.stdin: a buffered reader that another thread still waits in would abort the interpreter's end.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(CLEAN_UP_SECONDS)
    os._exit(1)


threading.Thread(target=hold, daemon=True).start()
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
