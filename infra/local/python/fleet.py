"""The supervisor of the demo fleet: starts, stops and hangs sushy-emulators, one process per device.

Reads one JSON command per line from standard input and answers each with one line of JSON:

    {"do": "start", "id", "folder", "port", "username", "password", "system"}   folder holds certificate.pem, key.pem
    {"do": "stop" | "hang" | "resume", "id"}

The emulator is loaded with the first device and forked for each: loading takes most of a start's time, and the forks
share the code's memory. When standard input closes, for whatever reason, every device ends.
"""

import json
import os
import signal
import sys
import tempfile
import threading
import traceback

# Few bcrypt rounds: the emulator checks the password at every request, and these passwords are short-lived.
ROUNDS = 4

devices = {}
# Nothing is ever written to this pipe. Its read end closes when the supervisor ends, also when it is killed.
alive, keep_alive = os.pipe()


def start(device):
    if device["id"] in devices:
        raise ValueError("it runs already")
    import sushy_tools.emulator.main

    pid = os.fork()
    if pid == 0:
        try:
            run(device)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    devices[device["id"]] = pid


def run(device):
    import bcrypt
    from sushy_tools.emulator import main as emulator

    folder = device["folder"]
    os.close(keep_alive)
    threading.Thread(target=outlive_nobody, daemon=True).start()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = os.open(os.path.join(folder, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    # Keep the images that the device fetches in its own folder.
    tempfile.tempdir = folder
    accounts = os.path.join(folder, "htpasswd")
    with open(accounts, "wb") as file:
        digest = bcrypt.hashpw(device["password"].encode(), bcrypt.gensalt(ROUNDS))
        file.write(device["username"].encode() + b":" + digest + b"\n")
    emulator.app.configure(
        extra_config={
            "SUSHY_EMULATOR_LISTEN_IP": "127.0.0.1",
            "SUSHY_EMULATOR_LISTEN_PORT": device["port"],
            "SUSHY_EMULATOR_SSL_CERT": os.path.join(folder, "certificate.pem"),
            "SUSHY_EMULATOR_SSL_KEY": os.path.join(folder, "key.pem"),
            "SUSHY_EMULATOR_AUTH_FILE": accounts,
            "SUSHY_EMULATOR_STATE_DIR": folder,
            "SUSHY_EMULATOR_FAKE_SYSTEMS": [
                {"uuid": device["system"], "name": device["id"], "power_state": "On", "nics": []}
            ],
        }
    )
    sys.argv = ["sushy-emulator", "--fake"]
    emulator.main()


def outlive_nobody():
    os.read(alive, 1)
    os._exit(0)


def stop(device):
    pid = devices.pop(device["id"])
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def hang(device):
    os.kill(devices[device["id"]], signal.SIGSTOP)


def resume(device):
    os.kill(devices[device["id"]], signal.SIGCONT)


COMMANDS = {"start": start, "stop": stop, "hang": hang, "resume": resume}

for line in sys.stdin:
    try:
        command = json.loads(line)
        COMMANDS[command["do"]](command)
        answer = {}
    except (KeyError, ValueError, OSError) as error:
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)

for pid in devices.values():
    os.kill(pid, signal.SIGKILL)
