"""deploy/ without a cluster: the chart against helm, golden renderings, published schemas and policies; each rendered
configuration against tollgate itself; mistakes in values; the systemd unit, the compose files, the kustomize base, the
Dockerfile.

TOLLGATE_UPDATE=1 writes the golden renderings, the chart's alerts and schema, and the kustomize base.
"""
import base64
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

PEERS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# not `from deploy import …`: that is this file
sys.path[:0] = [PEERS, os.path.join(PEERS, "deploy")]
import schemas  # noqa: E402
import yaml  # noqa: E402
from harness import BINARY, CACHE, REPO, check, figure, finish, free_port, keygen, read, say, start, status_of, tollgate, until, workdir, write  # noqa: E402

DEPLOY = os.path.join(REPO, "deploy")
CHART = os.path.join(DEPLOY, "helm", "tollgate")
TOOLS = os.path.join(CACHE, "deploy", "bin")
VENV = os.path.join(CACHE, "venv-deploy", "bin")
UPDATE = bool(os.environ.get("TOLLGATE_UPDATE"))
# the oldest version that the chart takes, and a later one
VERSIONS = ("1.30", "1.33")
WORKLOADS = ("StatefulSet", "Deployment")
HIGHEST_EXPOSURE = 2.0
PAGES = ("kubernetes.md", "reach.md", "systemd.md", "compose.md")


def run(*command, env=None):
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})})
    return done.returncode, done.stdout, done.stderr.strip()


def helm(*arguments):
    return run(os.path.join(TOOLS, "helm"), *arguments)


def template(*arguments, version=VERSIONS[-1], chart=CHART):
    return helm("template", "tollgate", chart, "--namespace", "telemetry", "--kube-version", version, *arguments)


def same_or_write(what, path, text):
    """A generated file is what the generator makes; with TOLLGATE_UPDATE=1 it becomes so."""
    if UPDATE:
        write(path, text)
    old = read(path) if os.path.exists(path) else ""
    check(f"{what} is up to date", old == text, "TOLLGATE_UPDATE=1 tests/peers/run.sh deploy writes it")


# ---- what rendered objects must be ---------------------------------------------------------------------------------

def pod(one):
    return one["spec"]["template"]["spec"]


def gateway_container(one):
    found = [c for c in pod(one).get("initContainers", []) + pod(one)["containers"] if c["name"] == "tollgate"]
    return found[0]


def volume_kept(one):
    """Accepted data outlives the pod, the replica and the release. An edge accepts nothing before Kafka has it."""
    if one["kind"] == "Deployment":
        return True
    mounts = [m["name"] for m in gateway_container(one)["volumeMounts"] if m["mountPath"].startswith("/var/lib/tollgate")]
    claims = [c["metadata"]["name"] for c in one["spec"].get("volumeClaimTemplates", [])]
    kept = one["spec"].get("persistentVolumeClaimRetentionPolicy") == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    return "spool" in mounts and set(mounts) <= set(claims) and kept


