#!/usr/bin/env python3
"""Records what ordinary services and a cluster send, for tests/it/usefulness.rs.

    record.py           (needs install.sh)

Writes tests/cases/ordinary/{shop,assistant}/NNN-SIGNAL.pb by OpenTelemetry's SDK and instrumentations for Python, and
tests/cases/ordinary/{kubernetes,nginx}/*.json in the form of the Collector's receivers: k8seventsreceiver (v0.145, README "Data model")
and filelogreceiver with the regular expression of its nginx example.
"""
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path[:0] = [os.path.dirname(HERE)]
import sink as sink_module  # noqa: E402

CACHE = os.environ.get("PEERS_CACHE") or os.path.join(REPO, "target", "peers")
# stack traces name files: a fixed place says nothing of the machine
SCRATCH = "/tmp/tollgate-shop"
TARGET = os.path.join(REPO, "tests", "cases", "ordinary")
RNG = random.Random(11)
START = 1_764_000_000_000_000_000


def attributes(pairs):
    kinds = {str: "stringValue", bool: "boolValue", float: "doubleValue"}
    return [{"key": key, "value": {"intValue": str(value)} if type(value) is int else {kinds[type(value)]: value}} for key, value in pairs.items()]


def resource(service):
    return ",".join(f"{key}={value}" for key, value in {
        "service.namespace": "opentelemetry-demo", "service.version": "2.1.3", "deployment.environment.name": "production",
        "k8s.namespace.name": "otel-demo", "k8s.pod.name": f"{service}-7d9f8b6c5d-x2x7z", "k8s.pod.uid": "0c8f5e1a-6a1b-4d53-9a35-5b1d2c3e4f50",
        "k8s.node.name": "ip-10-0-3-41.eu-central-1.compute.internal", "k8s.deployment.name": service, "k8s.cluster.name": "prod-eu-1",
        "cloud.provider": "aws", "cloud.region": "eu-central-1", "cloud.availability_zone": "eu-central-1b", "host.name": f"{service}-7d9f8b6c5d-x2x7z",
        "host.arch": "amd64", "os.type": "linux", "container.id": "f2b5a9c31e0d4f6e8a7b9c0d1e2f3a4b5c6d7e8f9a0b1c2d3e4f5a6b7c8d9e0f"}.items())


def shop(service, folder):
    raw = os.path.join(CACHE, "ordinary-raw", folder)
    shutil.rmtree(raw, ignore_errors=True)
    store = sink_module.Sink(raw)
    server = sink_module.Server(("127.0.0.1", 0), sink_module.handler(store))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    env = {
        "PATH": "/usr/bin:/bin", "HOME": SCRATCH, "LANG": "C.UTF-8", "NO_PROXY": "127.0.0.1", "OTEL_SERVICE_NAME": service,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_RESOURCE_ATTRIBUTES": resource(service), "OTEL_LOGS_EXPORTER": "otlp", "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": "true",
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "flask,requests,sqlalchemy,urllib3,urllib", "OTEL_SEMCONV_STABILITY_OPT_IN": "http,database",
    }
    done = subprocess.run([f"{SCRATCH}/venv/bin/opentelemetry-instrument", f"{SCRATCH}/venv/bin/python", f"{SCRATCH}/shop.py", service], env=env,
                          capture_output=True, text=True, timeout=120)
    server.shutdown()
    if done.returncode:
        sys.exit(f"{service}: {done.stderr[-3000:]}")
    out = os.path.join(TARGET, folder)
    os.makedirs(out)
    rows = [json.loads(line) for line in open(os.path.join(raw, "requests.jsonl"))]
    for at, row in enumerate(rows):
        shutil.copy(os.path.join(raw, row["file"]), os.path.join(out, f"{at + 1:03}-{row['signal']}.pb"))
    print(f"{service}: {len(rows)} requests, {sum(row['bytes'] for row in rows)} bytes")


def logs(folder, groups):
    out = os.path.join(TARGET, folder)
    os.makedirs(out)
    request = {"resourceLogs": [{"resource": {"attributes": attributes(of)}, "scopeLogs": [{"scope": {"name": scope, "version": "0.145.0"}, "logRecords": records}]}
                                for of, scope, records in groups]}
    with open(os.path.join(out, "001-logs.json"), "w") as f:
        json.dump(request, f, indent=1)
        f.write("\n")


