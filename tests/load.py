"""Clients that keep a server busy while it is tormented, and know what they were promised.

Each event is of an item of its own, so that a history tells which events were applied, and how often.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from typing import Any

USERS, VIEWERS = 40, 20


class Client(threading.Thread):
    """Sends requests until it is told to stop, whether the server is there or not."""

    def __init__(self, port: int, number: int = 0) -> None:
        super().__init__(daemon=True)
        self.port, self.number = port, number
        self.ended = threading.Event()
        self.resting = threading.Event()
        self.count = 0  # requests that were answered
        self.longest = 0.0  # seconds that an answer took at most
        self.wrong: list[Any] = []  # answers that must not be

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self.ended.is_set():
            if self.resting.is_set():
                time.sleep(0.01)
                continue
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                self.work(connection)
                self.count += 1
            except (OSError, http.client.HTTPException):  # it was killed, or is not up yet
                if connection is not None:
                    connection.close()
                connection = None
                time.sleep(0.01)
        if connection is not None:
            connection.close()

    def work(self, connection: http.client.HTTPConnection) -> None:
        raise NotImplementedError

    def ask(self, connection: http.client.HTTPConnection, method: str, path: str, body: Any = None) -> tuple[int, Any, Any]:
        """Status, JSON and headers of an answer."""
        connection.request(method, path, None if body is None else json.dumps(body).encode())
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), answer.headers


class Sender(Client):
    """Sends small batches of clicks, each batch again and again until it is acknowledged, as a good client does."""

    def __init__(self, port: int, number: int = 0, pause: float = 0.02) -> None:
        super().__init__(port, number)
        self.pause = pause
        self.acknowledged: list[tuple[str, str]] = []  # (user, item)
        self.refused = 0  # 503 with Retry-After
        self._sent = 0
        self._batch: list[dict[str, Any]] = []

    def work(self, connection: http.client.HTTPConnection) -> None:
        if not self._batch:
            now = int(time.time() * 1000)
            names = [f"s{self.number}-{self._sent + n}" for n in range(4)]
            self._sent += len(names)
            self._batch = [
                {"type": "interaction", "id": n, "time": now, "user": f"u{random.randrange(USERS)}", "item": n, "kind": "click"}
                for n in names
            ]
        began = time.monotonic()
        status, body, headers = self.ask(connection, "POST", "/v1/events", self._batch)
        self.longest = max(self.longest, time.monotonic() - began)
        if status == 202:
            self.acknowledged += [(event["user"], event["item"]) for event in self._batch]
            self._batch = []
            time.sleep(self.pause)
        elif status == 503 and headers.get("Retry-After"):
            self.refused += 1
            time.sleep(0.1)
        else:
            self.wrong.append((status, body))
            time.sleep(0.1)


class Asker(Client):
    """Asks for viewers' recommendations, and notes what they were made of and how long they took."""

    def __init__(self, port: int, number: int = 0, pause: float = 0.01) -> None:
        super().__init__(port, number)
        self.pause = pause
        self.turn = number
        self.streak = ("", 0)  # the rung of the last answer, and how many in a row were of it

    def work(self, connection: http.client.HTTPConnection) -> None:
        query = random.choice(["", "?k=5"])
        self.turn += 1
        began = time.monotonic()
        status, body, _ = self.ask(connection, "GET", f"/v1/users/v{self.turn % VIEWERS}/recommendations{query}")
        self.longest = max(self.longest, time.monotonic() - began)
        if status != 200 or not body["items"]:
            self.wrong.append((status, body))
        else:
            rung = body["rung"]
            self.streak = (rung, self.streak[1] + 1 if self.streak[0] == rung else 1)
        time.sleep(self.pause)
