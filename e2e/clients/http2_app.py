"""An app that speaks HTTP/2 with hyper-h2, and gives requests back: REFUSED_STREAM, GOAWAY, and worse."""

import http.client
import json
import socket
import threading
from collections.abc import Callable

import h2.config
import h2.connection
import h2.errors
import h2.events
from stand import PATIENCE, Place, address, main


class Http2App:
    """What it does with a request is decided by `decide(app, connection number, request number)`, which returns one of
    `answer`, `refuse`, `goaway`, `cancel`, `goaway_below`, `leave`."""

    def __init__(self, place: Place, decide: Callable[["Http2App", int, int], str]):
        self.executed: list[bytes] = []
        self.arrived = 0
        self.connections = 0
        self.decide = decide
        self._lock = threading.Lock()
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(address(place.http2))
        self._listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        spoken = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        spoken.initiate_connection()
        connection.sendall(spoken.data_to_send())
        bodies: dict[int, bytes] = {}
        while data := connection.recv(65536):
            for event in spoken.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
                    spoken.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if isinstance(event, h2.events.StreamEnded):
                    with self._lock:
                        self.arrived += 1
                        decision = self.decide(self, number, self.arrived)
                    if self._do(decision, spoken, event.stream_id, bodies.get(event.stream_id, b"")):
                        connection.sendall(spoken.data_to_send())
                        connection.close()
                        return
            connection.sendall(spoken.data_to_send())

    def _do(self, decision: str, spoken: h2.connection.H2Connection, stream: int, body: bytes) -> bool:
        """Whether the connection ends."""
        if decision == "refuse":
            spoken.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
            return False
        if decision == "goaway_below":
            # Everything from this stream on was not looked at.
            spoken.close_connection(last_stream_id=stream - 2 if stream > 1 else 0)
            return True
        self.executed.append(body)
        if decision == "cancel":
            spoken.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
            return False
        if decision == "leave":
            return True
        if decision == "goaway":
            # It was processed, and the connection ends before the answer.
            spoken.close_connection(last_stream_id=stream)
            return True
        answer = json.dumps({"order": len(self.executed)}).encode()
        spoken.send_headers(stream, [(":status", "201"), ("content-type", "application/json")])
        spoken.send_data(stream, answer, end_stream=True)
        return False


def call(place: Place) -> http.client.HTTPConnection:
    """A connection to the gateway. It belongs to one worker, who keeps one connection to the app."""
    return http.client.HTTPConnection(place.plain, timeout=PATIENCE)


def order(line: http.client.HTTPConnection, key: str, item: str = "ticket") -> tuple[int, http.client.HTTPResponse, dict]:
    headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
    line.request("POST", "/http2/orders", body=json.dumps({"item": item}), headers=headers)
    answer = line.getresponse()
    return answer.status, answer, json.loads(answer.read())


def given_back(place: Place, how: str) -> None:
    """The first connection serves one order, and gives the next one back; another one takes it."""

    def decide(app: Http2App, connection: int, arrived: int) -> str:
        return how if arrived == 2 else "answer"

    app, line = Http2App(place, decide), call(place)
    status, _, body = order(line, "first")
    assert (status, body) == (201, {"order": 1})
    status, answer, body = order(line, "second", "other")
    assert (status, body) == (201, {"order": 2}), (status, body)
    assert answer.getheader("Steadfast-Outcome") is None
    again, replay, same = order(line, "second", "other")
    assert (again, same, replay.getheader("Idempotent-Replayed")) == (201, body, "true")
    assert (app.arrived, len(app.executed)) == (3, 2), "sent twice, executed once"
    assert app.connections == 2, "the second time over a connection of its own"


def refused_stream(place: Place) -> None:
    given_back(place, "refuse")


def above_goaway(place: Place) -> None:
    given_back(place, "goaway_below")


def refused_for_good(place: Place) -> None:
    """Who gives everything back has executed nothing: the key is free again."""
    refusing = True

    def decide(app: Http2App, connection: int, arrived: int) -> str:
        return "refuse" if refusing else "answer"

    app, line = Http2App(place, decide), call(place)
    status, answer, problem = order(line, "key")
    assert status == 502 and problem["code"] == "upstream-unavailable", problem
    assert answer.getheader("X-Should-Retry") == "true"
    assert not app.executed and app.arrived == 3, app.arrived
    refusing = False
    status, answer, body = order(line, "key")
    assert (status, body, answer.getheader("Idempotent-Replayed")) == (201, {"order": 1}, None)


def in_doubt(place: Place, how: str) -> None:
    """It was processed, perhaps: nobody sends it again."""

    def decide(app: Http2App, connection: int, arrived: int) -> str:
        return how if arrived == 2 else "answer"

    app, line = Http2App(place, decide), call(place)
    assert order(line, "first")[0] == 201
    status, answer, problem = order(line, "second", "other")
    assert (status, problem["code"]) == (502, "outcome-in-doubt"), problem
    assert problem["operation"].startswith("/.steadfast/operations/"), problem
    assert answer.getheader("X-Should-Retry") == "false"
    status, _, problem = order(line, "second", "other")
    assert (status, problem["code"]) == (409, "outcome-in-doubt"), problem
    assert (app.arrived, len(app.executed)) == (2, 2), "it was sent once"


def reset_with_another_code(place: Place) -> None:
    in_doubt(place, "cancel")


def below_goaway(place: Place) -> None:
    in_doubt(place, "goaway")


def connection_lost(place: Place) -> None:
    in_doubt(place, "leave")


def many_given_back_at_once(place: Place) -> None:
    """A connection is given up with many orders on their way: each executes once."""
    barrier = threading.Barrier(8)

    def decide(app: Http2App, connection: int, arrived: int) -> str:
        return "refuse" if arrived % 3 == 0 else "answer"

    app = Http2App(place, decide)
    told: list[tuple[int, int]] = []

    def ask(number: int) -> None:
        barrier.wait(PATIENCE)
        status, _, body = order(call(place), f"key-{number}", str(number))
        told.append((status, body.get("order", 0)))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(told) == [(201, number) for number in range(1, 9)], told
    assert len(app.executed) == len(set(app.executed)) == 8, "each once"
    assert app.arrived > 8, "and some were given back"


if __name__ == "__main__":
    main(globals())
