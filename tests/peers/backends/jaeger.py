"""Jaeger, built from its Go module."""
import json
import os
import urllib.parse

from backends.common import INSTALLED, Fed, answers, ask, operator, server, trace_ids
from harness import check, free_port, http, until


def jaeger(work):
    """Storage in memory; what its page reads: services, search by an error's tag, and whole traces."""
    grpc, query, admin = free_port(), free_port(), free_port()
    other = [f"--{name}.host-port=127.0.0.1:{free_port()}" for name in ("collector.otlp.http", "collector.http-server", "collector.grpc-server",
                                                                        "query.grpc-server")]
    server(work, "jaeger", os.path.join(INSTALLED, "jaeger"), "--collector.otlp.enabled=true", f"--collector.otlp.grpc.host-port=127.0.0.1:{grpc}",
           f"--query.http-server.host-port=127.0.0.1:{query}", f"--admin.http.host-port=127.0.0.1:{admin}", *other,
           env={**os.environ, "SPAN_STORAGE_TYPE": "memory"})
    base = f"http://127.0.0.1:{query}/api"
    answers(f"{base}/services")
    fed = Fed(work, {"kind": "otlp", "endpoint": f"http://127.0.0.1:{grpc}", "compression": "gzip"}, ("traces",))
    ids = trace_ids(fed)

    def read():
        bodies = [http(f"{base}/traces/{one}") for one in ids]
        count = sum(len(json.loads(body)["data"][0]["spans"]) for status, _, body in bodies if status == 200)
        return [body for _, _, body in bodies] if count >= len(fed.of("traces")) else None

    raw = until("Jaeger shows every span", read, 60, 0.2)
    got = []
    for span in (span for body in raw for trace in json.loads(body)["data"] for span in trace["spans"]):
        tags = {tag["key"]: tag["value"] for tag in span["tags"]}
        parents = [one["spanID"] for one in span["references"] if one["refType"] == "CHILD_OF" and one["traceID"] == span["traceID"]]
        got.append({"trace_id": span["traceID"], "span_id": span["spanID"], "parent": parents[0] if parents else "",
                    "error": tags.get("error") is True, "attributes": tags})
    services = ask(f"{base}/services")
    wanted = {span["resource"]["service.name"] for span in fed.of("traces")}
    check(f"its services are the clients': {', '.join(sorted(wanted))}", set(json.loads(services)["data"]) == wanted, services[:200])
    tag = urllib.parse.quote(json.dumps({"error": "true"}))
    failed = ask(f"{base}/traces?service=claude-code&limit=100&tags={tag}")
    wanted = {span["trace_id"] for span in fed.of("traces") if span["resource"]["service.name"] == "claude-code" and span["status"]["code"] == 2}
    check("a search for failed spans of Claude Code finds its failed trace", {one["traceID"] for one in json.loads(failed)["data"]} == wanted)
    operator(fed, got, b"".join([*raw, services, failed]))
    check("a trace that was not sent is not found", http(f"{base}/traces/{'ab' * 16}")[0] == 404)
