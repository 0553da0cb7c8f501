"""The OpenTelemetry Collector at both ends of Kafka's topics: it writes what tollgate reads, and reads what tollgate writes."""
import json
import os
import re
import subprocess
from collections import Counter

import yaml
from backends.common import INSTALLED, Fed, as_got, bodies, operator, same_items, server, sessions
from decode import items
from harness import HERE, REPO, SIGNALS, Gateway, Sink, Stock, check, figure, free_port, http, outlet, until, write_json

# each of Kafka's codecs is used
CODECS = {("otlp_proto", "traces"): "zstd", ("otlp_proto", "logs"): "lz4", ("otlp_proto", "metrics"): "gzip",
          ("otlp_json", "traces"): "snappy", ("otlp_json", "logs"): "none", ("otlp_json", "metrics"): "zstd"}
ENCODINGS = ("otlp_proto", "otlp_json")
NOUNS = {"traces": "spans", "logs": "logs", "metrics": "metrics"}


def install():
    """Builds the Collector, which takes minutes, if it is not there yet."""
    subprocess.run([os.path.join(HERE, "backends", "install.sh"), "contrib"], check=True)


def documented(name):
    """The Collector's file of this name on the page."""
    with open(os.path.join(REPO, "docs", "how-to", "fleet.md")) as f:
        return yaml.safe_load(re.search(rf"^```yaml\n# collector-{name}\.yaml\n(.*?)^```", f.read(), re.M | re.S)[1])


def collector(work, name, config):
    # its own metrics would want port 8888
    config["service"]["telemetry"] = {"metrics": {"level": "none"}}
    path = os.path.join(work, f"{name}.yaml")
    write_json(path, config)
    server(work, name, os.path.join(INSTALLED, "contrib"), "--config", f"file:{path}")


def check_file(work, name):
    path = os.path.join(work, f"page-{name}.yaml")
    write_json(path, documented(name))
    done = subprocess.run([os.path.join(INSTALLED, "contrib"), "validate", "--config", f"file:{path}"], capture_output=True, text=True)
    check(f"collector: a Collector's `validate` takes the page's file `{name}`", done.returncode == 0, done.stderr[-600:])


def topic_of(encoding, signal):
    return f"collector.{encoding}.{NOUNS[signal]}"


def writing(work, cluster):
    """The page's Collector that writes to topics, once for each encoding: {encoding: port}."""
    page = documented("writes")
    ports = {encoding: free_port() for encoding in ENCODINGS}
    receivers, exporters, pipelines = {}, {}, {}
    for encoding, port in ports.items():
        receivers[f"otlp/{encoding}"] = {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}"}}}
    for (encoding, signal), codec in CODECS.items():
        exporter = f"kafka/{encoding}_{signal}"
        exporters[exporter] = {**page["exporters"]["kafka"], "brokers": cluster.addresses, signal: {"topic": topic_of(encoding, signal), "encoding": encoding}}
        # split by trace, they would be other requests than those without Kafka
        exporters[exporter].update(partition_traces_by_id=False, partition_logs_by_trace_id=False)
        exporters[exporter]["producer"] = {**page["exporters"]["kafka"]["producer"], "compression": codec}
        pipelines[f"{signal}/{encoding}"] = {"receivers": [f"otlp/{encoding}"], "exporters": [exporter]}
    collector(work, "writes", {"receivers": receivers, "exporters": exporters, "service": {"pipelines": pipelines}})
    until("the Collector listens", lambda: is_listening(ports.values()), 60, 0.1)
    return ports


def is_listening(ports):
    try:
        return all(http(f"http://127.0.0.1:{port}/", timeout=5)[0] > 0 for port in ports)
    except OSError:
        return False


def gateway(work, name, receivers=None):
    """A whole pipeline to a sink of its own, behind a client or behind `receivers`."""
    place = os.path.join(work, name)
    sink = Sink(os.path.join(place, "sink"))

    def adapt(config):
        config["pseudonyms"] = {"key": "the same for all that are compared"}
        if receivers:
            config["receivers"] = receivers
            for pipeline in config["service"]["pipelines"].values():
                pipeline["receivers"] = list(receivers)

    return sink, Gateway(place, outlet(sink), log="info", vault={}, change=adapt).start()


