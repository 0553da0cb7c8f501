"""The OpenTelemetry Collector as a client: what its exporters make of a restart, of refusals and of a kill of tollgate."""
import json
import os
import threading
import time
from types import SimpleNamespace

import senders
from backends.common import INSTALLED, answers, ask, server
from harness import SIGNALS, Gateway, Sink, Stock, check, figure, free_port, outlet, until, write_json
from leaks import Search

EXPORTERS = ("otlp", "otlphttp")


class Collector:
    """Two pipelines for each signal, one through each exporter; `ports` has the receiver of each."""

    def __init__(self, work, gateway):
        self.ports = {name: free_port() for name in EXPORTERS}
        self.metrics = free_port()
        # the defaults: a queue in memory, retries for five minutes
        addresses = {"otlp": {"endpoint": f"127.0.0.1:{gateway.grpc}", "tls": {"insecure": True}},
                     "otlphttp": {"endpoint": f"http://127.0.0.1:{gateway.http}"}}
        path = os.path.join(work, "client.yaml")
        write_json(path, {
            "receivers": {f"otlp/{name}": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{port}"}}} for name, port in self.ports.items()},
            "exporters": addresses,
            "service": {
                "telemetry": {"metrics": {"level": "normal", "readers": [{"pull": {"exporter": {"prometheus": {"host": "127.0.0.1", "port": self.metrics}}}}]}},
                "pipelines": {f"{signal}/{name}": {"receivers": [f"otlp/{name}"], "exporters": [name]} for signal in SIGNALS for name in EXPORTERS},
            },
        })
        server(work, "client", os.path.join(INSTALLED, "otelcol"), "--config", path)
        answers(f"http://127.0.0.1:{self.metrics}/metrics")

    def count(self, name):
        """Sum of its own counter over signals and exporters."""
        lines = ask(f"http://127.0.0.1:{self.metrics}/metrics").decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def send(self, phase, count, meanwhile=lambda: None):
        """Both exporters' pipelines get `count` items of each signal, during which something happens; the lines of what was sent."""
        lines = []

        def run(name):
            target = SimpleNamespace(grpc=self.ports[name])
            done, _, sent = senders.send("py-grpc", target, "--prefix", f"{phase}-{name}", "--count", str(count), "--batch", "5",
                                         "--pause", "0.02", "--signals", ",".join(SIGNALS))
            check(f"{phase}: the Collector takes everything for its exporter {name}", done.returncode == 0 and len(sent) == count * len(SIGNALS), done.stderr[-300:])
            lines.extend(sent)

        threads = [threading.Thread(target=run, args=(name,)) for name in EXPORTERS]
        for thread in threads:
            thread.start()
        meanwhile()
        for thread in threads:
            thread.join()
        return lines


def collector_client(work):
    """Nothing that the Collector took is lost, nothing comes twice but at a kill, and a call that comes twice is counted once."""
    sink = Sink(os.path.join(work, "sink"))
    gateway = Gateway(work, outlet(sink), log="info").start()
    client = Collector(work, gateway)
    sent = []

    def arrive(phase, lines):
        """How many of the phase's items came more than once; all of them must have come."""
        sent.extend(lines)
        wanted = {line["id"] for line in lines}
        try:
            until("everything arrives", lambda: wanted <= set(sink.ids()) and gateway.drained(), 120, 0.5)
        except TimeoutError:
            pass
        got = [one for one in sink.ids() if one.startswith(f"{phase}-")]
        check(f"{phase}: the {len(wanted)} items arrive", set(got) == wanted, f"{len(wanted - set(got))} are missing")
        return len(got) - len(set(got))

    def down(end):
        """Ends the gateway while the Collector sends, and starts it three seconds later."""
        before = len(sink.rows())

        def meanwhile():
            until("the first items arrive", lambda: len(sink.rows()) > before, 60)
            end()
            time.sleep(3)
            gateway.start()
        return meanwhile

    twice = arrive("restart", client.send("restart", 100, down(gateway.stop)))
    check("restart: nothing comes twice", twice == 0, twice)

    gateway.stop()
    gateway.config["limits"] = {"per_account": {"requests_per_second": 10, "burst": "1s"}}
    gateway.write()
    gateway.start()
    twice = arrive("refused", client.send("refused", 40))
    refused = gateway.metric("tollgate_receiver_rejections_total", reason="rate_limited")
    check("refused: nothing comes twice, although requests were refused", twice == 0 and refused > 0, (twice, refused))
    figure("refused: requests that were refused", int(refused))

    gateway.stop()
    del gateway.config["limits"]
    gateway.write()
    gateway.start()
    # a request whose answer the kill cut off is sent again, by tollgate (docs/concepts/ok.md) or by the Collector
    figure("kill: items that come twice", arrive("kill", client.send("kill", 100, down(gateway.kill))))
    check("the Collector dropped nothing", not client.count("otelcol_exporter_send_failed") and not client.count("otelcol_exporter_enqueue_failed"))
    counted_once(sink)
    private(sink, gateway, sent)


def counted_once(sink):
    """A call that came twice has its cost in one form of it: a copy is equal, a repetition is `not_counted`."""
    forms = {}
    for span in (item for signal, item in sink.items() if signal == "traces"):
        if span["attributes"].get("tollgate.cost.status") == "priced":
            forms.setdefault(span["span_id"], set()).add(json.dumps(span["attributes"], sort_keys=True))
    wrong = [one for one, of_it in forms.items() if len(of_it) > 1]
    check(f"each of {len(forms)} calls is counted once", forms and not wrong, wrong[:3])


def private(sink, gateway, sent):
    search = Search({line["canary"] for line in sent})
    search.tree(sink.dir)
    check("no content in what the sink got", not search.found, sorted(search.found)[:5])
    check("a clean end", gateway.stop() == 0)
    stored = Stock(gateway.store, gateway.identity).text()
    content = [line["canary"] for line in sent if line["signal"] != "metrics"]
    lost = [one for one in content if one not in stored]
    check("the content of every span and log is in the vault", not lost, f"{len(lost)} of {len(content)}: {lost[:3]}")
