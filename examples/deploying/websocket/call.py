from websockets.sync.client import connect

with connect("ws://127.0.0.1:8080/chat") as chat:
    print(chat.recv())
    chat.send("ticket")
    print(chat.recv())
print("closed with", chat.protocol.close_code)
