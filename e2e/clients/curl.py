"""curl, as people use it."""

import json
import os
import shutil
import socket
import tempfile
import time

from stand import PATIENCE, App, Place, address, main, run_program


class Answer:
    """What curl printed: the heads of all answers, and the last body."""

    def __init__(self, place: Place, *arguments: str, fails: bool = False):
        folder = tempfile.mkdtemp(dir=place.folder)
        head, body = os.path.join(folder, "head"), os.path.join(folder, "body")
        told = "%{http_code} %{http_version} %{size_upload} %{num_connects}"
        command = ["curl", "--silent", "--show-error", "--verbose", "--max-time", "15", "--dump-header", head]
        command += ["--output", body, "--write-out", told, "--cacert", place.ca, *arguments]
        done = run_program(*command)
        self.verbose = done.stderr.decode("latin-1")
        if fails:
            assert done.returncode != 0, self.verbose
            return
        assert done.returncode == 0, self.verbose
        status, self.version, uploaded, connects = done.stdout.decode().split()
        self.status, self.uploaded, self.connects = int(status), int(uploaded), int(connects)
        with open(head, encoding="latin-1") as file:
            self.head = file.read()
        self.body = b""
        if os.path.exists(body):
            with open(body, "rb") as file:
                self.body = file.read()

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    def echoed(self, name: str) -> str | None:
        values = [value for own, value in self.json["headers"] if own == name]
        assert len(values) <= 1, values
        return values[0] if values else None

    def header(self, name: str) -> str | None:
        fields = [line.partition(":") for line in self.head.splitlines()]
        values = [value.strip() for own, _, value in fields if own.lower() == name]
        return values[-1] if values else None


def versions(place: Place) -> None:
    app = App(place.app)
    for version, arguments in [
        ("1.1", ["--http1.1", f"{place.url}/a?b=c"]),
        ("2", ["--http2-prior-knowledge", f"{place.url}/a?b=c"]),
        ("2", ["--http2", f"{place.url_tls}/a?b=c"]),
        ("1.1", ["--http1.1", f"{place.url_tls}/a?b=c"]),
        ("1", ["--http1.0", f"{place.url}/a?b=c"]),
    ]:
        answer = Answer(place, *arguments)
        assert (answer.status, answer.version) == (200, version), answer.head
        assert (answer.json["method"], answer.json["target"]) == ("GET", "/a?b=c")
        proto = "https" if "https" in arguments[-1] else "http"
        assert answer.echoed("x-forwarded-proto") == proto
        assert answer.echoed("x-forwarded-for") == "127.0.0.1"
    assert len(app.requests) == 5 and not app.faults, app.faults


def heads(place: Place) -> None:
    app = App(place.app)
    for arguments in [["--http1.1", place.url], ["--http2-prior-knowledge", place.url], ["--http2", place.url_tls]]:
        answer = Answer(place, "--head", *arguments[:-1], f"{arguments[-1]}/a")
        assert answer.status == 200 and "left intact" in answer.verbose, answer.verbose
        assert int(answer.header("content-length")) > 50, "the length is that of the body that a GET would get"
    assert [request.method for request in app.requests] == ["HEAD"] * 3


def connection_close(place: Place) -> None:
    app = App(place.app)
    answer = Answer(place, "--http1.1", "--header", "Connection: close, X-Mine", "--header", "X-Mine: 1", f"{place.url}/a")
    assert answer.header("connection") == "close"
    assert answer.echoed("x-mine") is None and answer.echoed("connection") is None
    url = [f"{place.url}/a", "--output", place.file("kept")]
    kept = run_program("curl", "--silent", "--http1.1", "--write-out", "%{num_connects} ", *url, *url)
    assert kept.stdout == b"1 0 ", "the connection is used again"
    assert len(app.requests) == 3 and not app.faults, app.faults


def absolute_form(place: Place) -> None:
    app = App(place.app)
    # To a proxy the whole URL is the target, and it outweighs the Host beside it.
    answer = Answer(
        place, "--http1.1", "--noproxy", "", "--proxy", place.url, "--header", "Host: other.example", "http://shop.example/a?b"
    )
    assert answer.status == 200
    [seen] = app.requests
    assert (seen.target, seen.one("host")) == ("/a?b", "shop.example")
    assert seen.one("x-forwarded-host") == "shop.example"


