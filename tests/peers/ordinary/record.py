#!/usr/bin/env python3
"""Records what ordinary services and a cluster send, for tests/it/usefulness.rs.

    record.py           (needs pip_install.sh venv-ordinary ordinary/requirements.txt)

Writes tests/cases/ordinary/{shop,assistant}/NNN-SIGNAL.pb by OpenTelemetry's SDK and instrumentations for Python. (Beside them,
{kubernetes,nginx}/*.json were written in the form of the Collector's receivers: k8seventsreceiver, v0.145, README "Data model", and
filelogreceiver with the regular expression of its nginx example.)
"""
import json
import os
import shutil
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path[:0] = [os.path.dirname(HERE)]
import sink as sink_module  # noqa: E402

CACHE = os.environ.get("PEERS_CACHE") or os.path.join(REPO, "target", "peers")
# stack traces name files: a fixed place says nothing of the machine
SCRATCH = "/tmp/tollgate-shop"
TARGET = os.path.join(REPO, "tests", "cases", "ordinary")


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
    store = sink_module.Sink(raw, raw=True)
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
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    rows = [json.loads(line) for line in open(os.path.join(raw, "requests.jsonl"))]
    for at, row in enumerate(rows):
        shutil.copy(os.path.join(raw, row["file"]), os.path.join(out, f"{at + 1:03}-{row['signal']}.pb"))
    print(f"{service}: {len(rows)} requests, {sum(row['bytes'] for row in rows)} bytes")


def main():
    shutil.rmtree(SCRATCH, ignore_errors=True)
    os.makedirs(SCRATCH)
    shutil.copy(os.path.join(HERE, "shop.py"), SCRATCH)
    venv = os.path.abspath(os.path.join(CACHE, "venv-ordinary"))
    if not os.path.exists(venv):
        sys.exit(f"no {venv}: run pip_install.sh first")
    os.symlink(venv, f"{SCRATCH}/venv")
    shop("checkout", "shop")
    shop("shop-assistant", "assistant")


if __name__ == "__main__":
    main()
