"""A pass-through on stdio that writes down every line: `>` what goes to the command, `<` what comes from it. compare.py puts it
between a client and `mcpool connect`, and between mcpool and a server; wire_check.py reads what it wrote.

    wire_tap.py FILE -- COMMAND ARGS...
"""

import os
import sys
import threading


def copy(source: int, sink: int, mark: bytes, log: int) -> None:
    """Line by line, each written down first: no answer stands before its request."""
    rest = b""
    while chunk := os.read(source, 1 << 20):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            write(log, mark + line + b"\n")
            write(sink, line + b"\n")
    write(sink, rest)


def write(sink: int, data: bytes) -> None:
    while data:
        data = data[os.write(sink, data) :]


def feed(child_stdin: int, log: int) -> None:
    try:
        copy(0, child_stdin, b"> ", log)
    except OSError:
        pass  # the command has left: its end is seen at its stdout
    os.close(child_stdin)


def main() -> None:
    path, _, *command = sys.argv[1:]
    log = os.open(f"{path}.{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    child_stdin, to_child = os.pipe()
    from_child, child_stdout = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(child_stdin, 0)
        os.dup2(child_stdout, 1)
        os.execvp(command[0], command)
    os.close(child_stdin)
    os.close(child_stdout)
    threading.Thread(target=feed, args=(to_child, log), daemon=True).start()
    try:
        copy(from_child, 1, b"< ", log)
    except OSError:
        pass  # nobody reads any more
    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF)


if __name__ == "__main__":
    main()
