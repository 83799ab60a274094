"""Runs a Python module, and ends it when the process that started it has ended.

    leash.py MODULE [ARGUMENT ...]

Standard input is the leash: nothing is written to it, and it closes when the parent closes it or ends, however it ends.
Then the module gets a SIGTERM and a minute to clean up: a cloud that is kept writes what it holds.
"""

import os
import runpy
import signal
import sys
import threading
import time

CLEAN_UP_SECONDS = 60


def hold():
    # os.read, not sys.stdin: a thread that waits in a buffered reader would abort the interpreter's shutdown.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(CLEAN_UP_SECONDS)
    os._exit(1)


threading.Thread(target=hold, daemon=True).start()
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
