"""Agent telemetry in bulk, over HTTP/protobuf, and which items were acknowledged. A part's own sender, no SDK."""
import hashlib
import http.client
import itertools
import json
import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from decode import REQUESTS  # noqa: E402


def canary(test_id):
    return f"CANARY-load-{hashlib.sha256(test_id.encode()).hexdigest()[:16]}"


def add(attributes, **pairs):
    for key, value in pairs.items():
        one = attributes.add(key=key.replace("__", "."))
        if isinstance(value, int):
            one.value.int_value = value
        else:
            one.value.string_value = value


def content(test_id, fill=0):
    return json.dumps([{"role": "user", "parts": [{"type": "text", "content": f"Ask {canary(test_id)} {'x' * fill}"}]}])


def request(signal, ids, sessions=2, fill=0, name="load-session"):
    """One request of a signal: an item per id, spread over some sessions whose ids begin with the name."""
    out, now = REQUESTS[signal](), time.time_ns()
    if signal == "metrics":
        resource = out.resource_metrics.add()
        add(resource.resource.attributes, service__name="load")
        metric = resource.scope_metrics.add().metrics.add(name="gen_ai.client.calls")
        metric.sum.aggregation_temporality, metric.sum.is_monotonic = 1, True
        for one in ids:
            point = metric.sum.data_points.add(start_time_unix_nano=now - 10**9, time_unix_nano=now, as_int=1)
            add(point.attributes, test__case__name=one)
        return out
    resource = (out.resource_spans if signal == "traces" else out.resource_logs).add()
    add(resource.resource.attributes, service__name="load", tenant__id="acme")
    scope = (resource.scope_spans if signal == "traces" else resource.scope_logs).add()
    trace = os.urandom(16)
    for n, one in enumerate(ids):
        if signal == "traces":
            item = scope.spans.add(trace_id=trace, span_id=os.urandom(8), name="chat claude-sonnet-4-5", kind=3,
                                   start_time_unix_nano=now - 10**9, end_time_unix_nano=now)
        else:
            item = scope.log_records.add(trace_id=trace, span_id=os.urandom(8), time_unix_nano=now, severity_number=9,
                                         event_name="gen_ai.client.inference.operation.details")
        add(item.attributes, test__case__name=one, gen_ai__conversation__id=f"{name}-{n % sessions}", gen_ai__operation__name="chat",
            gen_ai__provider__name="anthropic", gen_ai__request__model="claude-sonnet-4-5", gen_ai__response__id=f"msg_{one}",
            gen_ai__usage__input_tokens=100, gen_ai__usage__output_tokens=20, gen_ai__input__messages=content(one, fill))
    return out


class Load:
    """Threads that send until they are told to stop; a request without an answer comes again. `acked`: {id: signal} of what got an OK.
    The items of a request are spread over some sessions, or, with `turns`, each request is of one of so many. With `failing`, one in so many
    requests has failed spans, if it has spans."""

    def __init__(self, port, name="load", threads=3, batch=10, sessions=2, fill=200, turns=0, failing=0):
        self.port, self.name, self.batch, self.sessions, self.fill, self.turns = port, name, batch, sessions, fill, turns
        self.failing = failing
        self.acked, self.batches, self.refused, self.broken = {}, 0, 0, 0
        self.counter, self.lock = itertools.count(), threading.Lock()
        self.stopped = self.running = False
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(threads)]
        self.sent = set()
        for thread in self.threads:
            thread.start()

    def go(self, on=True):
        self.running = on

    def made(self):
        """A request that nobody has sent yet."""
        number = next(self.counter)
        signal = self.signal(number)
        ids = [f"{self.name}-{number:06}-{n}" for n in range(self.batch)]
        with self.lock:
            self.sent.update(ids)
        session = f"{self.name}-session-{number % self.turns}" if self.turns else "load-session"
        made = request(signal, ids, self.sessions, self.fill, session)
        if self.fails(number):
            for span in made.resource_spans[0].scope_spans[0].spans:
                span.status.code = 2
        return signal, ids, made.SerializeToString()

    def fails(self, number):
        return bool(self.failing) and number % self.failing == 0 and self.signal(number) == "traces"

    @staticmethod
    def signal(number):
        return ("traces", "logs", "traces", "metrics")[number % 4]

    def run(self):
        connection, again = None, None
        while not self.stopped:
            if not self.running:
                time.sleep(0.005)
                continue
            signal, ids, body = again or self.made()
            again = (signal, ids, body)
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
                connection.request("POST", f"/v1/{signal}", body, {"content-type": "application/x-protobuf"})
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                # as a client does: the same bytes again, whether or not they were taken
                connection = None
                self.broken += 1
                time.sleep(0.02)
                continue
            with self.lock:
                if answer.status == 200:
                    again = None
                    self.acked.update((one, signal) for one in ids)
                    self.batches += signal != "metrics"
                    continue
                self.refused += 1
            # told to come again
            time.sleep(0.05)

    def end(self):
        self.stopped = True
        for thread in self.threads:
            thread.join()
