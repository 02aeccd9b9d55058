import grpc

with grpc.insecure_channel("127.0.0.1:8080") as channel:
    hello = channel.unary_unary("/greet.Greeter/Hello")
    reply, call = hello.with_call(b"world", timeout=5)
    print(reply.decode(), call.code().name, dict(call.trailing_metadata())["greeted-by"])

    count = channel.unary_stream("/greet.Greeter/Count")
    print(*[number.decode() for number in count(b"3", timeout=5)])

    try:
        hello(b"", timeout=5)
    except grpc.RpcError as error:
        print(error.code().name, error.details())
