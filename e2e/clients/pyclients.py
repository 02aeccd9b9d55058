"""httpx and requests, over both versions of HTTP."""

import asyncio

import httpx
import requests
from stand import App, Place, main

ORDER = {"item": "ticket"}
KEY = {"Idempotency-Key": '"order"'}


def client(place: Place, version: str) -> httpx.Client:
    """A client of one version; HTTP/2 is agreed on by TLS."""
    http2 = version == "2"
    base = place.url_tls if http2 else place.url
    return httpx.Client(http1=not http2, http2=http2, base_url=base, verify=place.ca, trust_env=False, timeout=15)


def replays_within_and_across_versions(place: Place) -> None:
    app = App(place.app)
    orders = 0
    for first, second in [("1.1", "1.1"), ("2", "2"), ("1.1", "2"), ("2", "1.1")]:
        orders += 1
        headers = {"Idempotency-Key": f'"order-{orders}"'}
        told = []
        for version in [first, second]:
            with client(place, version) as asking:
                answer = asking.post("/orders", headers=headers, json=ORDER)
                assert answer.http_version == f"HTTP/{version}", answer.http_version
                told.append((answer.status_code, answer.json(), answer.headers["location"]))
                replayed = answer.headers.get("idempotent-replayed")
                assert replayed == ("true" if len(told) == 2 else None), (first, second)
        assert told == [(201, {"order": orders}, f"/orders/{orders}")] * 2, told
        # Another order under the same key is refused over either version.
        with client(place, first) as asking:
            reused = asking.post("/orders", headers=headers, json={"item": "other"})
            assert (reused.status_code, reused.json()["code"]) == (422, "idempotency-key-reused")
    assert app.orders == orders and len(app.requests) == orders and not app.faults


def many_streams_share_a_connection_and_each_key_executes_once(place: Place) -> None:
    app = App(place.app)

    async def ask_all() -> list[tuple[int, int, int]]:
        limits = httpx.Limits(max_connections=1)
        # Not with threads: Python's TLS loses what one thread writes while another reads, now and then.
        async with httpx.AsyncClient(http1=False, http2=True, base_url=place.url_tls, verify=place.ca, trust_env=False, limits=limits, timeout=15) as asking:

            async def ask(number: int) -> tuple[int, int, int]:
                answer = await asking.post("/orders", headers={"Idempotency-Key": f"k{number}"}, json={"number": number})
                assert answer.http_version == "HTTP/2"
                return number, answer.status_code, answer.json()["order"]

            return await asyncio.gather(*(ask(number % 10) for number in range(40)))

    answers = asyncio.run(ask_all())
    assert len(answers) == 40 and len(set(answers)) == 10, answers
    assert {status for _, status, _ in answers} == {201}
    assert app.orders == 10


def requests_replays(place: Place) -> None:
    app = App(place.app)
    with requests.Session() as session:
        session.trust_env = False
        session.verify = place.ca
        first = session.post(f"{place.url}/orders", headers=KEY, json=ORDER, timeout=15)
        again = session.post(f"{place.url_tls}/orders", headers=KEY, json=ORDER, timeout=15)
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.content == again.content and again.headers["Idempotent-Replayed"] == "true"
        streamed = session.post(f"{place.url}/a", data=(b"x" * 1000 for _ in range(100)), timeout=15)
        assert streamed.json()["bytes"] == 100_000
        # It reads a part, and leaves.
        with session.get(f"{place.url}/chunks", stream=True, timeout=15) as answer:
            assert next(answer.iter_content(10)) == b"chunk 0\nch"
        assert session.get(f"{place.url}/a", timeout=15).status_code == 200
    assert app.orders == 1


def streams(place: Place) -> None:
    App(place.app)
    wanted = b"".join(f"chunk {number}\n".encode() * 1000 for number in range(20))
    for version in ["1.1", "2"]:
        with client(place, version) as asking, asking.stream("GET", "/chunks") as answer:
            assert answer.http_version == f"HTTP/{version}"
            assert b"".join(answer.iter_bytes()) == wanted
            assert "content-length" not in answer.headers


def events_come_one_by_one(place: Place) -> None:
    app = App(place.app)
    for version in ["1.1", "2"]:
        with client(place, version) as asking, asking.stream("GET", "/events") as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            got = []
            for line in answer.iter_lines():
                if line:
                    got.append(line)
                    # Only now does the app send the next one.
                    app.seen.release()
            assert got == [f"data: {number}" for number in range(5)], got


def cookies_are_joined(place: Place) -> None:
    app = App(place.app)
    with client(place, "2") as asking:
        pieces = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]
        answer = asking.get("/a", headers=pieces)
        assert answer.http_version == "HTTP/2"
    assert app.requests[0].all("cookie") == ["a=1; b=2; c=3"], app.requests[0].headers


def a_caller_that_leaves_is_noticed(place: Place) -> None:
    app = App(place.app)
    for version in ["1.1", "2"]:
        app.left.clear()
        # Over HTTP/2 it gives up the connection: httpx resets no stream.
        with client(place, version) as asking:
            try:
                asking.get("/never", timeout=httpx.Timeout(5, read=0.3))
                raise AssertionError("nobody answers")
            except httpx.ReadTimeout:
                pass
        assert app.left.wait(15), "the app's connection is given up too"


if __name__ == "__main__":
    main(globals())
