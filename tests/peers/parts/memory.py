"""Overload with a small limit of memory: eight times what may be in flight is sent at once. The process stays within its limit, refusals say
when to come again, what was acknowledged arrives once, and it is healthy afterwards. The same storm without the limit takes more than that."""
import http.client
import json
import os
import re
import sys
import threading
import time

PEERS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, PEERS)
from google.rpc import status_pb2  # noqa: E402
from harness import Gateway, Sink, check, figure, finish, outlets, until, workdir  # noqa: E402
from load import request  # noqa: E402

LIMIT = 256 << 20
CLIENTS, EACH, SIZE = 40, 3, 4 << 20
PB = "application/x-protobuf"


def peak(gateway):
    with open(f"/proc/{gateway.process.pid}/status") as f:
        return int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1)) << 10


class Storm:
    """Clients that send all at once and come again when they are told to."""

    def __init__(self, gateway):
        self.gateway, self.lock = gateway, threading.Lock()
        self.acknowledged, self.refused, self.wrong, self.cut = [], 0, [], 0

    def client(self, bodies, end):
        for one, body in bodies:
            while time.monotonic() < end:
                rest = self.attempt(one, body)
                if rest is None:
                    break
                time.sleep(rest)

    def attempt(self, one, body):
        """None when it was taken, else how long to rest."""
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.http, timeout=60)
        try:
            connection.request("POST", "/v1/traces", body, {"content-type": PB})
            answer = connection.getresponse()
            status, about, said = answer.status, answer.headers, answer.read()
        except OSError:  # refused while it was still sending
            with self.lock:
                self.cut += 1
            return 0.5
        finally:
            connection.close()
        with self.lock:
            if status == 200:
                self.acknowledged.append(one)
                return None
            self.refused += 1
            after = about.get("retry-after", "")
            try:
                message = status_pb2.Status.FromString(said).message
            except Exception:  # noqa: BLE001
                message = ""
            if status != 503 or not after.isdigit() or not message:
                self.wrong.append((status, after, message))
        return 0.5

    def run(self, bodies):
        end = time.monotonic() + 60
        threads = [threading.Thread(target=self.client, args=(bodies[n::CLIENTS], end)) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def bodies(mark):
    """One item a request, its text not compressible to nothing."""
    words = [os.urandom(5).hex() for _ in range(2000)]
    out = []
    for n in range(CLIENTS * EACH):
        one = f"{mark}-{n}"
        made = request("traces", [f"{one}-{k}" for k in range(4)])
        for k, span in enumerate(made.resource_spans[0].scope_spans[0].spans):
            for attribute in span.attributes:
                if attribute.key == "gen_ai.input.messages":
                    text = " ".join(words[(n * 7 + k * 13 + i * 31) % 2000] for i in range(SIZE // 4 // 11))
                    attribute.value.string_value = json.dumps([{"role": "user", "parts": [{"type": "text", "content": text}]}])
        out.append((one, made.SerializeToString()))
    return out


def run(work, name, limits):
    folder = os.path.join(work, name)
    os.makedirs(folder)
    sink = Sink(os.path.join(folder, "sink"))
    gateway = Gateway(folder, outlets(sink), log="info", change=lambda config: config.update(limits=limits)).start()
    idle = peak(gateway)
    storm = Storm(gateway)
    began = time.monotonic()
    storm.run(bodies(name))
    figure(f"{name}: sent in", round(time.monotonic() - began, 1), "s")
    figure(f"{name}: idle, at most", f"{idle >> 20}, {peak(gateway) >> 20}", "MiB")
    figure(f"{name}: taken, refused, cut", f"{len(storm.acknowledged)}, {storm.refused}, {storm.cut}")
    return sink, gateway, storm


def main():
    work = workdir("memory")
    sink, gateway, storm = run(work, "limited", {"memory": str(LIMIT)})
    check("alive", gateway.alive())
    check("within its limit", peak(gateway) <= LIMIT, peak(gateway) >> 20)
    check("some were refused", storm.refused + storm.cut > 0)
    check("every refusal is 503 with Retry-After and a Status", not storm.wrong, storm.wrong[:3])
    check("all were taken in the end", len(storm.acknowledged) == CLIENTS * EACH, len(storm.acknowledged))
    check("healthy afterwards", gateway.post("traces", request("traces", ["after"]).SerializeToString())[0] == 200 and gateway.ready())
    until("drained", gateway.drained, 60)
    wanted = sorted([f"{one}-{k}" for one in storm.acknowledged for k in range(4)] + ["after"])
    got = sorted(sink.ids())
    check("each item arrived once by each exporter", got == sorted(wanted * 2), f"{len(got)} of {2 * len(wanted)}")
    check("SIGTERM ends it with 0", gateway.stop() == 0)
    _, gateway, storm = run(work, "unlimited", {"memory": "8GiB", "in_flight": "4GiB"})
    check("the same storm takes more without a limit", peak(gateway) > LIMIT, peak(gateway) >> 20)
    finish(work)


main()
