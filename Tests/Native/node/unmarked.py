"""A tercet-volumed whose word for what its volumes hold is wrong: it serves at one socket, asks the true one at another, and says of
each volume that it is blank. A mark it takes as if it were stored.

Arguments: the socket to serve at, and the true one.
"""

import json
import socket
import socketserver
import sys


class Conversation(socketserver.StreamRequestHandler):
    def handle(self):
        daemon = socket.socket(socket.AF_UNIX)
        daemon.connect(sys.argv[2])
        answers = daemon.makefile("rb")
        for line in self.rfile:
            request = json.loads(line)
            if request["method"] == "mark":
                answer = {"jsonrpc": "2.0", "id": request["id"], "result": request["params"]}
            else:
                daemon.sendall(line)
                answer = json.loads(answers.readline())
            if request["method"] == "explain" and "result" in answer:
                answer["result"]["contents"] = "blank"
            self.wfile.write(json.dumps(answer).encode() + b"\n")


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


Server(sys.argv[1], Conversation).serve_forever()
