from websockets.sync.server import ServerConnection, serve


def chat(caller: ServerConnection) -> None:
    caller.send(f"Hello, {caller.request.headers['X-Forwarded-For']}")
    for message in caller:
        caller.send(f"You said {message}")


with serve(chat, "127.0.0.1", 8000) as server:
    server.serve_forever()
