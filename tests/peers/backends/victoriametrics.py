"""VictoriaMetrics, from Debian 13."""
import os

from backends.common import INSTALLED, Fed, answers, ask, server
from backends.series import metrics_arrive
from harness import check, free_port


def victoriametrics(work):
    """Its OTLP door, which takes protobuf only; names as Prometheus has them."""
    port = free_port()
    server(work, "victoria-metrics", os.path.join(INSTALLED, "victoria-metrics"), f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={work}/tsdb",
           "-opentelemetry.usePrometheusNaming", "-search.latencyOffset=0s")
    base = f"http://127.0.0.1:{port}"
    answers(f"{base}/health")
    fed = Fed(work, {"metrics_endpoint": f"{base}/opentelemetry/v1/metrics", "compression": "gzip", "deltatocumulative": {}}, ("metrics",))
    series = metrics_arrive(fed, base, lambda: ask(f"{base}/internal/force_flush"))
    services = {one.get("service.name") or one.get("service_name") for one in series}
    check("the service's name is a label", services >= {"claude-code", "ledger-agent"}, services)
