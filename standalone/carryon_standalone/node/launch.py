"""The program that a container's process is before it becomes the container's command.

Run as `python -I -S launch.py PARENT GATE COMMAND ...` in a session of its own. It asks the kernel for SIGKILL when the
node dies, then waits at the gate (a socket) until the node has noted its pid on disk, and only then executes the
command: so there is never a running container that a restarted node does not know of. The gate closes on exec; an
error text that comes out of it says why the command could not be executed.
"""

import ctypes
import os
import signal
import socket
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Wait at the gate, then execute the command."""
    parent, gate, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the node died before the line above took effect
        os._exit(1)
    with socket.socket(fileno=gate) as opened:
        opened.set_inheritable(False)
        if opened.recv(1) != b"1":  # the node died before it had noted this process
            os._exit(1)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and an ignored signal survives exec
        try:
            os.execvp(command[0], command)
        except OSError as error:
            opened.sendall(f'exec: "{command[0]}": {error.strerror}'.encode())
    os._exit(1)


if __name__ == "__main__":
    main()
