"""What the parts of run.sh share: a running tollgate, a sink in a process of its own, a vault opened with stock tools, checks.

Everything a part starts is a child of it and ends with it; folders lie under a temporary one that goes away unless the part fails.
"""
import atexit
import contextlib
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
CACHE = os.path.abspath(os.environ.get("PEERS_CACHE") or os.path.join(REPO, "target", "peers"))
BINARY = os.path.abspath(os.environ.get("TOLLGATE_BIN") or os.path.join(REPO, "target", "release", "tollgate"))
RECORDINGS = os.path.join(REPO, "tests", "recordings")
SIGNALS = ("traces", "logs", "metrics")

children = []
failures = []


# ---- checks and figures --------------------------------------------------------------------------------------------

def say(text):
    print(text, flush=True)


def check(what, holds, detail=""):
    """One line; a check that fails makes the part fail at its end."""
    if not holds:
        failures.append(what)
    say(f"  {'ok  ' if holds else 'FAIL'} {what}" + (f": {detail}" if detail and not holds else ""))
    return holds


def figure(name, value, unit=""):
    say(f"  figure  {name} = {value}{' ' + unit if unit else ''}")


def finish(work):
    """Ends a part: exit 1 if a check failed, and the folder is then kept."""
    stop_all()
    if failures:
        say(f"{len(failures)} failed; files are in {work}")
        sys.exit(1)
    shutil.rmtree(work, ignore_errors=True)
    sys.exit(0)


def workdir(part):
    return tempfile.mkdtemp(prefix=f"tollgate-{part}-")


# ---- files -----------------------------------------------------------------------------------------------------------

def read(path, mode="r"):
    with open(path, mode) as f:
        return f.read()


def read_json(path):
    return json.loads(read(path))


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def write_json(path, value):
    write(path, json.dumps(value, indent=1))


def recorded(client):
    """{session: its part of the manifest} of a recorded client."""
    return read_json(os.path.join(RECORDINGS, client, "manifest.json"))["sessions"]


def canaries(session):
    """Content of a recorded session that must be in the vault."""
    return [one["value"] for one in session["canaries"].values() if one["seen"].get("traces") or one["seen"].get("logs")]


# ---- processes -----------------------------------------------------------------------------------------------------

def start(command, **options):
    process = subprocess.Popen(command, start_new_session=True, **options)
    children.append(process)
    return process


@atexit.register
def stop_all():
    for process in children:
        if process.poll() is None:
            process.kill()
    for process in children:
        process.wait()
    children.clear()


# a part that is told to end (a time limit of CI) still ends its children
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


GIVEN_PORTS = set()


def free_port():
    """A port that nothing listens on, never the same twice: the system may offer a port again before it is used."""
    while True:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        if port not in GIVEN_PORTS:
            GIVEN_PORTS.add(port)
            return port


def until(what, test, seconds=30.0, step=0.02):
    """Asks until it holds; what took too long is an error."""
    end = time.monotonic() + seconds
    while True:
        answer = test()
        if answer:
            return answer
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(step)


def http(url, body=None, headers=None, timeout=30, method=None):
    """(status, headers, body), whatever the status."""
    request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def status_of(url):
    """Of a GET; None while nobody answers."""
    try:
        return http(url, timeout=2)[0]
    except OSError:
        return None


# ---- the sink ------------------------------------------------------------------------------------------------------

