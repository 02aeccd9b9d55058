"""undici, of Node: the app is here, the client in `undici.cjs`."""

import os
import subprocess
import sys
import threading

from stand import PATIENCE, App, Place, main


def start(place: Place, scenario: str) -> subprocess.Popen[bytes]:
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "undici.cjs")
    return subprocess.Popen(["node", script, scenario, sys.argv[2]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def run(place: Place, scenario: str) -> None:
    node = start(place, scenario)
    assert node.wait(PATIENCE) == 0, scenario


def replays(place: Place) -> None:
    app = App(place.app)
    run(place, "replays")
    assert app.orders == 2 and not app.faults


def pipelines(place: Place) -> None:
    app = App(place.app)
    run(place, "pipelines")
    assert [request.target for request in app.requests] == [f"/a?{number}" for number in range(30)]


def shares(place: Place) -> None:
    app = App(place.app)
    run(place, "shares")
    assert len(app.requests) == 30 and not app.faults


def streams(place: Place) -> None:
    App(place.app)
    run(place, "streams")


def aborts(place: Place) -> None:
    asked = threading.Semaphore(0)

    def answer(app: App, request, connection):
        if request.target == "/never":
            asked.release()
        return app.usual(request, connection)

    app = App(place.app, answer)
    node = start(place, "aborts")
    for _ in range(2):
        app.left.clear()
        assert asked.acquire(timeout=PATIENCE)
        assert node.stdout.readline() == b"asked\n"
        node.stdin.write(b"it has come\n")
        node.stdin.flush()
        assert app.left.wait(PATIENCE), "the app's connection is given up too"
        node.stdin.write(b"it has left\n")
        node.stdin.flush()
    assert node.wait(PATIENCE) == 0


if __name__ == "__main__":
    main(globals())
