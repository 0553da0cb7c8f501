"""The rules of deploy/alerts: each alert fires and stays silent (promtool), names only what tollgate exposes, and wakes in a real Prometheus
that scrapes a running tollgate. No rule fires because there is three times the traffic.

    alerts.py [--signoz]    also the cases of rules that SigNoz has in another form: minutes more
"""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import time

PEERS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, PEERS)
import otlp_json  # noqa: E402
from promql import cases, names, others, signoz  # noqa: E402
from harness import BINARY, REPO, Gateway, Sink, check, figure, finish, free_port, http, outlet, read, say, start, status_of, until, workdir, write_json  # noqa: E402

ALERTS = os.path.join(REPO, "deploy", "alerts")
PROMETHEUS = os.path.join(ALERTS, "prometheus")
RUNBOOK = os.path.join(REPO, "docs", "alerts.md")
NAMES = os.path.join(REPO, "crates", "telemetry", "src", "names", "mod.rs")
# promtool's only remarks on /metrics: sums of money are floats, which the counters of the library in use can't hold; the second name is its users'.
REMARKS = {'tollgate_cost_usd_total non-counter metrics should not have "_total" suffix',
           'agent_human_override_count counter metrics should have "_total" suffix',
           'agent_human_override_count non-histogram and non-summary metrics should not have "_count" suffix'}
CLIENTS = ("claude-code", "codex", "claude-otel-hooks", "openinference")