class Sink:
    """sink.py as a process: keeps every body; can be told to misbehave."""

    def __init__(self, directory, *options, python=None):
        self.dir = directory
        os.makedirs(directory, exist_ok=True)
        self.process = start([python or sys.executable, os.path.join(HERE, "sink.py"), "--dir", directory, "--grpc", "0", "--exit-with-stdin", *options],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        ready = json.loads(self.process.stdout.readline())
        self.http, self.grpc = ready["http"], ready["grpc"]

    def tell(self, query):
        assert http(f"http://127.0.0.1:{self.http}/control?{query}", timeout=5)[0] == 200

    def rows(self):
        """Items of accepted requests, in order of arrival."""
        with open(os.path.join(self.dir, "ids.jsonl")) as f:
            return [json.loads(line) for line in f if line.endswith("\n")]

    def ids(self, signals=SIGNALS):
        return [row["test_id"] for row in self.rows() if row["signal"] in signals and row["test_id"]]

    def requests(self):
        with open(os.path.join(self.dir, "requests.jsonl")) as f:
            return [json.loads(line) for line in f if line.endswith("\n")]

    def items(self):
        """[(signal, item)] of all that it got, as decode.py reads it."""
        import decode
        return [(signal, item) for path in files("*.pb", self.dir) for signal, request in [decode.load(path)] for item in decode.items(signal, request)]


# ---- an S3 that can be unavailable ---------------------------------------------------------------------------------

def credentials(access="peer", secret="peer"):
    """The environment of a program that uses S3."""
    return {**os.environ, "AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret, "AWS_EC2_METADATA_DISABLED": "true"}


class S3Stub:
    """s3_stub.py as a process, and the settings of a vault in it."""

    def __init__(self, root):
        self.root, self.errors = root, f"{root}.log"
        os.makedirs(root)
        self.process = start([sys.executable, os.path.join(HERE, "s3_stub.py"), "--dir", root], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=open(self.errors, "wb"))
        self.port = json.loads(self.process.stdout.readline())["port"]
        self.vault, self.keys = os.path.join(root, "vault"), os.path.join(root, "keys")
        self.settings = {"s3": {"bucket": "vault", "key_bucket": "keys", "prefix": "", "region": "us-east-1", "force_path_style": True,
                                "endpoint": f"http://127.0.0.1:{self.port}",
                                "object_lock": {"mode": "compliance", "retention": "400d"}}}

    def tell(self, query):
        assert http(f"http://127.0.0.1:{self.port}/control?{query}", timeout=10)[0] == 200

    def complaints(self):
        """What a writer that only puts new objects never causes."""
        with open(self.errors) as f:
            return f.read()


# ---- a running tollgate --------------------------------------------------------------------------------------------

ORDER = ("normalize", "cost", "runs", "vault", "redact")


def available():
    """Processors that this binary has, in the order that pipelines need."""
    names = set(re.findall(r"^  (\w+)", tollgate("components")[1], re.M))
    return [name for name in ORDER if name in names]


def tollgate(*arguments, env=None, **options):
    """(exit code, output, errors) of a command."""
    done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, env=env, **options)
    return done.returncode, done.stdout, done.stderr


def keygen(path, *options):
    """A key, made by the product; returns the public half."""
    code, out, why = tollgate("vault", "keygen", *options, "--output", path)
    if code:
        raise AssertionError(why)
    return out.strip()


class Gateway:
    """tollgate with a configuration of JSON (which is YAML), restarted on the same ports and folders."""

    def __init__(self, work, exporters, vault=None, log="debug", change=None, redact=None):
        self.work = work
        self.data = os.path.join(work, "data")
        self.store = os.path.join(work, "vault")
        self.identity = os.path.join(work, "auditor.key")
        self.log_path = os.path.join(work, "tollgate.log")
        for folder in (self.data, self.store):
            os.makedirs(folder, exist_ok=True)
        recipient = keygen(self.identity)
        self.grpc, self.http, self.admin = free_port(), free_port(), free_port()
        processors = available()
        content = {"recipients": [recipient], "store": {"directory": self.store}, "writer": "peer", "object_age": "1s", "index_interval": "1s"}
        content.update(vault or {})
        text = [name for name in processors if name == "redact"]
        self.config = {
            "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{self.grpc}"}, "http": {"endpoint": f"127.0.0.1:{self.http}"}}}},
            "processors": {name: {"vault": content, "redact": redact or {}}.get(name, {}) for name in processors},
            "exporters": exporters,
            "extensions": {"admin": {"endpoint": f"127.0.0.1:{self.admin}"}},
            "spool": {"directory": os.path.join(self.data, "spool"), "max_size": "2GiB"},
            "service": {
                "extensions": ["admin"],
                "telemetry": {"logs": {"level": log}},
                "pipelines": {signal: {"receivers": ["otlp"], "processors": text if signal == "metrics" else processors,
                                       "exporters": list(exporters)} for signal in SIGNALS},
            },
        }
        if change:
            change(self.config)
        self.config_path = os.path.join(work, "tollgate.yaml")
        self.write()
        self.process = None

    def write(self):
        write_json(self.config_path, self.config)

    def start(self, wait=True, env=None):
        with open(self.log_path, "ab") as log:
            self.process = start([BINARY, "run", "--config", self.config_path], cwd=self.data, stdin=subprocess.DEVNULL,
                                 stdout=log, stderr=log, env=env)
        if wait:
            until("ready", self.ready, 30, 0.005)
        return self

    def ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"tollgate ended with {self.process.returncode}: {self.log()[-2000:]}")
        return status_of(f"http://127.0.0.1:{self.admin}/readyz") == 200

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait()
        children.remove(self.process)

    @contextlib.contextmanager
    def frozen(self):
        """Its files stay as they are meanwhile: else one that a search has listed may be renamed before it is read."""
        self.process.send_signal(signal.SIGSTOP)
        yield
        self.process.send_signal(signal.SIGCONT)

    def stop(self, seconds=60):
        """SIGTERM; the exit code."""
        self.process.terminate()
        code = self.process.wait(seconds)
        children.remove(self.process)
        return code

    def log(self):
        return read(self.log_path, "rb").decode(errors="replace")

    def metrics(self):
        """{(name, labels as text): value}"""
        text = http(f"http://127.0.0.1:{self.admin}/metrics")[2].decode()
        out = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                out[name] = float(value)
        return out

    def series(self, name, **labels):
        """Values of the series of a name that carry the labels; none where there is none yet."""
        wanted = [f'{k}="{v}"' for k, v in labels.items()]
        return [v for k, v in self.metrics().items() if k.split("{")[0] == name and all(w in k for w in wanted)]

    def metric(self, name, **labels):
        """Sum over the series of a name that carry the labels."""
        return sum(self.series(name, **labels))

    def drained(self):
        """Whether nothing waits in the spool for an exporter or the vault. Checkpoints of our own state come when they come."""
        waiting = {name: value for name, value in self.metrics().items() if name.split("{")[0] == "tollgate_spool_pending_records"}
        return bool(waiting) and not any(value for name, value in waiting.items() if '"checkpoint"' not in name)

    def post(self, signal, body, kind="application/x-protobuf", **headers):
        extra = {k.replace("_", "-"): v for k, v in headers.items()}
        return http(f"http://127.0.0.1:{self.http}/v1/{signal}", body, {"content-type": kind, **extra})

    def send(self, signal, body, kind="application/x-protobuf", **headers):
        """Posts what must be accepted."""
        status, _, answer = self.post(signal, body, kind, **headers)
        if status != 200:
            raise AssertionError(f"{signal}: {status} {answer[:300]!r}, {shutil.disk_usage(self.data).free} bytes free")

    def replay(self, folder, files):
        """Sends recorded requests; every one must be accepted."""
        for file in files:
            kind = "application/json" if file["file"].endswith(".json") else "application/x-protobuf"
            self.send(file["signal"], read(os.path.join(folder, file["file"]), "rb"), kind)

    def replay_client(self, client, *names):
        """Sends the recorded sessions of a client; their parts of its manifest."""
        sent = {name: one for name, one in recorded(client).items() if not names or name in names}
        for name, session in sent.items():
            self.replay(os.path.join(RECORDINGS, client, name), session["files"])
        return sent

    def ask(self, path):
        """JSON of the admin port."""
        status, _, body = http(f"http://127.0.0.1:{self.admin}{path}", headers={"accept": "application/json"})
        if status != 200:
            raise AssertionError(f"{path}: {status} {body[:300]!r}")
        return json.loads(body)

    def ends(self, what=""):
        """Everything is delivered, then SIGTERM ends it in order."""
        until("everything delivered and stored", self.drained, 60)
        check(f"{what}{': ' if what else ''}a clean end", self.stop() == 0)

    def vault_opened(self):
        return Stock(self.store, self.identity)


