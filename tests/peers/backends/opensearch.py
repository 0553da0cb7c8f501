"""OpenSearch from Maven, on a Java runtime from PyPI. It takes no OTLP, so a Collector stands between tollgate and it."""
import json
import os
import re

import yaml
from backends.common import COST, INPUT, INSTALLED, OUTPUT, Fed, answers, ask, key, operator, server
from harness import REPO, check, free_port, http, until

SPANS, LOGS = "ss4o_traces-default-namespace", "ss4o_logs-default-namespace"
# The Java runtime from PyPI lacks Thai's word boundaries, without which the module of analyzers opens no index.
MODULES = "org.opensearch.transport.Netty4ModulePlugin"
LOGGING = """status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%c{1.}] %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""


def opensearch(work):
    """A document for each span and log: whole traces, numbers that it can sum, a search for errors."""
    base = node(work)
    put_template(base)
    grpc = free_port()
    path = os.path.join(work, "otelcol.yaml")
    with open(path, "w") as f:
        json.dump({
            "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{grpc}"}}}},
            "exporters": {"opensearch": {"http": {"endpoint": base}, "timeout": "60s"}},
            "service": {"telemetry": {"metrics": {"level": "none"}},
                        "pipelines": {signal: {"receivers": ["otlp"], "exporters": ["opensearch"]} for signal in ("traces", "logs")}},
        }, f)
    server(work, "otelcol", os.path.join(INSTALLED, "otelcol"), "--config", path)
    # a request that is sent again makes documents twice, so neither side may give up while OpenSearch makes its index
    fed = Fed(work, {"kind": "otlp", "endpoint": f"http://127.0.0.1:{grpc}", "timeout": "60s"}, ("traces", "logs"), renamed)

    def all_of(index, count):
        ask(f"{base}/_refresh", method="POST")
        status, _, body = http(f"{base}/{index}/_search?size=1000")
        return body if status == 200 and len(json.loads(body)["hits"]["hits"]) >= count else None

    raw = until("OpenSearch has a document for each span", lambda: all_of(SPANS, len(fed.of("traces"))), 60, 0.5)
    logs = until("and for each log", lambda: all_of(LOGS, len(fed.of("logs"))), 60, 0.5)
    got = [as_span(hit["_source"]) for hit in json.loads(raw)["hits"]["hits"]]
    operator(fed, got, raw + logs)
    check(f"{len(fed.of('logs'))} logs are there, once", len(json.loads(logs)["hits"]["hits"]) == len(fed.of("logs")))
    summed(base, fed)


def node(work):
    """Starts a node; its address. The program takes the first free port from 9201 on, so the log tells which."""
    folder = os.path.join(work, "config")
    os.makedirs(folder)
    with open(os.path.join(folder, "opensearch.yml"), "w") as f:
        json.dump({"network.host": "127.0.0.1", "transport.port": 0, "discovery.type": "single-node",
                   "cluster.routing.allocation.disk.threshold_enabled": False}, f)
    with open(os.path.join(folder, "log4j2.properties"), "w") as f:
        f.write(LOGGING)
    home = os.path.join(INSTALLED, "opensearch")
    server(work, "opensearch", os.path.join(home, "java", "bin", "java"), "-Xmx512m", "-cp", os.path.join(home, "libs", "*"),
           "org.codelibs.opensearch.runner.OpenSearchRunner", "-basePath", os.path.join(work, "node"), "-confPath", folder,
           "-numOfNode", "1", "-clusterName", "tollgate", "-moduleTypes", MODULES, "-printOnFailure")

    def published():
        with open(os.path.join(work, "opensearch.log")) as f:
            return re.search(r"HttpServerTransport\] publish_address \{(127\.0\.0\.1:\d+)\}", f.read())

    base = "http://" + until("OpenSearch names its port", published, 120, 0.2)[1]
    answers(f"{base}/_cluster/health?wait_for_status=yellow")
    return base


def shown(before):
    """The block of docs/how-to/backends.md that begins with this line, without it."""
    with open(os.path.join(REPO, "docs", "how-to", "backends.md")) as f:
        _, _, rest = f.read().partition(f"\n{before}\n")
    return rest.partition("```")[0]


def put_template(base):
    template = shown("```json").encode()
    ask(f"{base}/_index_template/tollgate", body=template, method="PUT", headers={"content-type": "application/json"})


def renamed(config):
    """The processor that the page shows: without it OpenSearch refuses spans that have `error` beside `error.type`."""
    config["processors"]["attributes/opensearch"] = yaml.safe_load(shown("  attributes/opensearch:"))
    for pipeline in config["service"]["pipelines"].values():
        pipeline["processors"] = [*pipeline["processors"], "attributes/opensearch"]


def as_span(document):
    return {"trace_id": document["traceId"], "span_id": document["spanId"], "parent": document["parentSpanId"],
            "error": document["status"]["code"] == "Error", "attributes": document["attributes"]}


def search(base, index, **request):
    return json.loads(ask(f"{base}/{index}/_search", body=json.dumps(request).encode(), headers={"content-type": "application/json"}))


def summed(base, fed):
    """What a dashboard asks for: sums of tokens and cost, failed spans, one trace."""
    spans = fed.of("traces")
    fields = (INPUT, OUTPUT, COST)
    answer = search(base, SPANS, size=0, aggs={name: {"sum": {"field": f"attributes.{name}"}} for name in fields})
    wrong = [(name, answer["aggregations"][name]["value"], sent) for name in fields
             for sent in [sum(span["attributes"].get(name, 0) for span in spans)] if not sent or abs(answer["aggregations"][name]["value"] - sent) > 1e-9]
    check("it sums tokens and cost to what tollgate sent", not wrong, wrong)
    failed = search(base, SPANS, size=1000, query={"term": {"status.code": "Error"}})
    wanted = {key(span) for span in spans if span["status"]["code"] == 2}
    check(f"a search for failed spans finds the {len(wanted)}", {key(as_span(hit["_source"])) for hit in failed["hits"]["hits"]} == wanted)
    one = spans[0]["trace_id"]
    for trace, count in ((one, sum(span["trace_id"] == one for span in spans)), ("ab" * 16, 0)):
        found = search(base, SPANS, query={"term": {"traceId": trace}}, track_total_hits=True)["hits"]["total"]["value"]
        check(f"a search for {'a trace' if count else 'a trace that was not sent'} finds {count} spans", found == count, found)