def sent_by(sink):
    """What a gateway sent, item by item. The stamps that say where content lies in its vault are its own."""
    def text(signal, item):
        kept = {name: value for name, value in item["attributes"].items() if not name.startswith("gen_ai.payload.") and not name.endswith("_ref")}
        return json.dumps([signal, {**item, "attributes": kept}], sort_keys=True)

    return Counter(text(signal, item) for signal, item in sink.items())


def contents(gateway):
    return Counter(item["content_sha256"] for _, document in Stock(gateway.store, gateway.identity).documents() for item in document["items"])


def collector_row(work, cluster, options):
    """Topics that a real Collector writes, in both encodings, with all of Kafka's codecs and signals: what tollgate makes of them is what it makes of the same
    requests without Kafka. And a real Collector reads what tollgate writes in plain."""
    install()
    work = os.path.join(work, "collector")
    os.makedirs(work)
    for encoding, signal in CODECS:
        cluster.create_topic(topic_of(encoding, signal), 1)
    cluster.create_topic("collector.dead", 1)
    for name in ("writes", "reads"):
        check_file(work, name)
    sent = sessions()
    lone_sink, lone = gateway(work, "lone")
    behind = {}
    for encoding in ENCODINGS:
        receiver = {"brokers": cluster.addresses, "group_id": f"tollgate-{encoding}", "group_instance_id": encoding, "session_timeout": "6s", "dead_topic": "collector.dead",
                    **{signal: {"topic": topic_of(encoding, signal), "encoding": encoding} for signal in SIGNALS}}
        behind[encoding] = gateway(work, encoding, {"kafka": receiver})
    ports, count = writing(work, cluster), 0
    for signal, request in sent:
        body = request.SerializeToString()
        count += sum(1 for _ in items(signal, request))
        assert lone.post(signal, body)[0] == 200
        for port in ports.values():
            status, _, answer = http(f"http://127.0.0.1:{port}/v1/{signal}", body, {"content-type": "application/x-protobuf"})
            assert status == 200, answer[:300]
        # the three topics have no order among each other, and runs depend on the order
        for sink in (lone_sink, *(sink for sink, _ in behind.values())):
            until(f"{count} items are delivered", lambda: len(sink.rows()) >= count, 60, 0.05)
    for _, one in ((lone_sink, lone), *behind.values()):
        until("everything is delivered", one.drained, 60, 0.1)
        check("collector: a clean end", one.stop() == 0)
    expected, stored = sent_by(lone_sink), contents(lone)
    figure("collector: requests and items that the Collector wrote in each encoding", f"{len(sent)}, {expected.total()}")
    for encoding, (sink, reader) in behind.items():
        got = sent_by(sink)
        check(f"collector: {encoding}: tollgate sends the {expected.total()} items that it sends without Kafka", expected and got == expected, f"{got.total()}: {list(got - expected)[:1]} for {list(expected - got)[:1]}")
        found = contents(reader)
        check(f"collector: {encoding}: its vault holds the same {stored.total()} contents", stored and found == stored, f"{found.total()}")
        records = {line.get("source_record", "").rpartition("/")[0] for line in Stock(reader.store, reader.identity).rows()}
        check(f"collector: {encoding}: each line names its record", records == {f"{topic_of(encoding, signal)}/0" for signal in ("traces", "logs")}, str(records))
    check("collector: nothing went to the dead topic", sum(cluster.ends("collector.dead").values()) == 0)
    reading(work, cluster)


def reading(work, cluster):
    """The page's Collector reads the topics that both have by default, and tollgate writes them."""
    for signal in SIGNALS:
        cluster.create_topic(f"otlp_{NOUNS[signal]}", 3)
    sink = Sink(os.path.join(work, "reads-sink"))
    config = documented("reads")
    config["receivers"]["kafka"]["brokers"] = cluster.addresses
    config["exporters"]["otlp_http"]["endpoint"] = f"http://127.0.0.1:{sink.http}"
    collector(work, "reads", config)
    fed = Fed(os.path.join(work, "fed"), {"kind": "kafka", "brokers": cluster.addresses, "encoding": "otlp_proto", "ack": "spooled"})
    until("the Collector has read everything", lambda: len(sink.rows()) >= len(fed.sink.rows()), 60, 0.1)
    got = same_items(fed, sink)
    operator(fed, as_got(got), b"".join(bodies(sink)))
    check("collector: a clean end", fed.gateway.stop() == 0)
