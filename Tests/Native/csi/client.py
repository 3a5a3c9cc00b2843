"""A caller of a CSI driver, as the kubelet is one: reads calls from standard input, and prints what became of them.

A line is `METHOD JSON`, and the answer `CODE JSON` or `CODE MESSAGE`. Words before the method: `begin` prints `0` at once, and
`await` alone prints the answer to what was begun; `both` makes the call twice at the same time, and prints both codes; `within SECONDS`
sets the time after which the caller goes away; `at ENDPOINT` makes it at another driver.
"""

import functools
import json
import sys

import grpc
from google.protobuf import json_format

import interface

PATIENCE_SECONDS = 60


def call(channel, name, text, patience):
    """Begins a call; its result has `code` and `result`."""
    path, request_type, response_type = interface.method(name)
    request = json_format.ParseDict(json.loads(text or "{}"), request_type())
    stub = channel.unary_unary(
        path, request_serializer=request_type.SerializeToString, response_deserializer=response_type.FromString
    )
    return stub.future(request, timeout=patience, wait_for_ready=True)


def outcome(future):
    try:
        answer = json_format.MessageToDict(
            future.result(), preserving_proto_field_name=True, including_default_value_fields=True
        )
        return f"0 {json.dumps(answer, sort_keys=True)}"
    except grpc.RpcError as error:
        return f"{error.code().value[0]} {' '.join(error.details().split())}"


@functools.cache
def connect(endpoint):
    return grpc.insecure_channel(
        f"unix://{endpoint}",
        options=[("grpc.initial_reconnect_backoff_ms", 50), ("grpc.min_reconnect_backoff_ms", 50),
                 ("grpc.max_reconnect_backoff_ms", 100)],
    )


def main():
    begun = None
    for line in sys.stdin:
        words = line.rstrip("\n").split(" ")
        patience, how, channel = PATIENCE_SECONDS, "", connect(sys.argv[1])
        while words[0] in ("at", "within", "begin", "both", "await"):
            if words[0] == "at":
                channel, words = connect(words[1]), words[2:]
            elif words[0] == "within":
                patience, words = float(words[1]), words[2:]
            else:
                how, words = words[0], words[1:] or [""]
        if how == "await":
            print(outcome(begun), flush=True)
            continue
        name, text = words[0], " ".join(words[1:])
        if how == "begin":
            begun = call(channel, name, text, patience)
            print("0", flush=True)
        elif how == "both":
            pair = [call(channel, name, text, patience) for _ in range(2)]
            codes = sorted(outcome(future).split(" ", 1)[0] for future in pair)
            print("0", *codes, flush=True)
        else:
            print(outcome(call(channel, name, text, patience)), flush=True)


main()
