"""Requests over HTTP/2 that would be something else over HTTP/1.1, sent with hyper-h2, which is told not to object.

Whatever becomes of them, the app behind, which speaks HTTP/1.1, may only see requests that were sent.
"""

import socket
from collections.abc import Iterable

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from stand import PATIENCE, App, Place, address, main

Fields = list[tuple[bytes, bytes]]

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n"


class Caller:
    """A caller that says what it likes over a connection of HTTP/2, with prior knowledge."""

    def __init__(self, place: Place):
        self._socket = socket.create_connection(address(place.plain), timeout=PATIENCE)
        told = {"client_side": True, "header_encoding": None, "validate_outbound_headers": False, "normalize_outbound_headers": False}
        config = h2.config.H2Configuration(**told, validate_inbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        # What came before it was asked for.
        self._early: list[h2.events.Event] = []
        self.flush()

    def flush(self) -> None:
        self._socket.sendall(self.h2.data_to_send())

    def raw(self, data: bytes) -> None:
        self.flush()
        self._socket.sendall(data)

    def head(self, fields: Fields, end: bool = True) -> int:
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, fields, end_stream=end)
        self.flush()
        return stream

    def data(self, stream: int, data: bytes, end: bool = True) -> None:
        try:
            self.h2.send_data(stream, data, end_stream=end)
            self.flush()
        except (h2.exceptions.StreamClosedError, h2.exceptions.ProtocolError, ConnectionError):
            # It was refused before there was anything of a body.
            pass

    def outcome(self, stream: int) -> int | str:
        """The status of the answer; `reset` or `closed` where there is none."""
        status = None
        while True:
            events, self._early = self._early, []
            if not events:
                try:
                    self.flush()
                    data = self._socket.recv(65536)
                except ConnectionError:
                    return status or "closed"
                if not data:
                    return status or "closed"
                events = self.h2.receive_data(data)
            for event in events:
                if isinstance(event, h2.events.ResponseReceived) and event.stream_id == stream:
                    status = int(dict(event.headers)[b":status"])
                if isinstance(event, h2.events.StreamEnded) and event.stream_id == stream:
                    return status or "closed"
                if isinstance(event, h2.events.StreamReset) and event.stream_id == stream:
                    # An answer may be followed by NO_ERROR: the rest of the request is of no interest.
                    return status or "reset"
                if isinstance(event, h2.events.ConnectionTerminated):
                    return status or "closed"

    def roundtrip(self) -> None:
        """Waits until what was sent so far was read, or the connection is over."""
        self.h2.ping(b"all read")
        ends = h2.events.PingAckReceived | h2.events.ConnectionTerminated
        while not any(isinstance(event, ends) for event in self._early):
            try:
                self.flush()
                data = self._socket.recv(65536)
            except ConnectionError:
                return
            if not data:
                return
            self._early += self.h2.receive_data(data)

    def close(self) -> None:
        self._socket.close()


def request(*more: tuple[bytes, bytes], method: bytes = b"GET", path: bytes = b"/sent", authority: bytes | None = b"shop.example") -> Fields:
    fields = [(b":method", method), (b":scheme", b"http"), (b":path", path)]
    if authority is not None:
        fields.append((b":authority", authority))
    return fields + list(more)


def honest(place: Place, app: App) -> None:
    """A request that is served as it should, so that what came before is known to have done no harm."""
    before = len(app.requests)
    caller = Caller(place)
    stream = caller.head(request(path=b"/honest"))
    assert caller.outcome(stream) == 200
    caller.close()
    assert [seen.target for seen in app.requests[before:]] == ["/honest"]


def refused(place: Place, cases: Iterable[tuple[str, Fields]]) -> None:
    """None of these heads is served, nor is anything of them seen behind."""
    app = App(place.app)
    for name, fields in cases:
        caller = Caller(place)
        stream = caller.head(fields)
        outcome = caller.outcome(stream)
        assert outcome in ("reset", "closed") or 400 <= outcome < 500, f"{name}: {outcome}"
        assert not app.requests, f"{name}: {app.requests}"
        caller.close()
    honest(place, app)
    quiet(app)


def quiet(app: App) -> None:
    """Nothing that a strict reader would not read came in, and nothing that was smuggled."""
    assert not app.faults, app.faults
    everything = b"\n".join(bytes(raw) for raw in app.raw)
    assert b"GET /smuggled" not in everything, everything


