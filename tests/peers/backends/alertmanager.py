"""Alertmanager, from Debian, which gets its alerts from Prometheus."""
import json
import os

import alerts
from backends.common import Fed, answers, ask, no_content, server
from harness import Sink, check, files, free_port, read_json, until, write_json


def alertmanager(work):
    """Prometheus evaluates the rules of deploy/alerts over a running tollgate; Alertmanager gets the alerts and notifies a webhook."""
    port = free_port()
    hook = Sink(os.path.join(work, "hook"))
    path = os.path.join(work, "alertmanager.yml")
    write_json(path, {"route": {"receiver": "none", "group_by": ["alertname"], "group_wait": "0s", "group_interval": "1s",
                         "routes": [{"matchers": ['severity="critical"'], "receiver": "page"}]},
               "receivers": [{"name": "none"}, {"name": "page", "webhook_configs": [{"url": f"http://127.0.0.1:{hook.http}/page"}]}]})
    server(work, "alertmanager", "prometheus-alertmanager", f"--config.file={path}", f"--storage.path={work}/alertmanager",
           f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=")
    base = f"http://127.0.0.1:{port}/api/v2"
    answers(f"{base}/status")
    fed = Fed(work, {"endpoint": f"http://127.0.0.1:{Sink(os.path.join(work, 'other')).http}"})
    real = alerts.Prometheus(work, fed.gateway.admin, {"alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}]}})
    until("Prometheus has scraped tollgate", lambda: real.ask("api/v1/query?query=tollgate_info")["result"], 60, 0.2)
    raw = []

    def shown(name, **labels):
        """The alert in Alertmanager's API; None while there is none."""
        raw.append(ask(f"{base}/alerts"))
        return next((one for one in json.loads(raw[-1]) if one["labels"]["alertname"] == name and labels.items() <= one["labels"].items()), None)

    def tool_alert():
        alerts.failing_tool(fed.gateway)
        return shown("AgentToolErrorRate", tool_name="deploy")

    rules = {rule["alert"]: rule for _, rule in alerts.names.load(alerts.PROMETHEUS) if "alert" in rule}
    arrived = [until("AgentToolErrorRate reaches Alertmanager", tool_alert, 90, 0.5)]
    fed.gateway.kill()
    arrived.append(until("TollgateDown reaches Alertmanager", lambda: shown("TollgateDown"), 90, 0.2))
    for alert in arrived:
        name, labels, notes = alert["labels"]["alertname"], alert["labels"], alert["annotations"]
        rule = rules[name]
        check(f"{name} has its severity, job and instance", labels["severity"] == rule["labels"]["severity"] and labels["job"] == "tollgate"
              and labels.get("instance", f"127.0.0.1:{fed.gateway.admin}") == f"127.0.0.1:{fed.gateway.admin}", labels)
        check(f"{name} has its runbook and a summary that is filled in", notes["runbook"] == rule["annotations"]["runbook"] and "{{" not in notes["summary"]
              and "<no value>" not in notes["summary"], notes)
        check(f"{name} links to its expression", "/graph?g0.expr=" in alert["generatorURL"], alert["generatorURL"])
    check("the summary names what failed", "deploy" in arrived[0]["annotations"]["summary"] and str(fed.gateway.admin) in arrived[1]["annotations"]["summary"])
    check("it is routed by severity", [one["name"] for one in arrived[1]["receivers"]] == ["page"], arrived[1]["receivers"])

    def notified():
        for path in files("*-other.*", hook.dir):
            body = read_json(path)
            if body["status"] == "firing" and body["groupLabels"] == {"alertname": "TollgateDown"}:
                return body
        return None

    body = until("the webhook is called", notified, 60, 0.2)
    check("the webhook gets labels and annotations", body["commonLabels"]["severity"] == "critical" and body["commonAnnotations"]["runbook"], body)
    check("an alert that no rule has is not shown", shown("TollgateNeverMade") is None)
    no_content(fed, *raw, json.dumps(body).encode())
