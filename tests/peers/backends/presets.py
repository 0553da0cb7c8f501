"""Back ends that only their vendor runs: exporters as documented, against a sink with the published limits."""
import json
import os
import re
import subprocess
import time
import urllib.parse

import decode
import yaml
from backends import strict
from backends.common import sessions
from harness import BINARY, Gateway, REPO, SIGNALS, check, figure, keygen, read, say, until, write_json


def presets(work):
    """Each entry of config/backends.yaml: `validate` takes its exporter, and a sink with the vendor's limits takes what is sent."""
    with open(os.path.join(REPO, "config", "backends.yaml")) as f:
        entries = yaml.safe_load(f)
    validated(work, entries)

    sinks = {name: strict.StrictSink(entry) for name, entry in entries.items()}
    exporters = {f"otlp_http/{name}": settings(entry, sinks[name].port) for name, entry in entries.items()}

    def by_signal(config):
        for signal, pipeline in config["service"]["pipelines"].items():
            pipeline["exporters"] = [f"otlp_http/{name}" for name, entry in entries.items() if signal in entry["paths"]]

    gateway = Gateway(work, exporters, log="info", change=by_signal).start()
    # beside the sessions: 12 MB at once, and many small spans at once
    requests = [*sessions(), ("traces", spans_of_a_shop(300, 40, "column " * 140)), ("traces", spans_of_a_shop(1000, 20, "column"))]
    for signal, request in requests:
        gateway.send(signal, request.SerializeToString())
    sent = {signal: sum(1 for one, request in requests if one == signal for _ in decode.items(signal, request)) for signal in SIGNALS}

    def delivered():
        return all(sink.refused or sink.count >= sum(sent[signal] for signal in entries[name]["paths"]) for name, sink in sinks.items())

    try:
        until("everything delivered", lambda: delivered() and gateway.drained(), 90, 0.2)
    except TimeoutError:
        say("  not everything was delivered")
    for name, entry in entries.items():
        sink = sinks[name]
        got = {signal: sum(1 for one, request in sink.taken if one == signal for _ in decode.items(signal, request)) for signal in entry["paths"]}
        asked = [one for key in ("tokens", "cost") if isinstance(entry[key], list) for one in entry[key]]
        fields = entry["limits"].get("fields", 1 << 30) if isinstance(entry["limits"], dict) else 1 << 30
        check(f"{name}: {', '.join(f'{count} {signal}' for signal, count in got.items())} keep its limits and have {', '.join(asked) or 'no known names'}",
              not sink.refused and got == {signal: sent[signal] for signal in got} and set(asked) <= sink.keys and len(sink.keys) <= fields,
              (sink.refused[:3], sorted(set(asked) - sink.keys), len(sink.keys)))
    figure("names of attributes in these traces", max(len(sink.keys) for sink in sinks.values()))
    check("a clean end", gateway.stop() == 0)


def spans_of_a_shop(count, attributes, text):
    """One request: `count` spans, each with so many attributes of this text."""
    request = decode.REQUESTS["traces"]()
    top = request.resource_spans.add()
    top.resource.attributes.add(key="service.name").value.string_value = "shop"
    scope = top.scope_spans.add()
    for at in range(count):
        now = time.time_ns() - 1_000_000_000
        span = scope.spans.add(trace_id=os.urandom(16), span_id=os.urandom(8), name=f"GET /{at}", start_time_unix_nano=now, end_time_unix_nano=now + 1000)
        for part in range(attributes):
            span.attributes.add(key=f"shop.table.{part}").value.string_value = text
    return request


def settings(entry, port):
    """The entry's exporter with the sink's address in place of the vendor's, and values for its variables."""
    (exporter,) = entry["exporter"].values()
    exporter = json.loads(re.sub(r"\$\{env:(\w+)\}", r"a-value-for-\1", json.dumps(exporter)))
    here = f"http://127.0.0.1:{port}"
    if "preset" in exporter or "endpoint" in exporter:
        # the preset has a region or an address, not both
        exporter.pop("region", None)
        exporter["endpoint"] = here + urllib.parse.urlsplit(exporter.get("endpoint", "")).path
    else:
        exporter["traces_endpoint"] = here + entry["paths"]["traces"]
    return exporter


def complaint(work, exporter, signals, recipient):
    """What `validate` says against the smallest configuration with an exporter, as it is written."""
    (name,) = exporter
    steps = ["normalize", "cost", "runs", "vault", "redact"]
    vault = {"recipients": ["${env:AUDITOR_1}"], "store": {"directory": f"{work}/vault"}}
    config = {"receivers": {"otlp": {}}, "processors": {**dict.fromkeys(steps, {}), "vault": vault},
              "exporters": exporter, "spool": {"directory": f"{work}/spool"},
              "service": {"pipelines": {signal: {"receivers": ["otlp"], "processors": ["redact"] if signal == "metrics" else steps, "exporters": [name]}
                                        for signal in signals}}}
    path = os.path.join(work, "validate.yaml")
    write_json(path, config)
    names = set(re.findall(r"\$\{env:(\w+)\}", json.dumps(config)))
    values = {one: "https://otlp.example.com/v1/traces" if one.endswith("_URL") else "a-value-of-16-bytes-or-more" for one in names}
    values["AUDITOR_1"] = recipient
    done = subprocess.run([BINARY, "validate", "--config", path], capture_output=True, text=True, env={**os.environ, **values})
    return "" if done.returncode == 0 else done.stdout + done.stderr


def shown(page):
    """{back end: exporter} of the table of docs/how-to/backends.md."""
    rows = re.findall(r"^\| ([^|]+) \| `([^`]+)`", read(page), re.M)
    return {title.strip(): yaml.safe_load("{" + text + "}") for title, text in rows if text.startswith(("otlp", '"otlp'))}


def validated(work, entries):
    """The page shows the exporters of the file, and `validate` takes every exporter of the page."""
    documented = shown(os.path.join(REPO, "docs", "how-to", "backends.md"))
    apart = [entry["title"] for entry in entries.values() if documented.get(entry["title"]) != entry["exporter"]]
    check("the page shows the exporters of config/backends.yaml", not apart, apart)
    recipient = keygen(os.path.join(work, "recipient.key"))
    signals = {entry["title"]: list(entry["paths"]) for entry in entries.values()}
    said = {title: complaint(work, exporter, signals.get(title, signals_of(exporter)), recipient) for title, exporter in documented.items()}
    check(f"validate takes the {len(said)} exporters of the page", len(said) > len(entries) and not any(said.values()),
          {title: text[:500] for title, text in said.items() if text})


def signals_of(exporter):
    """The signals that an exporter has an address for."""
    (options,) = exporter.values()
    return [signal for signal in SIGNALS if "endpoint" in options or f"{signal}_endpoint" in options]