def probes(one):
    c = gateway_container(one)
    paths = [c[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    port = {p["name"]: p["containerPort"] for p in c["ports"]}["health"]
    behind_a_service = "otlp-grpc" in [p["name"] for p in c["ports"]]
    return port == 13133 and paths == ["/", "/livez", "/readyz" if behind_a_service else "/"]


def confined(one):
    """Pod Security Standards, `restricted`; and a root that is read-only."""
    c, whole = gateway_container(one).get("securityContext", {}), pod(one).get("securityContext", {})
    wanted = {"runAsNonRoot": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    return wanted.items() <= c.items() and c["seccompProfile"]["type"] == "RuntimeDefault" and whole["runAsNonRoot"]


def ids(one):
    c, whole = gateway_container(one)["securityContext"], pod(one)["securityContext"]
    return (c.get("runAsUser"), c.get("runAsGroup"), whole.get("fsGroup")) == (65532, 65532, 65532)


def validated(one):
    """An init container before tollgate validates what tollgate reads, as it reads it."""
    containers = pod(one).get("initContainers", []) + pod(one)["containers"]
    by = {c["name"]: c for c in containers}
    first, own = by.get("validate", {"args": [""]}), by["tollgate"]
    same = all(first.get(key) == own.get(key) for key in ("image", "env", "envFrom", "volumeMounts", "securityContext"))
    return same and first["args"][0] == "validate" and list(by).index("validate") < list(by).index("tollgate")


def stops_in_order(one):
    """A gateway behind a Service goes on taking requests while its address is removed."""
    sleep = gateway_container(one).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    behind_a_service = "otlp-grpc" in [p["name"] for p in gateway_container(one)["ports"]]
    return pod(one)["terminationGracePeriodSeconds"] >= sleep + 25 and (sleep >= 5 or not behind_a_service)


def limits(one):
    resources = gateway_container(one)["resources"]
    return {"cpu", "memory"} <= set(resources["requests"]) and "memory" in resources["limits"]


POLICIES = {"confined": confined, "ids": ids, "limits": limits, "volume_kept": volume_kept, "probes": probes, "validated": validated, "stops_in_order": stops_in_order,
            "restarts": lambda one: "checksum/config" in one["spec"]["template"]["metadata"]["annotations"],
            "no_token": lambda one: pod(one)["automountServiceAccountToken"] is False,
            "parallel": lambda one: one["kind"] == "Deployment" or one["spec"]["podManagementPolicy"] == "Parallel"}
# values that ask for an exception by name
EXCEPTIONS = {("empty-dir", "volume_kept"), ("sidecar-token", "no_token"), ("openshift", "ids")}


def of_their_schemas(name, objects, version=VERSIONS[-1]):
    broken = [problem for problem in (schemas.problem(one, version) for one in objects) if problem]
    check(f"{name}: {len(objects)} objects match the schemas of {version}", objects and not broken, broken)


def policies(name, objects):
    for one in objects:
        if one["kind"] in WORKLOADS:
            broken = [policy for policy, kept in POLICIES.items() if not kept(one) and (name, policy) not in EXCEPTIONS]
            check(f"{name}: policies of {one['kind']} {one['metadata']['name']}", not broken, broken)


def names_are_defined(name, objects):
    """Selectors find pods, services and ports exist, a scaler's target exists."""
    by = {(one["kind"], one["metadata"]["name"]): one for one in objects}
    workloads = [one for one in objects if one["kind"] in WORKLOADS]
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in objects if one["kind"] in (*WORKLOADS, "Job")]
    ports = [p["name"] for one in workloads for p in gateway_container(one)["ports"]]
    broken = []

    def selects(selector):
        return any(selector.items() <= one.items() for one in labels)

    for (kind, title), one in by.items():
        spec = one.get("spec", {})
        if kind == "Service":
            wanted = [spec["selector"]] + [{"port": p["targetPort"]} for p in spec["ports"]]
        else:
            wanted = [spec[key]["matchLabels"] for key in ("selector", "podSelector") if "matchLabels" in spec.get(key, {}) and kind != "ServiceMonitor"]
        backends = [p["backend"]["service"] for rule in spec.get("rules", []) for p in rule.get("http", {}).get("paths", [])]
        backends += [b for rule in spec.get("rules", []) for b in rule.get("backendRefs", [])]
        for backend in backends:
            ports_of = [p for p in by.get(("Service", backend["name"]), {"spec": {"ports": []}})["spec"]["ports"]]
            if not any(backend["port"] in (p["port"], {"name": p["name"]}) for p in ports_of):
                broken.append(f"{kind} {title}: {backend}")
        for want in wanted:
            if not (want["port"] in ports if "port" in want else selects(want)):
                broken.append(f"{kind} {title}: {want}")
        if kind == "StatefulSet" and ("Service", spec["serviceName"]) not in by:
            broken.append(f"{title}: no service {spec['serviceName']}")
        target = spec.get("scaleTargetRef")
        if target and (target["kind"], target["name"]) not in by:
            broken.append(f"{kind}: no {target}")
        if target and "replicas" in by[target["kind"], target["name"]]["spec"]:
            broken.append(f"{kind}: {target['name']} has replicas of its own")
        if kind == "ServiceMonitor":
            found = [s for s in objects if s["kind"] == "Service" and spec["selector"]["matchLabels"].items() <= s["metadata"]["labels"].items()]
            if len(found) != 1:
                broken.append(f"{title}: {len(found)} services")
    check(f"{name}: every name that an object refers to exists", not broken, broken)


# ---- configurations ------------------------------------------------------------------------------------------------

class Machine:
    """A folder with what a configuration names: secrets, folders, variables."""

    def __init__(self, work):
        self.work = work
        self.key = base64.b64encode(bytes(range(32))).decode()
        self.auditors = [keygen(os.path.join(work, f"auditor-{n}.key")) for n in (1, 2)]
        keygen(os.path.join(work, "signing.key"), "--signing")
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=tollgate",
            "-addext", "subjectAltName=DNS:tollgate.telemetry", "-keyout", os.path.join(work, "tls.key"), "-out", os.path.join(work, "tls.crt"))

    def prepare(self, text):
        """The configuration with its paths below the folder, and the environment that it needs."""
        for old, new in (("/etc/tollgate/secrets", "secrets"), ("/run/secrets", "secrets"), ("/run/credentials/tollgate.service", "secrets"),
                         ("/var/lib/tollgate", "data")):
            os.makedirs(os.path.join(self.work, new), exist_ok=True)
            text = text.replace(old, os.path.join(self.work, new))
        text = text.replace("/etc/tollgate/signing.key", os.path.join(self.work, "signing.key")).replace("/etc/tollgate/tls", self.work)
        for path in re.findall(r"\$\{file:([^}]+)\}", text):
            # another one for each file, because two accounts can't have one token
            secret = base64.b64encode(hashlib.sha256(path.encode()).digest()).decode()
            write(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), secret)
        variables = re.findall(r"\$\{env:(\w+)\}", text)
        known = {"AUDITOR_1": self.auditors[0], "AUDITOR_2": self.auditors[1], "POD_NAME": "tollgate-0"}
        return text, {name: known.get(name, self.key) for name in variables}

    def problem(self, text, arguments=("validate", "--config=config.yaml")):
        """What `tollgate validate` says, or None. The arguments are a container's, with the file's path last."""
        text, env = self.prepare(text)
        path = os.path.join(self.work, "tollgate.yaml")
        write(path, text)
        code, out, err = run(BINARY, *arguments[:-1], re.sub("=.*", f"={path}", arguments[-1]), env={"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", **env})
        return None if code == 0 else err[-6000:]