def line_ends(place: Place) -> None:
    refused(
        place,
        [
            ("CR LF in a value", request((b"x-a", b"1\r\nX-B: 2"))),
            ("a request in a value", request((b"x-a", b"1\r\n\r\n" + SMUGGLED))),
            ("LF in a value", request((b"x-a", b"1\nx-b: 2"))),
            ("CR in a value", request((b"x-a", b"1\rx-b: 2"))),
            ("NUL in a value", request((b"x-a", b"1\x002"))),
            ("CR LF in a name", request((b"x-a: 1\r\nx-b", b"2"))),
            ("colon in a name", request((b"x-a: 1", b"2"))),
            ("space in a name", request((b"x a", b"2"))),
            ("capitals in a name", request((b"X-A", b"2"))),
            ("no name", request((b"", b"2"))),
            ("CR LF in the path", request(path=b"/sent HTTP/1.1\r\nHost: evil\r\n\r\n" + SMUGGLED)),
            ("space in the path", request(path=b"/sent HTTP/1.1")),
            ("CR LF in the authority", request(authority=b"shop\r\nX-B: 2")),
            ("space in the authority", request(authority=b"shop example")),
            ("CR LF in the cookie", request((b"cookie", b"a=1"), (b"cookie", b"b=2\r\n\r\n" + SMUGGLED))),
        ],
    )


def methods_and_targets(place: Place) -> None:
    refused(
        place,
        [
            ("a space in the method", request(method=b"GET /smuggled")),
            ("a request for a method", request(method=b"GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\nGET")),
            ("no method", request(method=b"")),
            ("CONNECT", [(b":method", b"CONNECT"), (b":authority", b"shop.example:80")]),
            ("extended CONNECT", request((b":protocol", b"websocket"), method=b"CONNECT")),
            ("no path", request(path=b"")),
            ("a path that does not begin with a slash", request(path=b"sent")),
            ("two paths", request((b":path", b"/smuggled"))),
            ("two methods", request((b":method", b"POST"))),
            ("a pseudo-header that is none", request((b":evil", b"1"))),
            ("a pseudo-header behind a field", [*request((b"x-a", b"1")), (b":path", b"/smuggled")]),
            ("a status in a request", request((b":status", b"200"))),
        ],
    )


def connection_fields(place: Place) -> None:
    refused(
        place,
        [
            ("connection", request((b"connection", b"close"))),
            ("a connection that names a field", request((b"connection", b"x-forwarded-for"), (b"x-forwarded-for", b"1"))),
            ("keep-alive", request((b"keep-alive", b"timeout=5"))),
            ("proxy-connection", request((b"proxy-connection", b"keep-alive"))),
            ("upgrade", request((b"upgrade", b"websocket"), (b"connection", b"upgrade"))),
            ("upgrade alone", request((b"upgrade", b"h2c"))),
            ("te", request((b"te", b"chunked"))),
            ("transfer-encoding", request((b"transfer-encoding", b"chunked"), method=b"POST")),
        ],
    )


def hosts(place: Place) -> None:
    refused(
        place,
        [
            ("a host that is another", request((b"host", b"evil.example"))),
            ("two hosts beside the authority", request((b"host", b"shop.example"), (b"host", b"evil.example"))),
            ("two hosts", request((b"host", b"shop.example"), (b"host", b"evil.example"), authority=None)),
            ("two hosts that are one", request((b"host", b"shop.example"), (b"host", b"shop.example"), authority=None)),
            ("an authority with a name before it", request(authority=b"me@shop.example")),
        ],
    )


def one_host_said_twice_is_served(place: Place) -> None:
    app = App(place.app)
    for fields in [request((b"host", b"shop.example")), request((b"host", b"shop.example"), authority=None), request()]:
        caller = Caller(place)
        assert caller.outcome(caller.head(fields)) == 200
        caller.close()
    assert [seen.all("host") for seen in app.requests] == [["shop.example"]] * 3


