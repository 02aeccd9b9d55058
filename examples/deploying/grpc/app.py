from concurrent.futures import ThreadPoolExecutor

import grpc


def hello(name: bytes, context: grpc.ServicerContext) -> bytes:
    if not name:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "nobody to greet")
    context.set_trailing_metadata([("greeted-by", "app")])
    return b"Hello, " + name


def count(upto: bytes, context: grpc.ServicerContext):
    for number in range(1, int(upto) + 1):
        yield str(number).encode()


# Messages are plain bytes here; with generated code only these two lines differ.
methods = {
    "Hello": grpc.unary_unary_rpc_method_handler(hello),
    "Count": grpc.unary_stream_rpc_method_handler(count),
}
server = grpc.server(ThreadPoolExecutor())
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("greet.Greeter", methods)])
server.add_insecure_port("127.0.0.1:8000")
server.start()
server.wait_for_termination()