def kubernetes():
    events = [
        ("Normal", "Scheduled", "Successfully assigned otel-demo/{pod} to ip-10-0-3-41.eu-central-1.compute.internal"),
        ("Normal", "Pulling", 'Pulling image "ghcr.io/open-telemetry/demo:2.1.3-checkout"'),
        ("Normal", "Pulled", 'Successfully pulled image "ghcr.io/open-telemetry/demo:2.1.3-checkout" in 1.204s (1.204s including waiting). Image size: 18324215 bytes.'),
        ("Normal", "Created", "Created container checkout"),
        ("Normal", "Started", "Started container checkout"),
        ("Warning", "BackOff", "Back-off restarting failed container checkout in pod {pod}_otel-demo(0c8f5e1a-6a1b-4d53-9a35-5b1d2c3e4f50)"),
        ("Warning", "Unhealthy", 'Readiness probe failed: Get "http://10.0.3.87:8080/healthz": dial tcp 10.0.3.87:8080: connect: connection refused'),
        ("Warning", "FailedScheduling", "0/6 nodes are available: 2 Insufficient cpu, 4 node(s) didn't match Pod's node affinity/selector. preemption: 0/6 nodes are available"),
        ("Warning", "FailedMount", 'MountVolume.SetUp failed for volume "config" : configmap "checkout-config" not found'),
        ("Normal", "ScalingReplicaSet", "Scaled up replica set checkout-7d9f8b6c5d to 3 from 2"),
        ("Normal", "SuccessfulRescale", "New size: 4; reason: cpu resource utilization (percentage of request) above target"),
        ("Warning", "Evicted", "The node was low on resource: memory. Threshold quantity: 100Mi, available: 84660Ki."),
    ]
    groups = []
    for at in range(60):
        kind, reason, message = events[at % len(events)]
        pod = f"checkout-7d9f8b6c5d-{RNG.choice('bcdfgh')}2x7z"
        of = {"k8s.node.name": "ip-10-0-3-41.eu-central-1.compute.internal", "k8s.object.kind": "Pod", "k8s.object.name": pod,
              "k8s.object.uid": str(uuid.UUID(int=RNG.getrandbits(128), version=4)), "k8s.object.fieldpath": "spec.containers{checkout}",
              "k8s.object.api_version": "v1", "k8s.object.resource_version": str(RNG.randint(10**7, 10**8))}
        groups.append((of, "otelcol/k8seventsreceiver", [{
            "timeUnixNano": str(START + at * 10**9), "severityText": kind, "severityNumber": 9 if kind == "Normal" else 13,
            "body": {"stringValue": message.format(pod=pod)},
            "attributes": attributes({"k8s.event.reason": reason, "k8s.event.action": "Binding" if reason == "Scheduled" else "",
                                      "k8s.event.start_time": "2025-11-24 16:00:00 +0000 UTC", "k8s.event.name": f"{pod}.18{RNG.getrandbits(52):013x}",
                                      "k8s.event.uid": str(uuid.UUID(int=RNG.getrandbits(128), version=4)), "k8s.namespace.name": "otel-demo",
                                      "k8s.event.count": RNG.randint(1, 9)})}]))
    logs("kubernetes", groups)


def nginx():
    paths = ["/", "/api/products", "/api/products/OLJCESPC7Z", "/api/checkout", "/static/app.4f3a9c.js", "/images/products/NationalParkFoundationExplorascope.jpg",
             "/_next/data/b1a2c3/cart.json", "/favicon.ico", "/api/data?contextKeys=telescopes"]
    agents = ["Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36", "kube-probe/1.31", "curl/8.9.1"]
    records = []
    for at in range(120):
        address, path, agent = f"203.0.113.{RNG.randint(1, 254)}", RNG.choice(paths), RNG.choice(agents)
        method, status, size = RNG.choice(["GET", "GET", "GET", "POST"]), RNG.choice([200, 200, 200, 304, 404, 502]), RNG.randint(0, 90000)
        line = f'{address} - - [24/Nov/2025:16:{at // 60:02}:{at % 60:02} +0000] "{method} {path} HTTP/1.1" {status} {size} "-" "{agent}"'
        records.append({"timeUnixNano": str(START + at * 10**9), "severityText": "INFO" if status < 400 else "WARN", "severityNumber": 9 if status < 400 else 13,
                        "body": {"stringValue": line},
                        "attributes": attributes({"log.file.name": "access.log", "remote_addr": address, "method": method, "path": path, "status": str(status),
                                                  "body_bytes_sent": str(size), "http_referer": "-", "http_user_agent": agent})})
    for at in range(20):
        line = (f"2025/11/24 16:03:{at:02} [error] 29#29: *{4711 + at} connect() failed (111: Connection refused) while connecting to upstream, "
                f"client: 203.0.113.{at + 1}, server: shop.example, request: \"POST /api/checkout HTTP/1.1\", upstream: \"http://10.0.3.87:8080/api/checkout\", host: \"shop.example\"")
        records.append({"timeUnixNano": str(START + at * 10**9), "severityText": "ERROR", "severityNumber": 17, "body": {"stringValue": line},
                        "attributes": attributes({"log.file.name": "error.log"})})
    logs("nginx", [({"service.name": "nginx", "host.name": "edge-1"}, "otelcol/filelogreceiver", records)])


def main():
    shutil.rmtree(SCRATCH, ignore_errors=True)
    shutil.rmtree(TARGET, ignore_errors=True)
    os.makedirs(SCRATCH)
    shutil.copy(os.path.join(HERE, "shop.py"), SCRATCH)
    venv = os.path.abspath(os.path.join(CACHE, "venv-ordinary"))
    if not os.path.exists(venv):
        sys.exit(f"no {venv}: run install.sh first")
    os.symlink(venv, f"{SCRATCH}/venv")
    shop("checkout", "shop")
    shop("shop-assistant", "assistant")
    kubernetes()
    nginx()


if __name__ == "__main__":
    main()