def uploads(place: Place) -> None:
    app = App(place.app)
    large = place.file("large")
    with open(large, "wb") as file:
        file.write(os.urandom(3 << 20))
    expect = ["--header", "Expect: 100-continue", "--data-binary", f"@{large}"]
    answer = Answer(place, "--http1.1", *expect, f"{place.url}/a")
    assert answer.json["bytes"] == 3 << 20 and "HTTP/1.1 100 Continue" in answer.head, answer.head
    for version in ["--http1.1", "--http2-prior-knowledge"]:
        answer = Answer(place, version, "--data-binary", f"@{large}", "--header", "Expect:", f"{place.url}/a")
        assert answer.json["bytes"] == 3 << 20, version
    chunked = Answer(place, "--http1.1", "--header", "Transfer-Encoding: chunked", "--header", "Expect:", "--data-binary", f"@{large}", f"{place.url}/a")
    assert chunked.json["bytes"] == 3 << 20 and chunked.echoed("transfer-encoding") == "chunked"
    body = ["--request", "GET", "--header", "Transfer-Encoding: chunked", "--data-binary", "abc"]
    assert Answer(place, "--http1.1", *body, f"{place.url}/a").json["bytes"] == 3, "a GET may have a body"
    streamed = Answer(place, "--http2", "--upload-file", "-", f"{place.url_tls}/a")
    assert streamed.json["method"] == "PUT"
    for request in app.requests[:4]:
        with open(large, "rb") as file:
            assert request.body == file.read(), "byte by byte"
    assert not app.faults, app.faults


def refused_uploads(place: Place) -> None:
    app = App(place.app)
    large = place.file("large")
    with open(large, "wb") as file:
        file.write(bytes(5 << 20))
    for path, more in [("/a", []), ("/orders", ["--header", 'Idempotency-Key: "k"'])]:
        expect = ["--header", "Expect: 100-continue", "--data-binary", f"@{large}", *more]
        answer = Answer(place, "--http1.1", "--expect100-timeout", "10", *expect, f"{place.url}{path}")
        assert (answer.status, answer.uploaded) == (413, 0), (path, answer.status, answer.uploaded)
        assert "100 Continue" not in answer.head and answer.json["code"] == "body-too-large"
    # Whose length is not told is refused when it turns out.
    chunked = ["--header", "Transfer-Encoding: chunked", "--header", "Expect:", "--data-binary", f"@{large}"]
    answer = Answer(place, "--http1.1", *chunked, "--header", 'Idempotency-Key: "l"', f"{place.url}/orders")
    assert (answer.status, answer.json["code"]) == (413, "body-too-large"), answer.head
    assert not app.requests, "the app was never asked"
    # What streams through is cut off.
    answer = Answer(place, "--http1.1", *chunked, f"{place.url}/a")
    assert (answer.status, answer.json["code"]) == (413, "body-too-large"), answer.head
    assert not app.requests, "the app never had a whole request"