def copied_for_the_job(name, objects, copy, machine):
    """The Job before an upgrade reads a copy of the configuration, with the secrets and the account of its role."""
    title = copy["metadata"]["name"]
    by = {(one["kind"], one["metadata"]["name"]): one for one in objects}
    job, owner = by["Job", title], by["ConfigMap", title.removesuffix("-validate")]
    workload = next(one for one in objects if one["kind"] in WORKLOADS and one["metadata"]["name"] == owner["metadata"]["name"])
    check(f"{name}: {title} has the new configuration", copy["data"] == owner["data"])
    hooks = [one["metadata"]["annotations"]["helm.sh/hook"] for one in (copy, job)]
    check(f"{name}: {title} runs before an upgrade", hooks == ["pre-upgrade,pre-rollback"] * 2, hooks)
    text, arguments = copy["data"]["config.yaml"], pod(job)["containers"][0]["args"]
    broken = machine.problem(text.replace("endpoint: 0.0.0.0:13133", "endpoint: nowhere"), arguments)
    check(f"{name}: {title} fails for a broken configuration alone", machine.problem(text, arguments) is None and "nowhere" in (broken or ""), broken)
    check(f"{name}: {title} is not tried again", job["spec"]["backoffLimit"] == 0 and pod(job)["restartPolicy"] == "Never")
    own, theirs = ({v["name"]: v for v in pod(one)["volumes"]} for one in (job, workload))
    mounts = {m["name"] for m in pod(job)["containers"][0]["volumeMounts"]}
    same = own["secrets"] == theirs["secrets"] and all(pod(job).get(key) == pod(workload).get(key) for key in ("serviceAccountName", "securityContext"))
    check(f"{name}: {title} reads its copy, and what its role may read", own["config"]["configMap"]["name"] == title and same and mounts <= set(own), own)


