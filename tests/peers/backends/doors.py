"""Back ends that need a Collector between: the files of docs/how-to/backends.md in a Collector with their components."""
import json
import os
import re
import subprocess

import decode
import yaml
from backends.common import INSTALLED, server, sessions
from harness import Gateway, REPO, SIGNALS, Sink, check, free_port, http, read, until, write

PAGE = os.path.join(REPO, "docs", "how-to", "backends.md")
ADDRESS = re.compile(r"https://[\w.-]+(?=[/\s\"]|$)")
# what the files take from the environment; the credentials are no one's
VALUES = {"AZURE_CLIENT_ID": "00000000-0000-0000-0000-000000000001", "GOOGLE_CLOUD_PROJECT": "a-project", "CLOUDWATCH_LOG_GROUP": "agents",
          "CLOUDWATCH_LOG_STREAM": "tollgate", "HELICONE_API_KEY": "a-value-of-16-bytes", "AWS_ACCESS_KEY_ID": "AKIANOTAKEY",
          "AWS_SECRET_ACCESS_KEY": "not-a-secret", "AWS_EC2_METADATA_DISABLED": "true"}
AZURE = {f"AZURE_{signal.upper()}_ENDPOINT": f"https://dce.westeurope-1.ingest.monitor.azure.com/datacollectionRules/dcr-1/streams/s/otlp/v1/{signal}"
         for signal in SIGNALS}
PATHS = {
    "azure": {signal: f"/datacollectionRules/dcr-1/streams/s/otlp/v1/{signal}" for signal in SIGNALS},
    "google": {"traces": "/v1/traces"},
    "aws": {signal: f"/v1/{signal}" for signal in SIGNALS},
    "helicone": {"traces": "/v1/trace/log"},
}
SERVICES = {"traces": "xray", "logs": "logs", "metrics": "monitoring"}


def documented():
    """{vendor: text} of the page's files for a Collector."""
    return dict(re.findall(r"^```yaml\n# collector-(\w+)\.yaml\n(.*?)^```", read(PAGE), re.M | re.S))


def validate(work, text, env):
    path = os.path.join(work, "validate.yaml")
    write(path, text)
    done = subprocess.run([os.path.join(INSTALLED, "contrib"), "validate", "--config", f"file:{path}"], capture_output=True, text=True, env=env)
    return "" if done.returncode == 0 else (done.stdout + done.stderr)[-600:]


class Door:
    """A Collector with a vendor's file, whose addresses are those of a sink, and its receiver's port."""

    def __init__(self, work, vendor, text, env):
        self.vendor, self.port = vendor, free_port()
        self.sink = Sink(os.path.join(work, f"sink-{vendor}"))
        here = f"http://127.0.0.1:{self.sink.http}"
        # its own metrics would want port 8888
        path = os.path.join(work, f"{vendor}.yaml")
        with open(path, "w") as f:
            config = yaml.safe_load(ADDRESS.sub(here, text.replace("0.0.0.0:4318", f"127.0.0.1:{self.port}").replace("https://monitor.azure.com", "scope")))
            config["service"]["telemetry"] = {"metrics": {"level": "none"}}
            json.dump(config, f)
        env = {**env, **{key: ADDRESS.sub(here, value) for key, value in AZURE.items()}}
        server(work, vendor, os.path.join(INSTALLED, "contrib"), "--config", f"file:{path}", env=env)
        until(f"{vendor}: the Collector listens", self.listens, 30, 0.1)

    def listens(self):
        try:
            return http(f"http://127.0.0.1:{self.port}/", timeout=2)[0] > 0
        except OSError:
            return False

    def taken(self):
        return [one for one in self.sink.requests() if one["status"] < 300]


def doors(work):
    env = {**os.environ, **VALUES, **AZURE}
    texts = documented()
    check("the page has a file for each door", set(texts) == set(PATHS), sorted(texts))
    said = {vendor: problem for vendor, text in texts.items() if (problem := validate(work, text, env))}
    check("a Collector's `validate` takes each file", not said, said)

    all_ = [Door(work, vendor, text, env) for vendor, text in texts.items()]
    exporters = {f"otlp_http/{door.vendor}": {"endpoint": f"http://127.0.0.1:{door.port}"} for door in all_}

    def by_signal(config):
        for signal, pipeline in config["service"]["pipelines"].items():
            pipeline["exporters"] = [f"otlp_http/{vendor}" for vendor, paths in PATHS.items() if signal in paths]

    gateway = Gateway(work, exporters, log="info", change=by_signal).start()
    for door in all_:
        door.sink.tell("status=503&count=3")
    sent = dict.fromkeys(SIGNALS, 0)
    for signal, request in sessions():
        sent[signal] += sum(1 for _ in decode.items(signal, request))
        gateway.send(signal, request.SerializeToString())
    until("everything is delivered", gateway.drained, 120, 0.2)
    check("a clean end", gateway.stop() == 0)
    for door in all_:
        refused, taken = [one for one in door.sink.requests() if one["status"] == 503], door.taken()
        paths = {one["path"] for one in taken}
        check(f"{door.vendor}: {len(taken)} requests, each signal at its path", paths == set(PATHS[door.vendor].values()), paths)
        check(f"{door.vendor}: {len(refused)} refusals came back to tollgate", len(refused) == 3, len(refused))
        # Seen failing: with the Collector's queue on, what the sink refused is lost. The sink reads items at the usual paths only.
        if set(PATHS[door.vendor].values()) <= {f"/v1/{signal}" for signal in SIGNALS}:
            got = {signal: sum(row["signal"] == signal for row in door.sink.rows()) for signal in PATHS[door.vendor]}
            check(f"{door.vendor}: {sum(got.values())} items, none lost or twice", got == {signal: sent[signal] for signal in got}, (got, sent))
        if door.vendor == "aws":
            signed = {(one["path"], (re.search(r"AWS4-HMAC-SHA256 Credential=AKIANOTAKEY/\d{8}/(\S+?),", one["headers"].get("authorization", "")) or ["", ""])[1])
                      for one in taken}
            wanted = {(f"/v1/{signal}", f"eu-west-1/{service}/aws4_request") for signal, service in SERVICES.items()}
            check("aws: each signal is signed for its own service", signed == wanted, signed)
            groups = {(one["headers"].get("x-aws-log-group"), one["headers"].get("x-aws-log-stream")) for one in taken if one["path"] == "/v1/logs"}
            check("aws: logs name their group and stream", groups == {("agents", "tollgate")}, groups)
        if door.vendor == "helicone":
            kinds = {(one["headers"].get("content-type"), one["headers"].get("authorization")) for one in taken}
            check("helicone: JSON with its key", kinds == {("application/json", "Bearer a-value-of-16-bytes")}, kinds)
