"""Clients in a storm: slow ones, 1,000 connections where 600 may be, four times what the gateway can do. Memory stays within its limit, refusals are well
formed, and a healthy client is served meanwhile."""
import contextlib
import http.client
import os
import resource
import socket
import threading
import time

from faults.common import accounted, drained, place, plain, quick, sink_in
from harness import check, figure, until
from load import request

IN_FLIGHT = 128 << 20
HEAD = b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\ncontent-length: 100000\r\n\r\n"


def rss(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) << 10


class Flood:
    """Threads that send large requests as fast as they are answered, whatever the answer."""

    def __init__(self, port, threads, body):
        self.port, self.body, self.over = port, body, False
        self.statuses, self.bad, self.lock = {}, [], threading.Lock()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def run(self):
        connection = None
        while not self.over:
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                connection.request("POST", "/v1/traces", self.body, {"content-type": "application/x-protobuf"})
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                connection = None
                with self.lock:
                    self.statuses["broken"] = self.statuses.get("broken", 0) + 1
                continue
            with self.lock:
                self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
                formed = answer.status == 200 or (answer.status in (429, 503) and answer.headers.get("retry-after") and text)
                if not formed:
                    self.bad.append((answer.status, dict(answer.headers), text[:200]))

    def end(self):
        self.over = True
        for thread in self.threads:
            thread.join(40)


def run(work, options):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    sink = sink_in(work, "storm")

    def change(config):
        config["limits"] = {"in_flight": f"{IN_FLIGHT >> 20}MiB", "admission_wait": "200ms"}
        protocols = config["receivers"]["otlp"]["protocols"]
        protocols["grpc"].update(max_connections=1500, max_recv_msg_size_mib=8, max_wire_size="8MiB")
        protocols["http"].update(max_connections=600, max_request_body_size="8MiB", max_wire_size="8MiB")

    gateway = plain(place(work, "storm"), sink, change=change).start()
    idle = rss(gateway.process.pid)
    # one small request after the other; when told so it comes again
    healthy = quick(gateway.http, "healthy", threads=1, batch=1)
    healthy.go()
    held = []
    for n in range(1_000):
        s = socket.create_connection(("127.0.0.1", gateway.http), timeout=10)
        # a third says nothing, a third stops within its headers, a third within its body
        with contextlib.suppress(OSError):  # who came later may have its place
            s.sendall((b"", HEAD[:40], HEAD + b"\x0a" * 50)[n % 3])
        held.append(s)
    time.sleep(1)
    served = len(healthy.acked)
    until("served beside 1,000 slow connections where 600 may be", lambda: len(healthy.acked) >= served + 10, 20)
    check("storm: a healthy client is served beside 1,000 slow connections where 600 may be", True)
    note = os.urandom(500_000).hex()
    big = request("traces", ["storm-0"])
    big.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="note").value.string_value = note
    # four times what may be in flight
    flood = Flood(gateway.http, 128, big.SerializeToString())
    peak, end, served = 0, time.monotonic() + options.overload, len(healthy.acked)
    while time.monotonic() < end:
        peak = max(peak, rss(gateway.process.pid))
        time.sleep(0.02)
    served = len(healthy.acked) - served
    flood.end()
    for s in held:
        s.close()
    healthy.end()
    figure("storm: answers", str(flood.statuses))
    figure("storm: memory idle, at most, limit in flight", f"{idle >> 20}, {peak >> 20}, {IN_FLIGHT >> 20}", "MiB")
    check("storm: refusals are well formed", not flood.bad, str(flood.bad[:2]))
    if options.overload >= 60:
        # a quick machine may work off a short storm
        check("storm: it was overload: some were told to come again", any(status in (429, 503) for status in flood.statuses), str(flood.statuses))
    # the budget of requests in flight is 40 % of what the process may take; caches, threads and what is read ahead are in the rest
    check("storm: memory within its limit", peak <= idle + IN_FLIGHT * 5 // 2, f"{peak >> 20} MiB")
    check("storm: the healthy client got through", served >= options.overload // 5, str(served))
    until("room given back", lambda: gateway.metric("tollgate_in_flight_bytes") == 0, 30)
    drained(gateway, 120)
    check("storm: a clean end", gateway.stop() == 0)
    accounted("storm", sink, healthy.acked, bound=None)
    check("storm: no panic", "panic" not in gateway.log())
