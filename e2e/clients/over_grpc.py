"""grpcio on both ends, with plain bytes for messages."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
from stand import PATIENCE, App, Place, main

SERVICE = "test.Service"


class Service:
    def __init__(self, place: Place):
        self.called: list[str] = []
        self.left = threading.Event()
        self.metadata: dict[str, str | bytes] = {}
        methods = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Down": grpc.unary_stream_rpc_method_handler(self.down),
            "Up": grpc.stream_unary_rpc_method_handler(self.up),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "FailLate": grpc.unary_stream_rpc_method_handler(self.fail_late),
            "Wait": grpc.unary_unary_rpc_method_handler(self.wait),
            "Endless": grpc.unary_stream_rpc_method_handler(self.endless),
        }
        self.server = grpc.server(ThreadPoolExecutor(16))
        self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, methods)])
        assert self.server.add_insecure_port(place.http2)
        self.server.start()

    def unary(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        self.metadata = dict(context.invocation_metadata())
        context.send_initial_metadata([("began", "yes")])
        context.set_trailing_metadata([("ended", "yes"), ("ended-bin", b"\x00\xff")])
        return b"got " + message

    def down(self, message: bytes, context: grpc.ServicerContext):
        for number in range(int(message)):
            yield str(number).encode()

    def up(self, messages, context: grpc.ServicerContext) -> bytes:
        return b"+".join(messages)

    def both(self, messages, context: grpc.ServicerContext):
        for message in messages:
            yield b"got " + message

    def fail(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata([("why", "because"), ("why-bin", b"\x00\xff")])
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not like that: äöü 100%")

    def fail_late(self, message: bytes, context: grpc.ServicerContext):
        yield b"one"
        context.abort(grpc.StatusCode.DATA_LOSS, "it broke off")

    def wait(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        self.called.append("wait")
        context.add_callback(self.left.set)
        self.left.wait(PATIENCE)
        return b"too late"

    def endless(self, message: bytes, context: grpc.ServicerContext):
        context.add_callback(self.left.set)
        yield b"first"
        self.left.wait(PATIENCE)
        yield b"too late"


def channels(place: Place):
    """One in cleartext, one over TLS."""
    with grpc.insecure_channel(place.plain) as channel:
        yield channel
    with open(place.ca, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    with grpc.secure_channel(f"localhost:{place.tls_port}", credentials) as channel:
        yield channel


def name(method: str) -> str:
    return f"/{SERVICE}/{method}"


def calls_of_all_four_kinds(place: Place) -> None:
    service = Service(place)
    for channel in channels(place):
        reply, call = channel.unary_unary(name("Unary")).with_call(b"it", timeout=10, metadata=[("own", "1"), ("own-bin", b"\xff\x00")])
        assert reply == b"got it" and call.code() == grpc.StatusCode.OK
        assert (service.metadata["own"], service.metadata["own-bin"]) == ("1", b"\xff\x00")
        assert dict(call.initial_metadata())["began"] == "yes"
        trailing = dict(call.trailing_metadata())
        assert (trailing["ended"], trailing["ended-bin"]) == ("yes", b"\x00\xff")
        large = bytes(2 << 20)
        assert channel.unary_unary(name("Unary"))(large, timeout=10) == b"got " + large
        assert list(channel.unary_stream(name("Down"))(b"100", timeout=10)) == [str(n).encode() for n in range(100)]
        assert list(channel.unary_stream(name("Down"))(b"0", timeout=10)) == []
        assert channel.stream_unary(name("Up"))(iter([b"a", b"b", b"c"]), timeout=10) == b"a+b+c"
        # Each message is sent when the reply to the one before has come.
        turn = threading.Semaphore(1)

        def speak():
            for number in range(20):
                assert turn.acquire(timeout=PATIENCE), "the replies come one by one"
                yield str(number).encode()

        for number, reply in enumerate(channel.stream_stream(name("Both"))(speak(), timeout=10)):
            assert reply == b"got " + str(number).encode()
            turn.release()
        assert number == 19


def errors_pass_through(place: Place) -> None:
    Service(place)
    for channel in channels(place):
        try:
            channel.unary_unary(name("Fail"))(b"", timeout=10)
            raise AssertionError("it fails")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
            assert error.details() == "not like that: äöü 100%", error.details()
            trailing = dict(error.trailing_metadata())
            assert (trailing["why"], trailing["why-bin"]) == ("because", b"\x00\xff"), trailing
        call = channel.unary_stream(name("FailLate"))(b"", timeout=10)
        assert next(call) == b"one"
        try:
            next(call)
            raise AssertionError("it breaks off")
        except grpc.RpcError as error:
            assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "it broke off")
        try:
            channel.unary_unary(name("Unknown"))(b"", timeout=10)
            raise AssertionError("there is no such method")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNIMPLEMENTED


def deadlines(place: Place) -> None:
    service = Service(place)
    for channel in channels(place):
        service.left.clear()
        began = time.monotonic()
        try:
            channel.unary_unary(name("Wait"))(b"", timeout=0.5)
            raise AssertionError("it takes too long")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - began < 5
        assert service.left.wait(PATIENCE), "the service is told"
    assert len(service.called) == 2
    # grpcio counts by itself, on both ends. Where neither does, the gateway's count is what there is.
    app = App(place.app)
    with httpx.Client(http1=False, http2=True, verify=place.ca, trust_env=False, timeout=15) as client:
        headers = {"content-type": "application/grpc", "te": "trailers", "grpc-timeout": "300m"}
        answer = client.post(f"{place.url_tls}/never", headers=headers, content=bytes(5))
        assert (answer.status_code, answer.headers["grpc-status"]) == (200, "4"), answer.headers
        assert answer.headers["content-type"] == "application/grpc"
    assert app.left.wait(PATIENCE), "the app is let go"


def cancelling(place: Place) -> None:
    service = Service(place)
    for channel in channels(place):
        service.left.clear()
        call = channel.unary_stream(name("Endless"))(b"", timeout=30)
        assert next(call) == b"first"
        call.cancel()
        assert service.left.wait(PATIENCE), "the service is told"


def nobody_there(place: Place) -> None:
    for channel in channels(place):
        try:
            channel.unary_unary(name("Unary"))(b"", timeout=10)
            raise AssertionError("nobody is there")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE, error
    # Once somebody is, the same channel will do.
    Service(place)
    for channel in channels(place):
        assert channel.unary_unary(name("Unary"))(b"it", timeout=10) == b"got it"


def too_large(place: Place) -> None:
    Service(place)
    for channel in channels(place):
        try:
            channel.unary_unary(name("Unary"))(bytes(6 << 20), timeout=10)
            raise AssertionError("it is too large")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error


if __name__ == "__main__":
    main(globals())