def tool(*command, text=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    return done.returncode, (done.stdout + done.stderr).strip()


# ---- the files -----------------------------------------------------------------------------------------------------

def headings(path):
    with open(path) as f:
        return {line[4:].strip() for line in f if line.startswith("### ")}


def commands_exist(path):
    """Commands of tollgate that a page names, and the binary does not have."""
    named = set(re.findall(r"`tollgate ((?:[a-z-]+ ?)+)", read(path)))
    return sorted(words for words in named if tool(BINARY, *words.split(), "--help")[0] != 0)


def files_are_whole(found):
    code, said = tool("promtool", "check", "rules", "--lint=all", "--lint-fatal", *sorted({path for path, _ in found}))
    check("promtool check rules", code == 0, said)
    alerts = [rule for _, rule in found if "alert" in rule]
    called = [rule["alert"] for rule in alerts]
    check("no alert twice", len(called) == len(set(called)), sorted({n for n in called if called.count(n) > 1}))
    bare = [r["alert"] for r in alerts if r["labels"].get("severity") not in ("critical", "warning") or not r["annotations"].get("summary")]
    check("each alert has a severity and a summary", not bare, bare)
    lost = [r["alert"] for r in alerts if r["annotations"].get("runbook") != "docs/alerts.md#" + r["alert"].lower()]
    check("each alert names its section of docs/alerts.md", not lost, lost)
    sections = headings(RUNBOOK)
    check("each alert has its section, each section its alert", sections == set(called), sorted(sections ^ set(called)))
    check("the runbook's commands exist", not commands_exist(RUNBOOK), commands_exist(RUNBOOK))
    labels = {label for rule in alerts for label in rule["labels"]} | {label for _, rule in found for label in names.grouped(rule["expr"])}
    wide = sorted(label for label in labels if names.FORBIDDEN.match(label))
    check("no label names a session, a run or a person", not wide, wide)
    return alerts


def names_are_known(found, live):
    kinds = names.defined(NAMES)
    recorded = {rule["record"] for _, rule in found if "record" in rule}
    exprs = [rule["expr"] for _, rule in found]
    known = names.series_of(kinds) | set(live)
    check("every metric that a rule names is tollgate's", not names.unknown(exprs, known, recorded), names.unknown(exprs, known, recorded))
    wrong = names.strange_labels(exprs, live)
    check("every label that a rule asks for is on the live series", not wrong, wrong)
    gauges = sorted({name for expr in exprs for name in names.misuse(expr, kinds)})
    check("no rate of a gauge", not gauges, gauges)
    unused = sorted(recorded - {name for expr in exprs for name, _ in names.named(expr)})
    check("every recorded series is used", not unused, unused)
    figure("metrics named", len({name for expr in exprs for name, _ in names.named(expr)} - recorded))


def other_back_ends(found, alerts):
    """SigNoz, Honeycomb, CloudWatch: as far as files can be checked without the vendor."""
    here = read(signoz.FILE)
    check("SigNoz: rules.json is what promql/signoz.py writes", here == signoz.text(found), "run tests/peers/promql/signoz.py")
    wrong, triggers = others.honeycomb(os.path.join(ALERTS, "honeycomb", "main.tf"), {rule["alert"] for rule in alerts})
    check("Honeycomb: each trigger keeps the provider's rules", triggers and not wrong, wrong)
    if shutil.which("terraform"):
        code, said = tool("terraform", "fmt", "-check", os.path.join(ALERTS, "honeycomb"))
        check("Honeycomb: terraform reads it and finds it formatted", code == 0, said)
    wrong = others.cloudwatch(os.path.join(ALERTS, "cloudwatch", "alarms.yaml"))
    check("CloudWatch: cfn-lint has no remark; the three alarms by name", not wrong, wrong)


def signoz_says_the_same(found, base, wanted, bounds, work, with_signoz):
    """Rules with recorded series written out: they are PromQL, and, `with_signoz`, the cases of such alerts hold for them too."""
    path = os.path.join(work, "signoz.yaml")
    plain = [{**rule, "expr": signoz.written_out(rule["expr"], signoz.records(found))} for _, rule in found if "alert" in rule]
    write_json(path, {"groups": [{"name": "signoz", "rules": plain}]})
    recorded = {rule["alert"] for _, rule in found if "alert" in rule and ":" in re.sub(r'"[^"]*"', "", rule["expr"])}
    chosen = [case for case in wanted if recorded & {name for woken in case["fires"].values() for name in woken or []}]
    covered = {name for case in chosen for woken in case["fires"].values() for name in woken or []}
    check("SigNoz: every alert that has recorded series fires in a case", recorded and recorded <= covered, sorted(recorded - covered))
    code, answer = tool("promtool", "check", "rules", "--lint=none", path)
    check("SigNoz: every rule is PromQL", code == 0, answer)
    if not with_signoz:
        say(f"  {len(chosen)} cases without recorded series, as SigNoz has them, are not run: --signoz runs them")
        return
    said = cases.run(base, chosen, [path], bounds, os.path.join(work, "cases-signoz"))
    for name, problem in said.items():
        if problem:
            check(f"SigNoz: {name}", False, problem)
    check(f"SigNoz: {len(said)} cases hold without recorded series", said and not any(said.values()))


# ---- the cases -----------------------------------------------------------------------------------------------------

def every_case_holds(found, alerts, work, with_signoz):
    base, wanted = cases.load(os.path.join(ALERTS, "tests"))
    files = sorted(glob.glob(os.path.join(PROMETHEUS, "*.yaml")))
    bounds = names.bounds(NAMES)
    said = cases.run(base, wanted, files, bounds, os.path.join(work, "cases"))
    for name, problem in said.items():
        if problem:
            check(name, False, problem)
    check(f"{len(said)} cases: exactly the alerts that are named fire", not any(said.values()))
    fires = {name for case in wanted for woken in case["fires"].values() for name in woken or []}
    mute = sorted({rule["alert"] for rule in alerts} - fires)
    check("each alert fires in a case", not mute, mute)
    tripled = [case for case in wanted if case.get("traffic", 1) >= 3 and not any(case["fires"].values())]
    check("three times the traffic alone wakes nobody: minutes later, hours later, against yesterday",
          any(case.get("history", 90) > 1440 for case in tripled) and any(case.get("history", 90) <= 120 for case in tripled))
    signoz_says_the_same(found, base, wanted, bounds, work, with_signoz)


# ---- a running tollgate and a real Prometheus ----------------------------------------------------------------------

def short(document):
    """A copy of a rule file for a test: minutes are seconds, hours half minutes, days minutes."""
    units = {"m": (1, "s"), "h": (30, "s"), "d": (1, "m")}

    def shrink(match):
        factor, unit = units[match[2]]
        return f"{int(match[1]) * factor}{unit}"

    for group in document["groups"]:
        group["interval"] = "500ms"
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"(?<=\[)(\d+)([mhd])(?=[\]:])|(?<=offset )(\d+)([mhd])\b",
                                  lambda m: shrink([None, m[1] or m[3], m[2] or m[4]]), rule["expr"])
            if "for" in rule:
                rule["for"] = re.sub(r"(\d+)([mhd])", shrink, rule["for"])
    return document


class Prometheus:
    """A real one, that scrapes every second and knows the short rules."""

    def __init__(self, work, admin):
        self.port, folder = free_port(), os.path.join(work, "prometheus")
        os.makedirs(folder)
        for path in glob.glob(os.path.join(PROMETHEUS, "*.yaml")):
            with open(path) as f, open(os.path.join(folder, os.path.basename(path)), "w") as out:
                json.dump(short(cases.yaml.safe_load(f)), out)
        config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "500ms"},
                  "rule_files": [os.path.join(folder, "*.yaml")],
                  "scrape_configs": [{"job_name": "tollgate", "static_configs": [{"targets": [f"127.0.0.1:{admin}"]}]}]}
        path = os.path.join(work, "prometheus.yml")
        write_json(path, config)
        self.log = os.path.join(work, "prometheus.log")
        with open(self.log, "ab") as log:
            start(["prometheus", f"--config.file={path}", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{self.port}"],
                  stdout=log, stderr=log)
        until("Prometheus is ready", lambda: status_of(f"http://127.0.0.1:{self.port}/-/ready") == 200, 60, 0.1)

    def ask(self, path):
        status, _, body = http(f"http://127.0.0.1:{self.port}/{path}", timeout=10)
        return json.loads(body)["data"] if status == 200 else None

    def firing(self):
        """Each that fires; one name may stand here once for each set of labels."""
        return [alert for alert in self.ask("api/v1/alerts")["alerts"] if alert["state"] == "firing"]

    def alerts(self):
        """{alert's name: one that fires}."""
        return {alert["labels"]["alertname"]: alert for alert in self.firing()}

    def unhealthy(self):
        groups = self.ask("api/v1/rules")["groups"]
        return [f"{rule['name']}: {rule.get('lastError')}" for group in groups for rule in group["rules"] if rule["health"] == "err"]


def failing_tool(gateway):
    """Ten calls of one tool, eight of which fail, by the conventions' names."""
    call = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "deploy", "gen_ai.provider.name": "anthropic"}
    spans = [otlp_json.span(os.urandom(16).hex(), 1 + at, None, "execute_tool deploy", time.time_ns() - 10**6, 1e-3, call, "failed" if at < 8 else None)
             for at in range(10)]
    otlp_json.send(gateway, [otlp_json.group(spans)])