def configurations(name, objects, machine):
    """Each rendered configuration is valid, and what it takes from the environment or from files is there."""
    for one in objects:
        if one["kind"] != "ConfigMap" or "config.yaml" not in one["data"]:
            continue
        title, text = one["metadata"]["name"], one["data"]["config.yaml"]
        if title.endswith("-validate"):
            copied_for_the_job(name, objects, one, machine)
            continue
        problem = machine.problem(text)
        check(f"{name}: tollgate accepts the configuration {title}", problem is None, problem)
        owner = next(w for w in objects if w["kind"] in WORKLOADS and
                     any(v.get("configMap", {}).get("name") == title for v in pod(w)["volumes"]))
        container = gateway_container(owner)
        given = {e["name"] for e in container["env"]}
        mounts = [m["mountPath"] for m in container["volumeMounts"]]
        missing = [v for v in re.findall(r"\$\{env:(\w+)\}", text) if v not in given]
        missing += [p for p in re.findall(r"\$\{file:([^}]+)\}", text) if not any(p.startswith(m + "/") for m in mounts)]
        check(f"{name}: {title} finds its variables and files in the pod", not missing, missing)


def delivers_what_is_left(name, objects, machine):
    """The Job for a claim mounts it, reads what the role's pods read, opens no port, and its arguments work."""
    jobs = [one for one in objects if one["kind"] == "Job" and pod(one)["containers"][0]["name"] == "deliver"]
    workload = next(one for one in objects if one["kind"] == "StatefulSet")
    text = next(one["data"]["config.yaml"] for one in objects if one["kind"] == "ConfigMap" and one["metadata"]["name"] == workload["metadata"]["name"])
    for job in jobs:
        own, theirs = pod(job)["containers"][0], gateway_container(workload)
        same = all(own.get(key) == theirs.get(key) for key in ("image", "envFrom", "volumeMounts", "securityContext", "resources"))
        same = same and all(pod(job).get(key) == pod(workload).get(key) for key in ("serviceAccountName", "securityContext"))
        title, claims = job["metadata"]["name"], {v["persistentVolumeClaim"]["claimName"] for v in pod(job)["volumes"] if "persistentVolumeClaim" in v}
        gone = own["env"][0]["value"]
        wanted = {f"{claim['metadata']['name']}-{gone}" for claim in workload["spec"]["volumeClaimTemplates"]}
        check(f"{name}: {title} mounts the claims of {gone}, with what its role has", same and claims == wanted and "ports" not in own, claims)
        problem = machine.problem(text, own["args"])
        check(f"{name}: {title} has arguments that tollgate takes", "there is no spool in" in (problem or ""), problem)


