"""Prometheus, built from its Go module, because Debian's build has no receiver of OTLP."""
import os

from backends.common import INSTALLED, Fed, answers, server
from backends.series import metrics_arrive
from harness import check, free_port, write_json


def prometheus(work):
    """The receiver of OTLP metrics. tollgate sends in parallel, so the configuration accepts samples out of order."""
    port = free_port()
    path = os.path.join(work, "prometheus.yml")
    write_json(path, {"storage": {"tsdb": {"out_of_order_time_window": "30m"}}, "otlp": {"promote_resource_attributes": ["service.name"]}})
    server(work, "prometheus", os.path.join(INSTALLED, "prometheus"), f"--config.file={path}", f"--storage.tsdb.path={work}/tsdb",
           f"--web.listen-address=127.0.0.1:{port}", "--web.enable-otlp-receiver")
    base = f"http://127.0.0.1:{port}"
    answers(f"{base}/-/ready")
    fed = Fed(work, {"endpoint": f"{base}/api/v1/otlp", "compression": "gzip", "deltatocumulative": {}}, ("metrics",))
    series = metrics_arrive(fed, base)
    jobs = {one["job"] for one in series if one["__name__"].startswith(("claude_code", "gen_ai"))}
    check("the label `job` is the service's name", jobs == {"claude-code", "ledger-agent"}, jobs)