def live(found, work):
    """The fleet of one: healthy, then with a back end that refuses the key."""
    sink = Sink(os.path.join(work, "sink"))

    def quick(config):
        config["processors"]["runs"] = {"idle_timeout": "2s", "settle": "1s"}

    gateway = Gateway(work, outlet(sink), change=quick).start()
    prometheus = Prometheus(work, gateway.admin)
    for client in CLIENTS:
        gateway.replay_client(client)
    until("all delivered", gateway.drained, 60)
    until("sessions have ended", lambda: gateway.metric("agent_sessions_total") > 0, 60, 0.2)
    text = http(f"http://127.0.0.1:{gateway.admin}/metrics")[2].decode()
    code, said = tool("promtool", "check", "metrics", text=text)
    remarks = set(said.splitlines())
    check("promtool check metrics", code in (0, 3) and remarks <= REMARKS, sorted(remarks - REMARKS))
    names_are_known(found, names.scraped(text))
    other_back_ends(found, [rule for _, rule in found if "alert" in rule])

    until("Prometheus has scraped it", lambda: prometheus.ask("api/v1/query?query=tollgate_info")["result"], 30, 0.2)
    until("every rule was evaluated", lambda: all(rule["health"] != "unknown" for group in prometheus.ask("api/v1/rules")["groups"]
                                                  for rule in group["rules"]), 30, 0.2)
    check("a real Prometheus evaluates every rule", not prometheus.unhealthy(), prometheus.unhealthy())
    loud = {name for name in prometheus.alerts() if name.startswith("Tollgate")} - {"TollgateAbsent"}
    check("a healthy gateway wakes nobody", not loud, sorted(loud))
    until("once it was scraped, TollgateAbsent ends", lambda: "TollgateAbsent" not in prometheus.alerts(), 30, 0.2)

    def tool_alert():
        # Tools of the recorded sessions fail too, and may fire beside it.
        failing_tool(gateway)
        return "deploy" in {alert["labels"].get("tool_name") for alert in prometheus.firing()
                            if alert["labels"]["alertname"] == "AgentToolErrorRate"}

    until("AgentToolErrorRate fires for a tool whose calls fail, and names it", tool_alert, 60, 0.5)
    check("AgentToolErrorRate fires for a tool whose calls fail, and names it", True)
    sink.tell("status=401&count=1000000")
    gateway.replay_client(CLIENTS[2])
    alert = until("TollgateExporterDenied fires", lambda: prometheus.alerts().get("TollgateExporterDenied"), 60, 0.2)
    check("TollgateExporterDenied fires in Prometheus' API, with exporter and severity",
          alert["labels"].get("exporter") == "otlp_http" and alert["labels"].get("severity") == "critical", alert["labels"])
    check("its summary is filled in", "otlp_http" in alert["annotations"]["summary"], alert["annotations"])
    sink.tell("status=200")
    until("it ends when the back end takes the key again", lambda: "TollgateExporterDenied" not in prometheus.alerts(), 90, 0.2)
    check("it ends when the back end takes the key again", True)
    gateway.kill()
    alert = until("TollgateDown fires", lambda: prometheus.alerts().get("TollgateDown"), 60, 0.2)
    check("TollgateDown fires when the gateway is killed", alert["labels"].get("job") == "tollgate", alert["labels"])


def main():
    work = workdir("alerts")
    say(tool("promtool", "--version")[1].splitlines()[0])
    found = names.load(PROMETHEUS)
    alerts = files_are_whole(found)
    figure("alerts", len(alerts))
    live(found, work)
    every_case_holds(found, alerts, work, "--signoz" in sys.argv)
    shutil.rmtree(os.path.join(work, "cases"), ignore_errors=True)
    finish(work)


if __name__ == "__main__":
    say("alerts: the rules in promtool and in a real Prometheus")
    main()
