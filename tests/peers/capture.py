"""What the recording scripts of several clients share: mock model and sink for one session, and what is kept of it.

    with Session("codex", "exec", lanes, model=…, canaries=…) as s:   # s.sink_url, s.model_url, s.run([command], env, cwd)
        ...
    s.keep(protocol=…, switches=…)                                     # tests/recordings/codex/exec

The form is that of claude_code/record.py: requests in order of arrival, and ledger.json, what the mock answered.
"""
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(HERE, "claude_code")]
import mock_model  # noqa: E402
import sink as sink_module  # noqa: E402
from scenarios import Canaries  # noqa: E402, F401

CACHE = os.path.abspath(os.environ.get("PEERS_CACHE") or os.path.join(REPO, "target", "peers"))
# A fixed place, so that paths in a recording say nothing of the machine; a home, so that redaction has a user to find.
SCRATCH = "/tmp/tollgate-agents"
HOME = f"{SCRATCH}/home/alice"
CWD = f"{HOME}/project"
PATH = "/usr/local/bin:/usr/bin:/bin"
ENVIRONMENT = {"PATH": PATH, "LANG": "C.UTF-8", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
# of an agent of a terminal
ALICE = {"HOME": HOME, "USER": "alice", "SHELL": "/bin/bash", "TERM": "dumb"}
HEADERS = ("content-type", "content-encoding", "transfer-encoding", "user-agent")


def openai_usage(i, out, read=0, reasoning=0):
    """Also Gemini's: `in` includes `read`, `out` includes `reasoning`."""
    return {"in": i, "out": out, "read": read, "w5": 0, "w1": 0, "reasoning": reasoning}


def anthropic_usage(i, out, read=0, w5=0, w1=0):
    return {"in": i, "out": out, "read": read, "w5": w5, "w1": w1}


def session_uuid(name):
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"tollgate/recordings/{name}"))