def bodies(place: Place) -> None:
    """What says how long a body is, and lies."""
    app = App(place.app)
    post = {"method": b"POST"}
    for name, fields, data in [
        ("too short", request((b"content-length", b"3"), **post), b"abc" + SMUGGLED),
        ("none", request((b"content-length", b"0"), **post), SMUGGLED),
        ("too long", request((b"content-length", b"300"), **post), b"abc"),
        ("two of them", request((b"content-length", b"3"), (b"content-length", b"40"), **post), b"abc" + SMUGGLED),
        ("a list", request((b"content-length", b"3, 40"), **post), b"abc" + SMUGGLED),
        ("a sign", request((b"content-length", b"+3"), **post), b"abc" + SMUGGLED),
        ("no number", request((b"content-length", b"0x3"), **post), b"abc" + SMUGGLED),
        ("too large a number", request((b"content-length", b"18446744073709551619"), **post), b"abc" + SMUGGLED),
        ("chunked", request((b"transfer-encoding", b"chunked"), **post), b"0\r\n\r\n" + SMUGGLED),
        ("chunked, and a length", request((b"transfer-encoding", b"chunked"), (b"content-length", b"5"), **post), b"0\r\n\r\n" + SMUGGLED),
        ("a coding in capitals", request((b"Transfer-Encoding", b"chunked"), **post), b"0\r\n\r\n" + SMUGGLED),
        ("a coding with a line's end", request((b"transfer-encoding", b"chunked\r\nx: "), **post), b"0\r\n\r\n" + SMUGGLED),
    ]:
        for key, apart in [(None, False), (None, True), (b"smuggled", False), (b"smuggled", True)]:
            whole = fields if key is None else [*fields, (b"idempotency-key", key)]
            whole = [(own, b"/orders" if own == b":path" and key else value) for own, value in whole]
            before = len(app.requests)
            caller = Caller(place)
            stream = caller.head(whole, end=False)
            if apart:
                # The head has certainly been read by the time that the body comes.
                caller.roundtrip()
            caller.data(stream, data)
            outcome = caller.outcome(stream)
            assert outcome in ("reset", "closed") or 400 <= outcome < 500, f"{name}: {outcome}"
            caller.close()
            assert len(app.requests) == before, f"{name}: {app.requests[before:]}"
    assert app.orders == 0
    # What broke off on its way is no request, and nothing came behind it.
    app.faults = [fault for fault in app.faults if not fault.startswith("broke off")]
    everything = [bytes(raw) for raw in app.raw]
    assert all(raw.count(b"HTTP/1.1") <= 1 and b"GET /smuggled" not in raw for raw in everything), everything
    honest(place, app)
    assert not app.faults, app.faults


def what_is_sent_is_what_arrives(place: Place) -> None:
    """A body that looks like requests is a body."""
    app = App(place.app)
    for more in [(), ((b"content-length", str(len(SMUGGLED)).encode()),)]:
        caller = Caller(place)
        stream = caller.head(request(*more, method=b"POST"), end=False)
        caller.data(stream, SMUGGLED)
        assert caller.outcome(stream) == 200
        caller.close()
    assert [(seen.method, seen.target, seen.body) for seen in app.requests] == [("POST", "/sent", SMUGGLED)] * 2
    # So is one that comes with a method that usually has none, and one that pretends to end its chunk.
    caller = Caller(place)
    stream = caller.head(request(), end=False)
    caller.data(stream, b"0\r\n\r\n" + SMUGGLED)
    assert caller.outcome(stream) == 200
    assert app.requests[-1].body == b"0\r\n\r\n" + SMUGGLED
    assert not app.faults and len(app.requests) == 3, app.faults


def trailers(place: Place) -> None:
    """Trailers that would be heads: nothing of them arrives, whatever becomes of the request."""
    app = App(place.app)
    for name, fields in [
        ("line ends", [(b"x-sum", b"1\r\n\r\n" + SMUGGLED)]),
        ("a pseudo-header", [(b":path", b"/smuggled")]),
        ("transfer-encoding", [(b"transfer-encoding", b"chunked")]),
        ("content-length", [(b"content-length", b"40")]),
        ("host", [(b"host", b"evil")]),
        ("connection", [(b"connection", b"close")]),
    ]:
        for declared in [(), ((b"trailer", fields[0][0]),)]:
            caller = Caller(place)
            stream = caller.head(request(*declared, method=b"POST"), end=False)
            caller.data(stream, b"abc", end=False)
            # hyper-h2 looks at trailers in spite of all: they are encoded by hand. 0x5: end of stream and of headers.
            block = caller.h2.encoder.encode(fields)
            caller.raw(len(block).to_bytes(3, "big") + b"\x01\x05" + stream.to_bytes(4, "big") + block)
            caller.outcome(stream)
            caller.close()
    # What broke off on its way is no request.
    app.faults = [fault for fault in app.faults if not fault.startswith("broke off")]
    assert [(seen.target, seen.body, seen.trailers) for seen in app.requests] == [("/sent", b"abc", [])] * len(app.requests)
    honest(place, app)
    quiet(app)


if __name__ == "__main__":
    main(globals())
