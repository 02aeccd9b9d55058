"""websockets on both ends."""

import asyncio
import http.client
import os
import re
import ssl
import threading
import time

from stand import PATIENCE, App, Place, address, main, run_program
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve


class Chat:
    """Echoes what is said, and closes as it is asked to."""

    def __init__(self, place: Place):
        self.over: list[tuple[int | None, str | None]] = []
        self.ended = threading.Event()
        host, port = address(place.app)
        self._server = serve(self._chat, host, port, max_size=8 << 20, ping_interval=None)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _chat(self, caller: ServerConnection) -> None:
        try:
            for message in caller:
                if message == "close":
                    caller.close(4321, "as you wish")
                elif message == "silence":
                    # Until somebody else ends it.
                    caller.recv()
                else:
                    caller.send(message)
        except ConnectionClosed:
            pass
        self.over.append((caller.protocol.close_code, caller.protocol.close_reason))
        self.ended.set()


def open_chat(place: Place, path: str = "/chat", **more):
    return connect(f"ws://{place.plain}{path}", max_size=8 << 20, ping_interval=None, proxy=None, **more)


def echoes(place: Place) -> None:
    Chat(place)
    with open_chat(place) as chat:
        for number in range(500):
            chat.send(f"message {number}")
        for number in range(500):
            assert chat.recv(PATIENCE) == f"message {number}"
        for number in range(100):
            chat.send(str(number))
            assert chat.recv(PATIENCE) == str(number)
        large = os.urandom(1 << 20)
        chat.send(large)
        assert chat.recv(PATIENCE) == large
        assert chat.ping().wait(PATIENCE), "control frames pass as well"


def over_tls(place: Place) -> None:
    Chat(place)

    # Not the client with threads: Python's TLS loses what one thread writes while another reads, now and then.
    async def chat_over_tls() -> None:
        context = ssl.create_default_context(cafile=place.ca)
        async with connect_async(f"wss://localhost:{place.tls_port}/chat", ssl=context, proxy=None, max_size=8 << 20) as chat:
            large = os.urandom(1 << 20)
            for said in ["it", large, "more"]:
                await chat.send(said)
                assert await asyncio.wait_for(chat.recv(), PATIENCE) == said

    asyncio.run(chat_over_tls())


def close_codes(place: Place) -> None:
    app = Chat(place)
    with open_chat(place) as chat:
        chat.send("close")
        try:
            chat.recv(PATIENCE)
            raise AssertionError("the app closes it")
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4321, "as you wish")
    app.ended.wait(PATIENCE)
    app.ended.clear()
    with open_chat(place) as chat:
        chat.close(4567, "I leave")
    assert app.ended.wait(PATIENCE)
    assert app.over[-1] == (4567, "I leave"), app.over


def lives_through_reloads(place: Place) -> None:
    Chat(place)
    path = place.file("steadfast.toml")
    with open(path, encoding="utf-8") as file:
        config = file.read()

    def status(target: str) -> int:
        plain = http.client.HTTPConnection(place.plain, timeout=PATIENCE)
        plain.request("POST", target)
        answer = plain.getresponse()
        answer.read()
        plain.close()
        return answer.status

    with open_chat(place) as chat:
        for number in range(10):
            # A route that needs a key, at another place each time; and every route's upstream anew.
            changed = config.replace('"/orders"', f'"/orders-{number}"').replace("64KB", f"{64 + number}KB")
            changed = changed.replace("[upstreams.app]", f'[upstreams.app]\nidle_max = {number + 1}')
            with open(path, "w", encoding="utf-8") as file:
                file.write(changed)
            chat.send(f"before {number}")
            reloaded = run_program(place.steadfast, "reload", "--admin", place.admin)
            assert reloaded.returncode == 0, reloaded.stderr
            assert status(f"/orders-{number}") == 400, "the new config is in force"
            assert chat.recv(PATIENCE) == f"before {number}"
            chat.send(f"after {number}")
            assert chat.recv(PATIENCE) == f"after {number}"
            with open_chat(place) as another:
                another.send("new")
                assert another.recv(PATIENCE) == "new"


def idle(place: Place) -> None:
    app = Chat(place)
    with open_chat(place, "/impatient") as chat:
        # Whoever speaks is not cut off, for longer than a silence may last.
        until = time.monotonic() + 1.2
        while time.monotonic() < until:
            chat.send("it")
            assert chat.recv(PATIENCE) == "it"
            time.sleep(0.1)
        began = time.monotonic()
        try:
            chat.recv(PATIENCE)
            raise AssertionError("nobody says anything")
        except ConnectionClosed as closed:
            assert closed.rcvd is None, "nobody said goodbye"
        assert 0.3 < time.monotonic() - began < 5, "after 500 ms"
    assert app.ended.wait(PATIENCE), "the app's end is closed too"


def refused(place: Place) -> None:
    # An app that does not want to: what it says is what the caller gets, and the connection goes on.
    app = App(place.app)
    line = http.client.HTTPConnection(place.plain, timeout=PATIENCE)
    for _ in range(2):
        headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "x", "Sec-WebSocket-Version": "13"}
        line.request("GET", "/chat", headers=headers)
        answer = line.getresponse()
        assert answer.status == 200 and re.search(rb'"upgrade", "websocket"', answer.read())
    assert len(app.requests) == 2


if __name__ == "__main__":
    main(globals())