class Session:
    """One recorded session: a mock of the model and a sink on loopback, in threads of this process."""

    def __init__(self, client, name, lanes, canaries, model, pace=0.2):
        self.client, self.name, self.model, self.canaries = client, name, model, canaries
        self.target = os.path.join(REPO, "tests", "recordings", client, name)
        self.raw = os.path.join(CACHE, "raw", client, name)
        self.mock = mock_model.Mock(f"{client}/{name}", lanes, pace=pace)
        self.runs = []

    def __enter__(self):
        shutil.rmtree(self.raw, ignore_errors=True)
        self.sink = sink_module.Server(("127.0.0.1", 0), sink_module.handler(sink_module.Sink(self.raw, raw=True)))
        threading.Thread(target=self.sink.serve_forever, daemon=True).start()
        self.server = mock_model.serve(self.mock)
        self.sink_url = f"http://127.0.0.1:{self.sink.server_address[1]}"
        self.model_url = f"http://127.0.0.1:{self.server.server_address[1]}"
        return self

    def __exit__(self, *_):
        self.sink.shutdown()
        self.server.shutdown()

    def run(self, command, env, cwd, prompt, expect=(0,), timeout=180):
        """Runs a client to its end in exactly this environment; what it printed, and its exit code, go beside the raw files."""
        began = time.monotonic()
        done = subprocess.run(command, env={**ENVIRONMENT, **env}, cwd=cwd,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
        self.runs.append({"prompt": prompt, "exit": done.returncode, "seconds": round(time.monotonic() - began, 2)})
        with open(os.path.join(self.raw, f"out-{len(self.runs)}.txt"), "w") as f:
            f.write(f"{done.stdout}\n---- stderr\n{done.stderr}")
        if done.returncode not in expect:
            sys.exit(f"{self.client}/{self.name}: exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return done.stdout

    def outcomes(self, of_request):
        """Whether each tool call worked: {call id: bool} as `of_request` reads it from what the client told the model afterwards."""
        found = {}
        for request in self.mock.requests:
            found.update(of_request(request))
        return found

    def keep(self, protocol, switches, outcomes, inclusive, choose=lambda row: True, more=None):
        """Copies the requests that `choose` takes (all, unless a client sends far too much) and writes the ledger."""
        shutil.rmtree(self.target, ignore_errors=True)
        os.makedirs(self.target)
        for row in self.mock.ledger:
            for tool in row.get("tools", []):
                tool["success"] = outcomes.get(tool["id"])
        with open(os.path.join(self.raw, "requests.jsonl")) as f:
            rows = [json.loads(line) for line in f]
        files, hooks = [], []
        for row in rows:
            if "/hooks/" in row["path"]:
                os.makedirs(os.path.join(self.target, "hooks"), exist_ok=True)
                with open(os.path.join(self.raw, row["file"])) as f:
                    event = json.load(f)["hook_event_name"]
                hooks.append({"file": f"hooks/{len(hooks) + 1:03}-{event}.json", "event": event, "offset_s": row["t"]})
                shutil.copy(os.path.join(self.raw, row["file"]), os.path.join(self.target, hooks[-1]["file"]))
            if row["signal"] not in ("traces", "logs", "metrics") or not choose(row):
                continue
            file = f"{len(files) + 1:03}-{row['signal']}.{row['file'].rsplit('.', 1)[1]}"
            shutil.copy(os.path.join(self.raw, row["file"]), os.path.join(self.target, file))
            files.append({"file": file, "signal": row["signal"], "offset_s": row["t"], "bytes": row["bytes"], "path": row["path"],
                          "headers": {k: v for k, v in row["headers"].items() if k in HEADERS}})
        switches = {k: v.replace(self.sink_url, "{sink}").replace(self.model_url, "{model}") if isinstance(v, str) else v for k, v in switches.items()}
        ledger = {"session": f"{self.client}/{self.name}", "model": self.model, "protocol": protocol, "switches": switches, **(more or {}),
                  "input_includes_cached": inclusive, "runs": self.runs, "canaries": dict(sorted(self.canaries.items())),
                  "calls": self.mock.ledger, "files": files, **({"hooks": hooks} if hooks else {})}
        with open(os.path.join(self.target, "ledger.json"), "w") as f:
            json.dump(ledger, f, indent=1)
            f.write("\n")
        with open(os.path.join(self.raw, "model-requests.json"), "w") as f:
            json.dump(self.mock.requests, f, indent=1)
        size = sum(row["bytes"] for row in files)
        print(f"{self.client}/{self.name}: exits {[r['exit'] for r in self.runs]}, {len(self.mock.ledger)} calls, {len(files)} files, {size} bytes, "
              f"{sum(r['seconds'] for r in self.runs):.1f} s")


def fresh_home(files):
    """An empty scratch home with a project in it; `files` by path from the home."""
    shutil.rmtree(HOME, ignore_errors=True)
    os.makedirs(CWD)
    for path, content in files.items():
        path = os.path.join(HOME, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(content)


# what the agents of a terminal are asked, and what stands in their project
MCP_SERVER = os.path.join(HERE, "claude_code", "mcp_server.py")
PROMPT = "Look at the notes for {prompt} and tell me what they say."
ECHO = "Invalid input: the text 'Look at the notes for {prompt} and tell me what they say' is not allowed here. {apierror}"
FILES = {
    "project/notes.txt": "first line\nthe notes say {toolresult}\n",
    "project/fail.sh": 'echo "got $1" >&2\necho "{toolerror}" >&2\nexit 3\n',
}


def mcp_server(canaries):
    """(command, arguments) of the MCP server, and its environment."""
    python = os.path.dirname(os.path.realpath(sys.executable))
    return ["python3", f"{CWD}/mcp_server.py", canaries["mcpresult"], canaries["mcpdef"]], {"PATH": f"{python}:/usr/bin:/bin"}


def play(client, name, session, model, files, command, env, pace=0.2):
    """An agent of a terminal is asked one thing: the session, to be kept. `files`, `command` and `env` are made for it."""
    canaries = Canaries(f"{client}-{name}")
    lanes = canaries.fill({"main": {"marker": "{prompt}", "anywhere": True, "steps": session["steps"]}})
    with Session(client, name, json.loads(json.dumps(lanes).replace("{cwd}", CWD)), canaries, model, pace=pace) as s:
        fresh_home({**canaries.fill(FILES), **files(s, canaries)})
        shutil.copy(MCP_SERVER, CWD)
        prompt = canaries.fill(PROMPT)
        s.run(command(prompt), {**ALICE, **env(s)}, CWD, prompt, expect=session.get("exits", (0,)))
    return s


def installed(name):
    """The installed folder `name`, at a place that says nothing of the machine: clients tell their command line, stack traces their files."""
    to = f"{SCRATCH}/lib/{name}"
    shutil.rmtree(to, ignore_errors=True)
    os.makedirs(os.path.dirname(to), exist_ok=True)
    if not os.path.isdir(os.path.join(CACHE, name)):
        sys.exit(f"no {os.path.join(CACHE, name)}: run its install.sh first")
    is_near = os.stat(CACHE).st_dev == os.stat(SCRATCH).st_dev
    subprocess.run(["cp", "-al" if is_near else "-a", os.path.join(CACHE, name), to], check=True)
    return to


def anthropic_results(request):
    for message in request.get("messages", []):
        if isinstance(message.get("content"), list):
            for block in message["content"]:
                if block.get("type") == "tool_result":
                    yield block["tool_use_id"], not block.get("is_error", False)


def main(record, sessions):
    """The command line of a recording script: the named sessions, or all."""
    for name in sys.argv[1:] or list(sessions):
        record(name)
