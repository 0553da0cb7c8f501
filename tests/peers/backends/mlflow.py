"""MLflow, from PyPI."""
import base64
import json
import os

from backends.common import INSTALLED, Fed, answers, ask, operator, server, trace_ids
from harness import check, figure, free_port


def mlflow(work):
    """SQLite; REST for whole traces and for the sums of its page."""
    port = free_port()
    server(work, "mlflow", os.path.join(INSTALLED, "mlflow", "bin", "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
           "--backend-store-uri", f"sqlite:///{work}/mlflow.db", "--artifacts-destination", os.path.join(work, "artifacts"),
           env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"})
    base = f"http://127.0.0.1:{port}"
    answers(f"{base}/health", 240)
    fed = Fed(work, {"endpoint": base, "compression": "gzip", "headers": {"x-mlflow-experiment-id": "0"}}, ("traces",))
    ids = trace_ids(fed)
    raw = ask(f"{base}/api/3.0/mlflow/traces/batchGet?" + "&".join(f"trace_ids=tr-{one}" for one in ids), timeout=60)
    got, used = [], 0
    for trace in json.loads(raw)["traces"]:
        used += json.loads(trace["trace_info"]["trace_metadata"].get("mlflow.trace.tokenUsage", "{}")).get("input_tokens", 0)
        for span in trace["spans"]:
            got.append({"trace_id": hexed(span["trace_id"]), "span_id": hexed(span["span_id"]), "parent": hexed(span.get("parent_span_id", "")),
                        "error": span.get("status", {}).get("code") == "STATUS_CODE_ERROR",
                        "attributes": {pair["key"]: plain(pair["value"]) for pair in span["attributes"]}})
    operator(fed, got, raw)
    check("its traces have token sums", used > 0, raw[:300])
    figure("input tokens by MLflow's own sums", used)


def hexed(text):
    """Hex of an id in base64."""
    return base64.b64decode(text).hex()


def plain(value):
    """The value of a typed attribute, as protobuf's JSON has it: a long integer may be a text."""
    (kind, inner), = value.items() or [("none", None)]
    return int(inner) if kind in ("int_value", "intValue") else inner