def outlets(sink):
    """Both exporters over one sink."""
    return {"otlp": {"endpoint": f"http://127.0.0.1:{sink.grpc}"}, **outlet(sink)}


def outlet(sink):
    """One exporter over a sink."""
    return {"otlp_http": {"endpoint": f"http://127.0.0.1:{sink.http}"}}


# ---- the vault, with the stock tools of Debian ---------------------------------------------------------------------

def tool(*command, data=None):
    done = subprocess.run(command, input=data, capture_output=True)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip()[:300]}")
    return done.stdout


def files(pattern, root):
    return sorted(glob.glob(os.path.join(root, pattern), recursive=True, include_hidden=True))


class Stock:
    """Opens a store (a folder, or objects fetched into one) with `age` and `zstd`, by way of its index."""

    def __init__(self, store, identity, keys=None):
        self.store, self.identity, self.key_store, self.keys = store, identity, keys or store, {}

    def rows(self):
        """Every index line."""
        return list(self.each_row())

    def each_row(self):
        """As `rows`, one after the other: a million of them need gigabytes."""
        for path in files("**/index/v1/**/*.ndjson.zst", self.store):
            yield from map(json.loads, tool("zstd", "-dc", path).splitlines())

    def session_key(self, key_id):
        """The file of a session's secret, opened with the auditor's key."""
        if key_id not in self.keys:
            found = files(f"**/keys/**/{key_id}.age", self.key_store)
            if len(found) != 1:
                raise AssertionError(f"key object of {key_id}: {len(found)} found")
            handle, path = tempfile.mkstemp(dir=os.path.dirname(self.identity))
            os.write(handle, tool("age", "-d", "-i", self.identity, found[0]))
            os.close(handle)
            self.keys[key_id] = path
        return self.keys[key_id]

    def open(self, row):
        """The document that an index line leads to."""
        with open(os.path.join(self.store, row["object_key"]), "rb") as f:
            f.seek(row["off"])
            sealed = f.read(row["len"])
        plain = tool("age", "-d", "-i", self.session_key(row["key_id"]), data=sealed)
        return json.loads(tool("zstd", "-dc", data=plain))

    def fragments(self, rows=None):
        """{fragment id: index line}, for each fragment once."""
        return {row["fragment"]: row for row in rows or self.rows() if row.get("object_key")}

    def documents(self):
        """Every fragment, opened: [(line, document)]."""
        return [(row, self.open(row)) for row in self.fragments().values()]

    def text(self):
        """All texts of all fragments."""
        return "\n".join(text for _, document in self.documents() for text in texts(document))


def texts(value):
    """Every text in a JSON document, JSON within texts included as it stands."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from texts(one)
