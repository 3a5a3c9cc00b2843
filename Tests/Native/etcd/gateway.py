#!/usr/bin/env python3
# A gateway between a client and etcd that does what a network, or a gateway of another version, may do.
# Usage: gateway.py ADDRESS PORT ETCD_HOST:PORT FAULT
#   lossy     every third change is made, and its answer is lost; every seventh is lost before it is made
#   unguarded leaves out the guards of transactions, as a gateway does that does not know the field
#   garbage   answers with what is no JSON
import http.client
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

address, port, etcd, fault = sys.argv[1:]
lock = threading.Lock()
count = 0


def number_of_change():
    global count
    with lock:
        count += 1
        return count


class Gateway(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *arguments):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        number = 0
        if self.path == "/v3/kv/txn":
            request = json.loads(body)
            if fault == "unguarded":
                del request["compare"]
                body = json.dumps(request).encode()
            elif "request_range" not in request["success"][0]:
                number = number_of_change()
        if fault == "lossy" and number % 7 == 0 and number:
            self.close_connection = True
            return
        upstream = http.client.HTTPConnection(etcd)
        upstream.request("POST", self.path, body, {"Content-Type": "application/json"})
        answer = upstream.getresponse()
        if self.path == "/v3/watch":
            self.send_response(answer.status)
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            while line := answer.readline():
                self.wfile.write(line)
                self.wfile.flush()
            return
        content = answer.read()
        upstream.close()
        if fault == "lossy" and number % 3 == 0 and number:
            self.close_connection = True
            return
        if fault == "garbage":
            content = b"<html>garbage</html>"
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments):
        # A client may leave at any time.
        pass


Server((address, int(port)), Gateway).serve_forever()
