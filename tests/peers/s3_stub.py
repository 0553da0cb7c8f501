#!/usr/bin/env python3
"""An S3 that only takes objects: PUT with If-None-Match, SHA-256 checked, kept as files; and can be told to be away.

    s3_stub.py --dir OUT [--port 0]       first line on stdout: {"port": N}

Standard library only, a process of its own, for proofs that need a store that dies on demand; radosgw proves what S3 really does.
/control?status=503 | reset=1 | hang=SECONDS | ok=1     what PUTs get from now on (`reset=after`: kept, then hung up)
"""
import argparse
import base64
import hashlib
import json
import os
import socket
import struct
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{}</Code><Message>told to</Message></Error>'


def handler(root):
    told, lock = {}, threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def reply(self, status, body=b"", **headers):
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            parts = urllib.parse.urlsplit(self.path)
            if parts.path != "/control":
                return self.refuse()
            told.clear()
            told.update({k: v[-1] for k, v in urllib.parse.parse_qs(parts.query).items() if k != "ok"})
            self.reply(200, json.dumps(told).encode())

        def refuse(self):
            """A writer asks for nothing but PUT."""
            print(f"asked: {self.command} {self.path}", file=sys.stderr, flush=True)
            self.reply(403, ERROR.format("AccessDenied").encode())

        do_HEAD = do_POST = do_DELETE = refuse

        def hang_up(self):
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

        def do_PUT(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            now = dict(told)
            if "hang" in now:
                time.sleep(float(now["hang"]))
                return self.hang_up()
            if now.get("reset") == "1":
                return self.hang_up()
            if "status" in now:
                return self.reply(int(now["status"]), ERROR.format("SlowDown").encode())
            digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
            if self.headers.get("x-amz-checksum-sha256") != digest:
                return self.reply(400, ERROR.format("BadDigest").encode())
            path = os.path.join(root, urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).lstrip("/"))
            with lock:
                if os.path.exists(path):
                    if self.headers.get("if-none-match") == "*":
                        return self.reply(412, ERROR.format("PreconditionFailed").encode())
                    print(f"overwritten: {path}", file=sys.stderr, flush=True)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path + ".part", "wb") as f:
                    f.write(body)
                os.rename(path + ".part", path)
            if now.get("reset") == "after":
                return self.hang_up()
            self.reply(200, ETag='"0"')

    return Handler


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--dir", required=True)
    p.add_argument("--port", type=int, default=0)
    a = p.parse_args()
    server = Server(("127.0.0.1", a.port), handler(a.dir))
    print(json.dumps({"port": server.server_address[1]}), flush=True)
    # ends with whoever started it
    threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
