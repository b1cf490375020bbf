"""Where the clients of a group wait for each other, so that they do the same check at the same time: compare.py --together opens
one for each group, the clients' drivers come to it by `--meet PATH`.

A client says its name on its first line, and before each check one JSON line, `{"turn": WORD or null}`; it goes on when it is
answered a line. A check without a turn begins when all who are still there have come to it. Checks in a row with the same turn
change what the server has only one of (a graph in a file, a switch of the process): there the clients go one after another, each
from the same start. Whoever hangs up is waited for no more.
"""

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Member:
    """One client, and how far it is."""

    at: int = 0  # a check without a turn, and a row of checks with the same one, count as one
    turn: str | None = None
    waiting: socket.socket | None = None
    gone: bool = False


class Meeting:
    def __init__(self, path: Path, names: list[str], afresh: Callable[[], None]) -> None:
        self.members = {name: Member() for name in names}
        self.afresh = afresh  # brings the server's things to the start, for whose turn begins
        self.holder: tuple[str, int] | None = None
        self.lock = threading.Lock()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen()
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)  # wakes `accept`
        self.socket.close()

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=[connection], daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        name = ""
        try:
            with connection, connection.makefile() as lines:
                name = lines.readline().strip()
                for line in lines:
                    self.come(name, json.loads(line)["turn"], connection)
        except (OSError, ValueError, KeyError):
            pass  # as good as gone
        finally:
            self.leave(name)

    def come(self, name: str, turn: str | None, connection: socket.socket) -> None:
        with self.lock:
            member = self.members[name]
            if turn is None or turn != member.turn:
                member.at += 1
            member.turn, member.waiting = turn, connection
            self.go_on()

    def leave(self, name: str) -> None:
        """Also by whoever sees that a client has ended: it may have died before it came here at all."""
        with self.lock:
            if member := self.members.get(name):
                member.gone, member.waiting = True, None
                self.go_on()

    def go_on(self) -> None:
        """Lets go whose time it is, once all wait."""
        here = {name: member for name, member in self.members.items() if not member.gone}
        if not here or any(member.waiting is None for member in here.values()):
            return
        least = min(member.at for member in here.values())
        first = [(name, member) for name, member in here.items() if member.at == least]
        if first[0][1].turn is not None:
            first = first[:1]
            if self.holder != (first[0][0], least):
                self.holder = first[0][0], least
                self.afresh()
        for _name, member in first:
            connection, member.waiting = member.waiting, None
            try:
                connection.sendall(b"go\n")
            except OSError:
                pass  # its own thread sees the end