def probes_answer(objects, machine):
    """The rendered configuration of a gateway runs, and answers where the kubelet asks."""
    text = next(one["data"]["config.yaml"] for one in objects if one["kind"] == "ConfigMap")
    text, env = machine.prepare(text)
    health = free_port()
    at = f"http://127.0.0.1:{health}"
    for old in (4317, 4318, 8888):
        text = text.replace(f"0.0.0.0:{old}", f"127.0.0.1:{free_port()}")
    text = text.replace("0.0.0.0:13133", f"127.0.0.1:{health}")
    path = os.path.join(machine.work, "probed.yaml")
    write(path, text)
    arguments = gateway_container(next(one for one in objects if one["kind"] in WORKLOADS))["args"]
    arguments = [path if a.endswith("config.yaml") else a for a in arguments[:-1]] + [f"--config={path}"]
    process = start([BINARY, *arguments], env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    until("the gateway is ready", lambda: process.poll() is not None or status_of(at + "/readyz") == 200, 60, 0.1)
    answers = {where: status_of(at + where) for where in ("/", "/livez", "/readyz", "/healthz")}
    check("a gateway run with the chart's arguments answers its probes", answers == {"/": 200, "/livez": 200, "/readyz": 200, "/healthz": 404}, answers)
    process.terminate()
    check("and ends in order", process.wait(30) == 0, process.returncode)


# ---- the chart -----------------------------------------------------------------------------------------------------

def chart(machine):
    """Returns the objects of each file of values."""
    names = sorted(os.path.basename(path) for path in glob.glob(os.path.join(DEPLOY, "alerts", "prometheus", "*.yaml")))
    check("the chart has all files of alerts", UPDATE or names == sorted(os.listdir(os.path.join(CHART, "alerts"))), names)
    for name in names:
        same_or_write(f"alerts/{name} of the chart", os.path.join(CHART, "alerts", name), read(os.path.join(DEPLOY, "alerts", "prometheus", name)))

    rendered = {}
    files = sorted(glob.glob(os.path.join(CHART, "ci", "*-values.yaml")))
    figure("files of values", len(files))
    for path in files:
        name = os.path.basename(path).removesuffix("-values.yaml")
        code, out, err = helm("lint", "--strict", CHART, "--values", path, "--kube-version", VERSIONS[-1])
        check(f"{name}: helm lint --strict", code == 0, out + err)
        texts = []
        for version in VERSIONS:
            code, text, err = template("--values", path, version=version)
            check(f"{name}: helm template for {version}", code == 0, err)
            objects = schemas.load_all(text)
            of_their_schemas(name, objects, version)
            texts.append(text)
        check(f"{name}: the same for both versions", texts[0] == texts[1])
        same_or_write(f"{name}: its golden rendering", path.replace("-values.yaml", "-golden.yaml"), texts[-1])
        rendered[name] = objects
        policies(name, objects)
        names_are_defined(name, objects)
        configurations(name, objects, machine)
        delivers_what_is_left(name, objects, machine) if name.endswith("-deliver") else None
    return rendered


def inside_of_values(schema):
    """tollgate's schema as a part of the values': references from the whole's root, and a variable in place of a number or a flag."""
    if isinstance(schema, list):
        return [inside_of_values(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        schema = {**schema, "$ref": schema["$ref"].replace("#/", "#/$defs/tollgate/")}
    kinds = [schema.get("type")] if isinstance(schema.get("type"), str) else schema.get("type")
    if isinstance(kinds, list) and "string" not in kinds and {"integer", "number", "boolean"} & set(kinds):
        schema = {**schema, "type": [*kinds, "string"], "pattern": r"\$\{"}
    return {key: inside_of_values(value) for key, value in schema.items()}


def schema_of_values():
    """The chart's schema holds the schema that `tollgate schema` prints."""
    path = os.path.join(CHART, "values.schema.json")
    schema = json.loads(read(path))
    own = json.loads(tollgate("schema")[1])
    del own["$schema"]
    schema["$defs"]["tollgate"] = inside_of_values(own)
    same_or_write("values.schema.json of the chart", path, json.dumps(schema, indent=2, ensure_ascii=False) + "\n")
    own = {**schema, "$defs": {name: one for name, one in schema["$defs"].items() if name != "tollgate"}}
    open_maps = sorted(path for path, one in maps_of(own) if "properties" in one and one.get("additionalProperties") is not False)
    check("the schema of values closes every map with named keys", open_maps == ["#/$defs/role"], open_maps)
    roles = [set(schema["properties"][role]["properties"]) for role in ("gateway", "edge", "worker", "sidecar")]
    check("each role has the keys that all have", all(set(schema["$defs"]["role"]["properties"]) <= one for one in roles))


def mistakes(work):
    """Values that the chart must refuse, each with its message; without schema and checks that message is not there."""
    bare = os.path.join(work, "bare")
    shutil.copytree(CHART, bare)
    os.remove(os.path.join(bare, "values.schema.json"))
    os.remove(os.path.join(bare, "templates", "checks.yaml"))
    rows = yaml.safe_load(read(os.path.join(PEERS, "deploy", "mistakes.yaml")))

    def refused(number, row):
        path = os.path.join(work, f"mistake-{number}.yaml")
        write(path, yaml.safe_dump(row["values"]))
        files = [a for f in (os.path.join(CHART, "ci", f"{row['of']}-values.yaml"), path) for a in ("--values", f)]
        code, _, err = template(*files)
        return code != 0 and row["says"] in err, row["says"] in template(*files, chart=bare)[2], err[-600:]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = list(pool.map(refused, range(len(rows)), rows))
    for row, (said, said_without, err) in zip(rows, answers):
        if not said or said_without:
            check(f"{row['of']}: {row['values']} is refused by its check: {row['says']}", False, err)
    figure("mistakes that the chart refuses", sum(said and not without for said, without, _ in answers))
    check("the chart refuses every mistake, each by its own check", all(said and not without for said, without, _ in answers))


def maps_of(schema, path="#"):
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield path, schema
        for key, value in schema.items():
            yield from maps_of(value, f"{path}/{key}")


# ---- beside the chart ----------------------------------------------------------------------------------------------

def kustomize(machine, work):
    base = os.path.join(DEPLOY, "kustomize", "base")
    code, text, err = template("--values", os.path.join(DEPLOY, "kustomize", "values.yaml"))
    check("the kustomize base renders", code == 0, err)
    # Helm is no part of it, and kustomize sets the namespace.
    lines = [line for line in text.splitlines() if not re.match(r"# Source:|\s+(helm\.sh/chart|app\.kubernetes\.io/managed-by|namespace): ", line)]
    same_or_write("kustomize/base/gateway.yaml", os.path.join(base, "gateway.yaml"),
                  "# Written by TOLLGATE_UPDATE=1 tests/peers/run.sh deploy, from the chart and ../values.yaml.\n" + "\n".join(lines) + "\n")
    copied = os.path.join(work, "kustomize")
    shutil.copytree(os.path.join(DEPLOY, "kustomize"), copied)
    os.makedirs(os.path.join(copied, "example", "secrets"), exist_ok=True)
    for name in ("honeycomb-api-key", "spool-key", "pseudonym-key", "admin-token", "scrape-token"):
        write(os.path.join(copied, "example", "secrets", name), machine.key)
    for name in ("base", "example"):
        code, out, err = run(os.path.join(TOOLS, "kustomize"), "build", os.path.join(copied, name))
        check(f"kustomize build {name}", code == 0, err)
        objects = schemas.load_all(out)
        of_their_schemas(f"kustomize {name}", objects)
        policies(f"kustomize {name}", objects)
        configurations(f"kustomize {name}", objects, machine)


def manifests(machine):
    """deploy/kubernetes: the sidecar without the chart, and the operator's objects."""
    objects = schemas.load_all(read(os.path.join(DEPLOY, "kubernetes", "sidecar.yaml")))
    of_their_schemas("kubernetes/sidecar.yaml", objects, VERSIONS[0])
    configurations("kubernetes/sidecar.yaml", objects, machine)
    objects = schemas.load_all(read(os.path.join(DEPLOY, "kubernetes", "operator.yaml")))
    without = [one for one in objects if one["kind"] in schemas.WITHOUT_SCHEMA]
    of_their_schemas("kubernetes/operator.yaml", [one for one in objects if one not in without])
    say(f"  note  no schema, so not compared: {', '.join(one['kind'] + ' ' + one['metadata']['name'] for one in without)}")
    own = next(one for one in without if one["metadata"]["name"] == "tollgate")
    problem = machine.problem(yaml.safe_dump(own["spec"]["config"]))
    check("kubernetes/operator.yaml: tollgate accepts the configuration", problem is None, problem)
    keys = {"receivers", "processors", "exporters", "connectors", "extensions", "service"}
    check("kubernetes/operator.yaml: only keys that the operator keeps", set(own["spec"]["config"]) <= keys)
    injected = [one["spec"]["template"]["metadata"]["annotations"]["sidecar.opentelemetry.io/inject"] for one in objects if one["kind"] == "Deployment"]
    sidecars = [one["metadata"]["name"] for one in without if one["spec"]["mode"] == "sidecar"]
    check("kubernetes/operator.yaml: the annotation names the sidecar", injected == sidecars, injected)


def systemd(machine, work):
    unit = os.path.join(DEPLOY, "systemd", "tollgate.service")
    code, out, err = run("systemd-analyze", "security", "--offline=yes", "--no-pager", unit)
    level = float(re.search(r"Overall exposure level for tollgate.service: ([\d.]+)", out)[1])
    figure("exposure of tollgate.service", level)
    check(f"exposure at most {HIGHEST_EXPOSURE}", level <= HIGHEST_EXPOSURE)
    # the same unit with the binary at hand, because `verify` wants to execute it
    text = read(unit)
    at_hand = os.path.join(work, "tollgate.service")
    write(at_hand, text.replace("/usr/local/bin/tollgate", BINARY))
    code, out, err = run("systemd-analyze", "verify", "--man=no", at_hand)
    check("systemd-analyze verify finds nothing", code == 0 and not err, err)
    config = read(os.path.join(DEPLOY, "systemd", "tollgate.yaml"))
    problem = machine.problem(config)
    check("systemd/tollgate.yaml is valid", problem is None, problem)
    loaded = set(re.findall(r"^LoadCredential=([\w-]+):", text, re.M))
    named = set(re.findall(r"/run/credentials/tollgate\.service/([\w-]+)", config))
    check("the unit loads the credentials that the configuration names", loaded == named, loaded ^ named)


def compose(machine):
    folder = os.path.join(DEPLOY, "compose")
    for name in ("compose.yaml", "signoz-ports.yaml"):
        problem = schemas.compose_problem(read(os.path.join(folder, name)))
        check(f"compose/{name} matches the compose specification", problem is None, problem)
    text = read(os.path.join(folder, "config", "tollgate.yaml"))
    problem = machine.problem(text)
    check("compose/config/tollgate.yaml is valid", problem is None, problem)
    model = yaml.safe_load(read(os.path.join(folder, "compose.yaml")))
    service = model["services"]["tollgate"]
    named = set(re.findall(r"/run/secrets/([\w-]+)", text))
    check("compose/compose.yaml gives tollgate the secrets that its configuration names", named == set(service["secrets"]) == set(model["secrets"]), named)
    given = set(re.findall(r"\$\{env:(\w+)\}", text))
    check("compose/compose.yaml gives tollgate its variables", given == set(service["environment"]), given)
    # `!reset` is compose's own tag; the names are those of the file that Foundry writes
    ports = re.search(r"  ingester:\n    ports: !reset \[\]\n", read(os.path.join(folder, "signoz-ports.yaml")))
    check("compose/compose.yaml reaches SigNoz by Foundry's names", service["networks"] == ["signoz-network"] and service["depends_on"] == ["ingester"]
          and "http://signoz-ingester:4317" in text, service)
    check("SigNoz leaves 4317 and 4318 to tollgate", ports and "127.0.0.1:4317:4317" in service["ports"] and "127.0.0.1:4318:4318" in service["ports"])
    check("compose/compose.yaml: not root, read-only", service["user"] == "65532:65532" and service["read_only"] and service["cap_drop"] == ["ALL"])


def dockerfile():
    code, out, err = run(os.path.join(VENV, "hadolint"), "--no-color", os.path.join(REPO, "Dockerfile"), os.path.join(DEPLOY, "recogniser", "Dockerfile"))
    check("hadolint finds nothing in the Dockerfiles", code == 0 and not out, out + err)


def pages(machine, work):
    """Values that a page shows work; the commands name files that exist."""
    seen = 0
    for page in PAGES:
        text = read(os.path.join(REPO, "docs", "how-to", page))
        for number, block in enumerate(re.findall(r"```text\n# values\.yaml\n(.*?)```", text, re.S)):
            seen += 1
            path = os.path.join(work, f"page-{number}.yaml")
            write(path, block)
            name = f"docs/how-to/{page}, values {number + 1}"
            code, out, err = template("--values", path)
            check(f"{name} render", code == 0, err[-600:])
            if code == 0:
                configurations(name, schemas.load_all(out), machine)
        gone = [path for path in re.findall(r"\bdeploy/[\w./-]+", text) if not os.path.exists(os.path.join(REPO, path.rstrip(".")))
                and not path.startswith("deploy/compose/s")]
        check(f"docs/how-to/{page}: the files of deploy that it names exist", not gone, gone)
    check("the pages show values", seen >= 3, seen)


def main():
    work = workdir("deploy")
    machine = Machine(work)
    schema_of_values()
    rendered = chart(machine)
    for step in (lambda: mistakes(work), lambda: probes_answer(rendered["gateway"], machine), lambda: kustomize(machine, work),
                 lambda: manifests(machine), lambda: systemd(machine, work), lambda: compose(machine), dockerfile,
                 lambda: pages(machine, work)):
        step()
    finish(work)


if __name__ == "__main__":
    say("deploy: the chart, systemd, compose, kustomize and the Dockerfile, without a cluster")
    main()