def proxy_protocol(place: Place) -> None:
    app = App(place.app)
    answer = Answer(place, "--haproxy-protocol", f"http://{place.proxied}/a")
    assert (answer.status, answer.echoed("x-forwarded-for")) == (200, "127.0.0.1")
    answer = Answer(place, "--haproxy-protocol", "--http2-prior-knowledge", f"http://{place.proxied}/a")
    assert (answer.status, answer.version) == (200, "2")
    Answer(place, f"http://{place.proxied}/a", fails=True)
    # curl can only say its own address: a balancer says whose connection it passes on.
    with socket.create_connection(address(place.proxied), timeout=PATIENCE) as line:
        line.sendall(b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 80\r\nGET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        while line.recv(65536):
            pass
    assert app.requests[-1].one("x-forwarded-for") == "203.0.113.9"
    answer = Answer(place, "--haproxy-protocol", f"{place.url}/a", fails=False)
    assert answer.status == 400, "who is not told of it does not understand it"
    assert len(app.requests) == 3 and not app.faults


def certificates(place: Place) -> None:
    App(place.app)
    for host, name in [("localhost", "localhost"), ("shop.example", "shop.example"), ("a.shop.example", "*.shop.example")]:
        resolve = ["--resolve", f"{host}:{place.tls_port}:127.0.0.1"]
        answer = Answer(place, *resolve, f"https://{host}:{place.tls_port}/a")
        assert answer.status == 200 and name in answer.verbose, answer.verbose
        assert answer.echoed("host") == f"{host}:{place.tls_port}"
    # Whoever asks for a name that there is no certificate for gets the first one, and does not believe it.
    resolve = ["--resolve", f"other.example:{place.tls_port}:127.0.0.1"]
    refused = Answer(place, *resolve, f"https://other.example:{place.tls_port}/a", fails=True)
    assert "other.example" in refused.verbose


def renewed_certificate(place: Place) -> None:
    App(place.app)
    resolve = ["--resolve", f"shop.example:{place.tls_port}:127.0.0.1"]
    url = f"https://shop.example:{place.tls_port}/a"
    assert "CN=shop" in Answer(place, *resolve, url).verbose

    def replace(name: str, by: str) -> None:
        shutil.copy(place.file(by), place.file("new"))
        os.rename(place.file("new"), place.file(name))

    # Half of a renewal changes nothing; the whole of it counts without a signal.
    replace("shop.pem", "renewed.pem")
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        assert "CN=shop" in Answer(place, *resolve, url).verbose
    replace("shop.key", "renewed.key")
    until = time.monotonic() + PATIENCE
    while "CN=renewed" not in Answer(place, *resolve, url).verbose:
        assert time.monotonic() < until, "the new certificate counts"


def client_certificate(place: Place) -> None:
    app = App(place.app)
    shown = ["--cert", place.file("client.pem"), "--key", place.file("client.key")]
    forged = ["--header", "Client-Cert: :Zm9yZ2Vk:", "--header", "Client-Cert-Chain: :Zm9yZ2Vk:"]
    with open(place.file("client.pem"), encoding="ascii") as file:
        base64 = "".join(line for line in file.read().splitlines() if not line.startswith("-"))
    for version in ["--http1.1", "--http2"]:
        answer = Answer(place, version, *shown, *forged, f"{place.url_tls}/a")
        assert answer.echoed("client-cert") == f":{base64}:" and answer.echoed("client-cert-chain") is None
        anonymous = Answer(place, version, *forged, f"{place.url_tls}/a")
        assert anonymous.echoed("client-cert") is None
    stranger = ["--cert", place.file("stranger.pem"), "--key", place.file("stranger.key")]
    Answer(place, *stranger, f"{place.url_tls}/a", fails=True)
    assert len(app.requests) == 4


def unix_socket(place: Place) -> None:
    app = App(place.file("app.sock"))
    answer = Answer(place, "--json", '{"a":1}', f"{place.url}/socket")
    assert (answer.status, answer.json["bytes"]) == (200, 7)
    assert app.requests[0].one("host") == place.plain


def keyed_orders(place: Place) -> None:
    app = App(place.app)
    order = ["--header", 'Idempotency-Key: "order"', "--json", '{"item":"ticket"}']
    for version, url in [
        ("--http1.1", place.url),
        ("--http2-prior-knowledge", place.url),
        ("--http2", place.url_tls),
        ("--http1.1", place.url_tls),
    ]:
        answer = Answer(place, version, *order, f"{url}/orders")
        assert (answer.status, answer.json, answer.header("location")) == (201, {"order": 1}, "/orders/1")
        replayed = answer.header("idempotent-replayed")
        assert replayed == (None if (version, url) == ("--http1.1", place.url) else "true"), (version, url)
    assert app.orders == 1


def trailers(place: Place) -> None:
    App(place.app)
    for version in ["--http1.1", "--http2-prior-knowledge"]:
        answer = Answer(place, version, "--header", "TE: trailers", f"{place.url}/trailers")
        assert answer.body == b"onetwo" and answer.header("x-sum") == "6", (version, answer.head)


if __name__ == "__main__":
    main(globals())
