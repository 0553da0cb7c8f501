"""What an auditor does, with stock tools and with the product's own: docs/auditors-guide.md word for word, erasure, copies of keys, evidence.

    audit.py [--s3]     with --s3 the vault is in radosgw, and the guide fetches it with the AWS command line
    audit.py --kms      the signing key and an auditor's are ciphertext of a KMS (moto's), made as documented: the gateway and the commands have it open them
"""
import argparse
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import CACHE, REPO, Gateway, Sink, Stock, canaries, check, credentials, figure, files, finish, free_port, keygen, outlet, read, read_json, recorded, say, start, status_of, tollgate, until, workdir, write, write_json  # noqa: E402
from locked_s3 import started, stopped  # noqa: E402
import load  # noqa: E402

GUIDE = os.path.join(REPO, "docs", "auditors-guide.md")


def blocks(s3):
    """The guide's commands, in order: blocks of `sh`, and those of `sh s3` where the vault is in S3."""
    found = re.findall(r"^```(\S*)[ \t]*(\S*)\n(.*?)^```$", read(GUIDE), re.M | re.S)
    return [text for kind, where, text in found if kind == "sh" and (where != "s3" or s3)]


def guide(work, name, env, s3=False, pasted=False, tail=-3000):
    """Runs the blocks in one shell, in a folder of its own, and nothing but the blocks: as a script, or as a reader pastes them into a shell of
    theirs. Whether it says that everything held, that something did not, what it printed, and its errors."""
    folder = os.path.join(work, name)
    os.makedirs(folder)
    script = "".join(blocks(s3))
    shell = ["bash", "--norc", "--noprofile", "-i"] if pasted else ["bash", "-c", script]
    done = subprocess.run(shell, cwd=folder, env={**os.environ, "PS1": "", **env}, input=script if pasted else "", capture_output=True, text=True, errors="replace",
                          start_new_session=pasted)
    # an interactive shell echoes what it reads
    not_held = re.search("^DOES NOT HOLD: ", done.stderr, re.M) is not None
    return "everything held" in done.stdout, not_held, done.stdout, done.stderr[tail:]


def guide_env(gateway, auditor, key, session_id, **more):
    """What the guide is told of a vault in a folder."""
    return {"AUDITOR": auditor, "KEY": key, "VAULT": gateway.store, "KEYS": gateway.store, "PREFIX": "", "SESSION": session_id, "ACCOUNT": "default", **more}


def kept(work, name, file):
    """A file that the guide made on its way."""
    with open(os.path.join(work, name, file)) as f:
        return f.read()


def run(*command, env=None):
    return tollgate("vault", *command, env=env)


def session(name):
    return recorded("claude-code")[name]


def filled(work, vault, env=None):
    """A gateway that two recorded sessions went through."""
    sink = Sink(os.path.join(work, "sink"))
    signing = os.path.join(work, "signing.key")
    key = keygen(signing, "--signing", "--name", "peer.example")
    gateway = Gateway(work, outlet(sink), vault={"signing_key": signing, **vault})
    gateway.start(env=env)
    gateway.replay_client("claude-code", "plain", "mixed")
    gateway.ends()
    return gateway, key


def guided(work, env, s3=False):
    """The guide finds what is there, and fails where something was changed."""
    plain = session("plain")
    held, not_held, out, why = guide(work, "guide", env, s3)
    check("the guide, word for word and alone: everything holds", held and not not_held and not why.strip(), why)
    held, not_held, _, why = guide(work, "guide-pasted", env, s3, pasted=True)
    check("so it does pasted into a shell", held and not not_held, why)
    missing = [c for c in canaries(plain) if c not in out]
    check("it shows what was said", not missing, str(missing))
    check("it counts fragments, commitments, digests; a root is compared", out.count("the root is theirs") >= 1
          and re.search(r"^digests: [1-9]\d*; objects of the index: [1-9]", out, re.M) and re.search(r"^fragments opened: [1-9]\d*; expired or erased by request: 0$", out, re.M)
          and re.search(r"^commitments compared: [1-9]", out, re.M), out[-600:])
    check("it proves a line", re.search("^proved: ", out, re.M), out[-600:])
    check("it finds no gap", "gap: " not in out, out[-600:])


def proved(work, env):
    """The files that the guide made for a third party prove their line, with the one block that such a person runs, and no changed file does."""
    block = next(text for text in blocks(False) if text.startswith("proved() ("))
    folder, copy = os.path.join(work, "guide", "proof"), os.path.join(work, "proof")

    def holds(key=env["KEY"]):
        return subprocess.run(["bash", "-c", block + 'proved "$1" "$2"', "bash", copy, key], capture_output=True, text=True).returncode == 0
    shutil.copytree(folder, copy)
    own = json.loads(kept(work, "guide", "own.ndjson").splitlines()[0])
    with open(os.path.join(copy, "line")) as f:
        line = json.loads(f.read())
    check("one line, for a third party: it is the session's, and proved by its own files alone", line == own and sorted(os.listdir(folder))
          and not set(os.listdir(folder)) - {"line", "note", "number", "path", "text", "sig", "key.der"} and holds(), str(os.listdir(folder)))
    other = keygen(os.path.join(work, "other.key"), "--signing", "--name", "other.example")
    refused = {"another key": not holds(other)}
    for name, change in (("line", lambda text: text.replace('"acme"', '"acne"').replace('"leaf":', '"leaf":1')), ("number", lambda text: f"{int(text) + 1}\n"),
                         ("number", lambda text: "99999999\n"), ("path", lambda text: text[65:]), ("path", lambda text: text + "0" * 64 + "\n"),
                         ("path", lambda text: text.replace("a", "b")), ("note", lambda text: text.replace("default", "team"))):
        path = os.path.join(copy, name)
        text = read(path)
        write(path, change(text))
        refused[f"{name} {change(text)[:20]!r}"] = change(text) != text and not holds()
        write(path, text)
    check("a changed line, number, path, checkpoint or key proves nothing", all(refused.values()) and holds(), str(refused))


def readme(gateway, key, place, env=None):
    """README's lines for the auditor, word for word but for names; each ends well, and the replay shows what was said."""
    with open(os.path.join(REPO, "README.md")) as f:
        block = f.read().split("## Open a vault object")[1].split("```console")[1].split("```")[0]
    lines = [line.split("  #")[0].strip() for line in block.splitlines() if re.match(r"tollgate vault (find|verify|replay) ", line)]
    check("README: find, verify, replay", [line.split()[2] for line in lines] == ["find", "verify", "replay"], str(lines))
    one = session("plain")
    users = [row["user_key"] for row in Stock(gateway.store, gateway.identity).rows() if row["user_key"]] if env is None else []
    user = users[0] if users else None
    where = place if "--keys" in place else [*place, "--keys", "s3://unused"]
    for line in lines:
        line = line.replace("30d", "3650d").replace("SESSION", one["session_ids"][0]).replace("auditor.key", gateway.identity).replace("openings.jsonl", os.path.join(gateway.work, "readme.jsonl"))
        line = re.sub(r"vault\.example\+\S+", key, line)
        line = line.replace("h-…", user) if user else line.replace("--user h-… ", "")
        words = [word for part in line.split()[2:] for word in (where if part == '"${V[@]}"' else [part])]
        code, out, why = run(*words, env=env)
        said = words[0] != "replay" or all(c in out for c in canaries(one))
        check(f"README, as it stands: {words[0]}", code == 0 and out.strip() and said, f"exit {code}: {out[-300:]} {why}")


def tampered(work, env):
    """Each change makes the guide say what does not hold: a check that can't fail is none."""
    def flip(path, at):
        with open(path, "r+b") as f:
            f.seek(at, 2 if at < 0 else 0)
            byte = f.read(1)
            f.seek(at, 2 if at < 0 else 0)
            f.write(bytes([byte[0] ^ 1]))

    def pick(root, folder, ending, nth=0):
        return files(f"{folder}/**/*{ending}", root)[nth]

    def named(vault):
        """An object of the index and, behind the newest digest, one that names it, which nobody signed."""
        before = pick(vault, "chain", ".json", -1)
        digest = json.loads(read(before, "rb"))
        number, lines = digest["n"] + 1, os.path.join(vault, "index", "v1", "account=default", "dt=2020-01-01", "gw-X-0000000000.ndjson.zst")
        os.makedirs(os.path.dirname(lines))
        shutil.copy(pick(vault, "index", ".zst"), lines)
        with open(lines, "rb") as f, open(before, "rb") as g:
            index = {"key": os.path.relpath(lines, vault), "sha256": hashlib.sha256(f.read()).hexdigest()}
            prev = {"epoch": digest["epoch"], "n": digest["n"], "sha256": hashlib.sha256(g.read()).hexdigest()}
        path = os.path.join(os.path.dirname(before), f"{number:010d}.json")
        write_json(path, {**digest, "n": number, "prev": prev, "index": index, "objects": []})
        shutil.copy(f"{before}.sig", f"{path}.sig")

    changes = {
        "a byte of payload": lambda v: [flip(path, -3) for path in files("**/*.agev", v)],
        "a digest": lambda v: flip(pick(v, "chain", ".json", -1), 40),
        "a signature": lambda v: flip(pick(v, "chain", ".sig", -1), 5),
        "a digest removed": lambda v: os.remove(pick(v, "chain", ".json", 0)),
        "a byte of the index": lambda v: flip(pick(v, "index", ".zst"), -9),
        "an index object planted": lambda v: shutil.copy(pick(v, "index", ".zst"), pick(v, "index", ".zst").replace("-00000", "-90000")),
        "a digest that names it": named,
        "no digest at all": lambda v: shutil.rmtree(os.path.join(v, "chain")),
        "a key": lambda v: [os.remove(path) for path in files("keys/**/*.*", v)],
    }
    for number, (what, change) in enumerate(changes.items()):
        copy = os.path.join(work, f"tampered-{number}")
        shutil.copytree(env["VAULT"], copy)
        change(copy)
        for how, pasted in (("as a script", False), ("pasted", True)):
            held, not_held, out, why = guide(work, f"guide-{number}-{pasted}", {**env, "VAULT": copy, "KEYS": copy}, pasted=pasted)
            check(f"the guide says what does not hold, {how}: {what}", not_held and not held, why)
            unsigned = pick(copy, "chain", ".json", -1) if what in ("a digest", "a digest that names it") else "none"
            check(f"no root of a digest that nobody signed is called theirs, {how}: {what}", f"{unsigned}:" not in out, out[-600:])
        shutil.rmtree(copy)


def pack(path, *lines):
    """An index object of these lines; its hash."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    subprocess.run(["zstd", "-q", "-f", "-o", path], input="".join(json.dumps(line) + "\n" for line in lines).encode(), check=True)
    return hashlib.sha256(read(path, "rb")).hexdigest()


def planted(work, env):
    """What somebody planted who may only write is told and not read; what a stolen signing key signed leads nowhere, and runs nothing."""
    copy, pwned = os.path.join(work, "planted"), os.path.join(work, "pwned")
    shutil.copytree(env["VAULT"], copy)
    copied = {**env, "VAULT": copy, "KEYS": copy}
    with open(os.path.join(work, "guide", "own.ndjson")) as f:
        own = next(json.loads(line) for line in f if '"object_key":"' in line)
    index = f"index/v1/account={env['ACCOUNT']}/dt=2020-01-01"
    zero = os.path.relpath("/dev/zero", copy)
    pack(os.path.join(copy, index, "gw-01M80RFPFAR1S474BAP6HMJD7X-0000000000.ndjson.zst"), {**own, "object_key": zero, "off": 0, "len": 10**14})
    held, not_held, _, why = guide(work, "guide-planted", copied)
    check("a planted line is told, and read by nobody", not_held and not held and "in no signed digest" in why
          and all(kept(work, "guide-planted", file) == kept(work, "guide", file) for file in ("own.ndjson", "fragments.tsv", "session.ndjson")), why)

    escape = "\x1b]0;PWNED\x07\x1b[2J\x9b\nx"
    chain = os.path.dirname(os.path.relpath(next(os.path.join(d, f) for d, _, fs in os.walk(os.path.join(copy, "chain")) for f in fs), copy))
    for name in (f"{index}/{escape}.ndjson.zst", f"{index}/{escape}", f"{chain}/{escape}.json"):
        with open(os.path.join(copy, name), "wb") as f:
            f.write(b"junk")
    with open(os.path.join(copy, chain, f"{escape}.big.json"), "wb") as f:
        f.truncate(10**10)
    began = time.monotonic()
    held, not_held, out, why = guide(work, "guide-escape", copied)
    controls = re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f]", out + why)
    check("names of planted objects don't drive the terminal", not_held and not held and not controls and (out + why).count("PWNED") == 4, f"{controls} {why}")
    check("a digest of 10 GB is not read", time.monotonic() - began < 60)
    shutil.rmtree(copy)

    outside = os.path.join(work, "outside.agev")
    with open(outside, "wb") as f:
        f.write(b"outside")
    lead_out = {"object_key": f"{env['ACCOUNT']}/{os.path.relpath(outside, os.path.join(copy, env['ACCOUNT']))}", "off": 0, "len": 7,
                "ct_sha256": hashlib.sha256(b"outside").hexdigest()}
    hostile = {
        "an object outside": (lead_out, "no gateway gives such names"),
        "a device": ({"object_key": zero, "off": 0, "len": 10**14}, "is no place for content"),
        "an object at a path from the root": ({"object_key": outside, "off": 0, "len": 7}, "is no place for content"),
        "a line feed in a name": ({"object_key": own["object_key"] + "\n../x"}, "no gateway gives such names"),
        "a key outside": ({"key_id": "../../x"}, "no gateway gives such names"),
        "more than there is": ({"len": 10**14}, "has no 100000000000000 bytes"),
        "a command": ({"off": f"a[$(touch {pwned})]"}, "was not compared"),
        "a digest's name outside": (None, "no gateway's name"),
    }
    shutil.copytree(env["VAULT"], copy)
    for number, (what, (change, phrase)) in enumerate(hostile.items()):
        if change is None:
            resigned(copy, work, {"objects": [{"key": zero, "version_id": None, "size": 1, "sha256": "0" * 64}], "index": None})
        else:
            name = f"{index}/peer-01M80RFPFAR1S474BAP6HMJD7X-{number:010d}.ndjson.zst"
            resigned(copy, work, {"index": {"key": name, "version_id": None, "sha256": pack(os.path.join(copy, name), {**own, **change}), "first_leaf": 0, "leaves": 1},
                                  "objects": []})
    held, not_held, out, why = guide(work, "guide-hostile", copied, tail=None)
    for what, (_, phrase) in hostile.items():
        check(f"signed with a stolen key: {what}", phrase in why and not_held and not held, why)
    check("a line runs nothing", not os.path.exists(pwned))
    shutil.rmtree(copy)


def resigned(vault, work, changed):
    """Another digest behind the newest, signed with the gateway's key; its root is not right."""
    before = files("chain/**/*.json", vault)[-1]
    body = read(before, "rb")
    digest, der = json.loads(body), os.path.join(work, "stolen.der")
    digest.update(n=digest["n"] + 1, prev={"epoch": digest["epoch"], "n": digest["n"], "sha256": hashlib.sha256(body).hexdigest()}, sessions=None, **changed)
    path = os.path.join(os.path.dirname(before), f"{digest['n']:010d}.json")
    write_json(path, digest)
    with open(os.path.join(work, "signing.key")) as f, open(der, "wb") as out:
        out.write(bytes.fromhex("302e020100300506032b657004220420") + base64.b64decode(f.read().split()[-1].split("+", 4)[4])[-32:])
    subprocess.run(["openssl", "pkeyutl", "-sign", "-inkey", der, "-keyform", "DER", "-rawin", "-in", path, "-out", f"{path}.sig"], check=True)


def gaps(work, env):
    """A digest that comes later than the one before promised, and one that nothing followed, are gaps; each is told with its times, and is no failed check."""
    copy = os.path.join(work, "gaps")
    shutil.copytree(env["VAULT"], copy)
    newest = read_json(files("chain/**/*.json", copy)[-1])
    for year, due in (("2030", "2030-01-01T01:11:00Z"), ("2031", "2099-01-01T00:00:00Z"), ("2032", "2026-01-01T00:00:00Z")):
        resigned(copy, work, {"final": False, "index": None, "objects": [], "start": newest["end"], "end": f"{year}-01-01T00:00:00Z",
                              "counters": {**newest["counters"], "next_by": due}})
    _, _, out, why = guide(work, "guide-gaps", {**env, "VAULT": copy, "KEYS": copy})
    told = re.findall("^gap: (.*?):? *chain/", out, re.M)
    check("the guide tells gaps from a silence", told == ["no digest from 2030-01-01T00:00:00Z to 2031-01-01T00:00:00Z, and one was due by 2030-01-01T01:11:00Z",
                                                          "no digest since 2032-01-01T00:00:00Z, and one was due by 2026-01-01T00:00:00Z"], f"{told} {why}")
    check("gaps are no failed checks", "gap" not in why, why)
    shutil.rmtree(copy)


ODD = "../a b~%é!'$(x)*"


def layouts(work):
    """Vaults of each layout, of two accounts that share sessions' names, one of them a reserved word: the guide opens the one that it was asked for."""
    for layout in ("packed", "turn", "session"):
        folder = os.path.join(work, layout)
        gateway, key = loaded(folder, {"layout": layout}, {account: [f"token-of-{account}-0123456789"] for account in ("keys", "other")})
        for account in ("keys", "other"):
            send(gateway, [f"{account}-{n}" for n in range(4)], ODD, authorization=f"Bearer token-of-{account}-0123456789")
            until("drained", gateway.drained, 60)
        check(f"{layout}: a clean end", gateway.stop() == 0)
        honest(gateway, [key])
        env = guide_env(gateway, gateway.identity, key, ODD, ACCOUNT="keys")
        for how, pasted in (("as a script", False), ("pasted", True)):
            held, not_held, out, why = guide(folder, f"guide-{pasted}", env, pasted=pasted)
            said = {account: [load.canary(f"{account}-{n}") in out for n in range(0, 4, 2)] for account in ("keys", "other")}
            check(f"{layout}: an honest vault holds, {how}", held and not not_held, why)
            check(f"{layout}: it shows this account's session, and no other's, {how}", all(said["keys"]) and not any(said["other"]), str(said))
        moves(folder, gateway, env)


def moves(work, gateway, env):
    """Signed digests in another's place."""
    def chain(vault, *path):
        return os.path.join(vault, "chain", *path)

    def swap(vault):
        for a, b in (("%6Beys", "x"), ("other", "%6Beys"), ("x", "other")):
            os.rename(chain(vault, a), chain(vault, b))

    def replay(vault):
        folder = next(d for d, _, fs in os.walk(chain(vault, "%6Beys")) if fs)
        for ending in (".json", ".json.sig"):
            shutil.copy(os.path.join(folder, f"0000000000{ending}"), os.path.join(folder, f"0000000099{ending}"))
    for what, change in {"swapped between accounts": swap, "moved": lambda v: os.rename(chain(v, "other"), chain(v, "third")),
                         "replayed behind an epoch's end": replay}.items():
        copy = os.path.join(work, what)
        shutil.copytree(gateway.store, copy)
        change(copy)
        held, not_held, _, why = guide(work, f"guide {what}", {**env, "VAULT": copy, "KEYS": copy})
        check(f"the guide sees digests {what}", not_held and not held and "another place" in why, why)


def loaded(work, vault, tokens=None):
    """A gateway of one layout that runs, and its public key."""
    os.makedirs(work)
    sink, signing = Sink(os.path.join(work, "sink")), os.path.join(work, "signing.key")
    key = keygen(signing, "--signing", "--name", "peer.example")

    def change(config):
        if tokens:
            config["receivers"]["otlp"]["auth"] = {"tokens": tokens}
    gateway = Gateway(work, outlet(sink), vault={"signing_key": signing, **vault}, change=change)
    return gateway.start(), key


def send(gateway, ids, session_id, **headers):
    """Spans of two sessions, the first of this id."""
    request = load.request("traces", ids)
    for span in request.resource_spans[0].scope_spans[0].spans:
        for attribute in span.attributes:
            if attribute.value.string_value == "load-session-0":
                attribute.value.string_value = session_id
    check("accepted", gateway.post("traces", request.SerializeToString(), **headers)[0] == 200)


def honest(gateway, keys, *more):
    code, out, why = run("verify", "--store", gateway.store, "--identity", gateway.identity, "--log", "none", *(word for key in keys for word in ("--key", key)), *more)
    check("verify: an honest vault", code == 0, out[-600:] + why)


def aged(work):
    """A vault in a folder with spaces, whose signing key was rotated and whose oldest objects outlived their retention."""
    folder = os.path.join(work, "a  folder of mine")
    gateway, old = loaded(folder, {})
    send(gateway, [f"old-{n}" for n in range(4)], "one session")
    until("drained", gateway.drained, 60)
    time.sleep(1.5)  # a digest of it
    gateway.stop()
    signing = os.path.join(folder, "signing2.key")
    new = keygen(signing, "--signing", "--name", "peer.example")
    gateway.config["processors"]["vault"]["signing_key"] = signing
    gateway.write()
    gateway.start()
    send(gateway, [f"new-{n}" for n in range(4)], "one session")
    until("drained", gateway.drained, 60)
    time.sleep(1.5)
    gateway.stop()
    honest(gateway, [old, new])
    env = guide_env(gateway, gateway.identity, f"{old}\n{new}\n", "one session")
    held, not_held, out, why = guide(folder, "guide", env)
    check("a rotated key, a folder with spaces: all holds, both keys' lines are shown", held and not not_held and not why.strip()
          and all(load.canary(one) in out for one in ("old-0", "new-0")), why)
    for one in (old, new):
        held, not_held, _, why = guide(folder, f"guide {one[-5:]}", {**env, "KEY": one})
        check("with one key of two it says whose digests it can't tell", not_held and not held and "not signed by a key of KEY" in why, why)

    ends = {}
    for digest in map(read_json, files("chain/**/*.json", gateway.store)):
        ends.setdefault(digest["epoch"], []).append(digest["end"])
    epoch, later = sorted(ends)
    # the first moment in whole seconds that is behind the old epoch; the new one began when the old had ended
    expired = max(ends[epoch])[:19] + "Z"
    expired = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1 + time.mktime(time.strptime(expired, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone))

    def gone(what, *, index=True, payload=True):
        copy = os.path.join(folder, what)
        shutil.copytree(gateway.store, copy)
        for path in (files(f"**/*{epoch}*.agev", copy) if payload else []) + (files(f"index/**/*{epoch}*", copy) if index else []):
            os.remove(path)
        return {**env, "VAULT": copy, "KEYS": copy, "EXPIRED": expired}
    past = gone("expired")
    code, out, why = run("verify", "--store", past["VAULT"], "--expired", expired, "--key", old, "--key", new)
    check("verify: what expired is no failure", code == 0, out[-600:] + why)
    held, not_held, out, why = guide(folder, "guide expired", past)
    check("what is past its retention is counted, and all holds", held and not not_held and re.search("objects past their retention and gone: [1-9]", out)
          and load.canary("new-0") in out, out[-900:] + why)
    held, not_held, out, why = guide(folder, "guide payload", gone("payload", index=False))
    check("content that is past its retention is counted", held and not not_held and re.search("expired or erased by request: [1-9]", out), out[-900:] + why)
    declared = {**gone("declared"), "EXPIRED": ""}
    newest = read_json(files("chain/**/*.json", declared["VAULT"])[-1])
    resigned(declared["VAULT"], folder, {"start": newest["end"], "index": None, "objects": [], "counters": {**newest["counters"], "expired_before": expired}})
    code, out, why = run("verify", "--store", declared["VAULT"], "--key", old, "--key", new)
    check("verify: what a digest declares as expired is no failure", code == 0 and "warning content_expired" in out, out[-600:] + why)
    held, not_held, out, why = guide(folder, "guide declared", declared)
    check("nor is it in the guide", held and not not_held and re.search("objects past their retention and gone: [1-9]", out) and "when it is full" in out, out[-900:] + why)
    for what, moment in (("before its time", min(ends[epoch])[:19] + "Z"), ("where nothing may be gone", "")):
        held, not_held, out, why = guide(folder, f"guide {what}", {**past, "EXPIRED": moment})
        check(f"what is gone {what} is told", not_held and not held and "signed, and gone" in why, why)
    held, not_held, out, why = guide(folder, "guide 400d", {**past, "EXPIRED": "400d"})
    check("a moment that is none lets nothing expire", not_held and not held and "EXPIRED is no moment" in why and "signed, and gone" in why, why)
    path = files(f"**/*{epoch}*.agev", gateway.store)[0]
    with open(path, "r+b") as f:
        f.seek(-3, 2)
        f.write(b"xyz")
    held, not_held, out, why = guide(folder, "guide changed", {**env, "EXPIRED": expired})
    check("what was changed is told, also past its retention", not_held and not held and "not what was signed" in out + why, why)


def erasure(work, gateway, key, place, store, s3=None):
    """docs/erasure.md: request, two signatures, deed; what verify says before and after."""
    public = {}
    for name in ("alice", "bob", "erase.example"):
        public[name] = keygen(os.path.join(work, f"{name}.key"), "--signing", "--name", name)
    erasers, request = os.path.join(work, "erasers"), os.path.join(work, "request")
    write(erasers, f"{public['alice']}\n{public['bob']}\n")
    victim, other = session("plain")["session_ids"][0], session("mixed")["session_ids"][0]
    why = ["--requested-by", "data protection officer", "--reason", "Art. 17 GDPR, ticket 4711"]
    code, out, said = run("erase", victim, "--request", *why, "--output", request, *place, env=s3)
    check("a request is made", code == 0 and " 1 key;" in out, out + said)
    deed = ["--execute", request, "--erasers", erasers, "--sign-with", os.path.join(work, "erase.example.key"), *place]
    if s3:  # as long as the gateway's own chain
        deed += ["--lock-days", "100"]
    run("erase", "--sign", request, "--yes", "--key", os.path.join(work, "alice.key"))
    code, _, said = run("erase", *deed, env=s3)
    check("with one signature it is refused", code == 1 and "signed by 1" in said, said)
    code, out, said = run("erase", "--sign", request, "--yes", "--key", os.path.join(work, "bob.key"))
    check("the second eraser signs", code == 0, said)
    keys = [word for one in [*key.split(), public["erase.example"]] for word in ("--key", one)]
    verify = ["verify", *keys, "--erasers", erasers, "--identity", gateway.identity, "--json", *place]
    code, out, said = run("erase", *deed, env=s3)
    check("signed by two it is done", code == 0 and "1 key destroyed" in out, out + said)
    code, out, said = run(*verify, env=s3)
    report = json.loads(out or "{}")
    check("verify: destroyed by request, nothing else to say", code == 0 and not report["findings"] and report["erasures"][0]["fragments"] > 0
          and report["erasures"][0]["finished_at"], said + str(report)[:1500])
    opener = ["--identity", gateway.identity, *place]
    code, out, _ = run("replay", victim, *opener, env=s3)
    check("the session shows its lines, who erased it, and no content", code == 0 and "ticket 4711" in out and not any(c in out for c in canaries(session("plain"))), out[-800:])
    code, out, said = run("replay", other, *opener, env=s3)
    check("the other session opens", code == 0 and "not read" not in out, said)
    return public["erase.example"]


def after_erasure(work, env, key, eraser):
    """Somebody's session was erased: the guide says so, and no other session is worse for it."""
    both = {**env, "KEY": f"{key}\n{eraser}"}
    held, not_held, out, why = guide(work, "guide-erased", both)
    check("the guide: the session was erased by request", held and not not_held and re.search("^fragments opened: 0; expired or erased by request: [1-9]", out, re.M), out[-600:] + why)
    held, not_held, out, why = guide(work, "guide-other", {**both, "SESSION": session("mixed")["session_ids"][0]})
    check("the guide: after an erasure another session holds", held and not not_held and re.search("^fragments opened: [1-9][0-9]*; expired or erased by request: 0$", out, re.M), out[-600:] + why)
    held, not_held, _, why = guide(work, "guide-unsaid", env)
    check("without the erasers' key their chain is told, and the session's keys are missing", not_held and not held and "no key for" in why, why)


def rewrapped(work, gateway, place, key, env=None):
    """Another auditor opens what was written before."""
    late = os.path.join(work, "late.key")
    recipient = keygen(late)
    one = session("mixed")["session_ids"][0]
    lock = ["--lock-days", "100"] if env else []  # a store in S3, whose bucket locks nothing by default
    signing = os.path.join(work, "rewrap.key")
    public = keygen(signing, "--signing", "--name", "rewrap.example")
    code, out, why = run("rewrap", "--identity", gateway.identity, "--recipient", recipient, "--sign-with", signing, *lock, *place, env=env)
    check("rewrap makes copies, and tells them in its chain", code == 0 and "0 already present" in out and "2 recorded" in out, out + why)
    code, out, why = run("replay", one, "--identity", late, *place, env=env)
    check("then the later auditor does", code == 0 and all(c in out for c in canaries(session("mixed"))), why)
    code, out, why = run("verify", "--key", key, "--key", public, "--identity", late, *place, env=env)
    check("and verifies it", code == 0, out[-600:] + why)
    return public


def schema(gateway):
    """Every line holds against the published schema, by a stock validator."""
    import jsonschema
    code, out, why = run("schema")
    check("vault schema prints what is published", code == 0 and out == open(os.path.join(REPO, "docs", "index-schema.json")).read(), why)
    validator = jsonschema.Draft202012Validator(json.loads(out))
    validator.check_schema(json.loads(out))
    rows = Stock(gateway.store, gateway.identity).rows()
    wrong = [error.message for row in rows for error in validator.iter_errors(row)]
    check("every index line holds against it", rows and not wrong, str(wrong[:3]))
    bad = {**next(row for row in rows if row["kind"] == "payload"), "ct_sha256": None}
    check("a wrong line does not", not validator.is_valid(bad))


def evidence(work, gateway, key, place, env=None):
    """A bundle for the period: complete, signed, checked by stock tools."""
    bundle, signing, anchored = os.path.join(work, "bundle"), os.path.join(work, "evidence.key"), os.path.join(work, "now.anchor")
    public = keygen(signing, "--signing", "--name", "evidence.example")
    run("anchor", "--key", key, "--sign-with", signing, "--output", anchored, *place, env=env)
    period = ["--from", "2026-01-01", "--to", "2100-01-01"]
    given = ["--key", key, "--identity", gateway.identity, "--anchor", anchored, "--anchor-key", public, "--attach", gateway.config_path, "--sign-with", signing]
    code, out, why = run("evidence", *period, *given, "--output", bundle, *place, env=env)
    check("evidence is made, and the vault verifies", code == 0 and "; verified" in out, out + why)
    done = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=bundle, capture_output=True, text=True)
    manifest = read_json(os.path.join(bundle, "manifest.json"))
    there = {os.path.relpath(os.path.join(d, f), bundle) for d, _, fs in os.walk(bundle) for f in fs}
    named = {file["name"] for file in manifest["files"]} | {"manifest.json", "manifest.json.sig", "manifest.json.key", "SHA256SUMS"}
    check("every file stands in the manifest with its hash", done.returncode == 0 and there == named, done.stderr + str(there ^ named))
    der = os.path.join(work, "evidence.der")
    script = "(printf '\\x30\\x2a\\x30\\x05\\x06\\x03\\x2b\\x65\\x70\\x03\\x21\\x00'; echo \"$1\" | cut -d+ -f3- | base64 -d | tail -c 32) > \"$2\""
    subprocess.run(["bash", "-c", script, "-", public, der], check=True)
    done = subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", der, "-keyform", "DER", "-rawin", "-in", os.path.join(bundle, "manifest.json"),
                           "-sigfile", os.path.join(bundle, "manifest.json.sig")], capture_output=True, text=True)
    check("openssl checks the manifest's signature", done.returncode == 0, done.stderr)

    everything = b"".join(open(os.path.join(bundle, name), "rb").read() for name in there)
    leaked = [c for name in ("plain", "mixed") for c in canaries(session(name)) if c.encode() in everything]
    check("no content is in it", not leaked, str(leaked))


def opens(identity, path):
    """Whether stock age opens a file with this identity."""
    return subprocess.run(["age", "-d", "-i", identity, path], capture_output=True).returncode == 0


def together(work):
    """Two of three auditors: one of them opens nothing; the shares open with stock age, the guide's program combines them, and with its keys the guide holds."""
    work = os.path.join(work, "together")
    os.makedirs(work)
    identity = {name: os.path.join(work, f"{name}.key") for name in ("alice", "bob", "carol")}
    public = {name: keygen(path) for name, path in identity.items()}
    gateway, key = filled(work, {"recipients": {"threshold": 2, "of": list(public.values())}})
    one, place = session("plain"), ["--store", gateway.store, "--log", "none"]
    name = one["session_ids"][0]
    env = guide_env(gateway, identity["alice"], key, name)
    held, not_held, out, why = guide(work, "guide-alone", env)
    check("together: the guide opens nothing for one of them", not held and not_held and "no key for" in why and not any(c in out for c in canaries(one)), why)
    lines = {person: b"" for person in identity}
    for path in files("keys/**/*.age", gateway.store):
        with open(path) as f:
            shares = [base64.b64decode(share["age"]) for share in json.load(f)["shares"]]
        for person, file in identity.items():
            opened = [done.stdout for done in (subprocess.run(["age", "-d", "-i", file], input=share, capture_output=True) for share in shares) if done.returncode == 0]
            check(f"together: stock age opens one share of {os.path.basename(path)} for {person}", len(opened) == 1, str(len(opened)))
            lines[person] += b"".join(opened)
    program = re.search(r"^```python\n(.*?)^```$", read(GUIDE), re.M | re.S).group(1)
    combined = subprocess.run([sys.executable, "-c", program], input=lines["alice"] + lines["carol"], capture_output=True)
    keys = os.path.join(work, "opened.keys")
    with open(keys, "wb") as f:
        f.write(combined.stdout)
    publics = {json.loads(line)["public"] for line in lines["alice"].splitlines()}
    shown = subprocess.run(["age-keygen", "-y", keys], capture_output=True, text=True).stdout
    check("together: the guide's program gives the keys that the shares name", combined.returncode == 0 and set(shown.split()) == publics, combined.stderr.decode())
    held, not_held, out, why = guide(work, "guide-together", {**env, "OPENED": keys})
    check("together: with them everything in the guide holds", held and not not_held and all(c in out for c in canaries(one)), why)
    code, out, why = run("replay", name, *place, "--identity", identity["alice"])
    check("together: replay opens nothing for one", code == 1 and "1 of the 2 shares" in out + why and not any(c in out for c in canaries(one)), why)
    for person in ("alice", "bob"):
        args = [name, *place, "--identity", identity[person], "--identity", identity["carol"]]
        code, out, why = run("replay", *args)
        check(f"together: nor for {person} and carol without a request", code == 1 and "signed request" in out + why and not any(c in out for c in canaries(one)), out + why)
    requested(work, gateway, key, identity, public)


def requested(work, gateway, key, identity, public):
    """docs/vault.md, with the commands: a request, two signatures, a share, an opening that is listed and verified. (Refusals are in crates/audit.)"""
    one, place = session("plain"), ["--store", gateway.store, "--log", "none"]
    name, file, share, openers = one["session_ids"][0], *(os.path.join(work, end) for end in ("s0.request", "bob.share", "openers"))
    signing = {who: os.path.join(work, f"{who}.sign") for who in ("alice", "bob", "openings.example")}
    signer = {who: keygen(path, "--signing", "--name", who) for who, path in signing.items()}
    write(openers, f"{signer['alice']}\n{signer['bob']}\n")
    give = ["share", file, *place, "--openers", openers, "--sign-with", signing["openings.example"], "--identity", identity["bob"],
            "--recipient", public["alice"], "--output", share]
    for what, command, said in (
            ("a request is made", ["open-request", name, "--reason", "incident 4711", "--store", gateway.store, "--key", signing["alice"], "--output", file], name),
            ("another person approves what is shown", ["approve", file, "--yes", "--key", signing["bob"]], "incident 4711"),
            ("one gives shares to another", give, ""),
            ("who opens with them", ["replay", name, *place, "--identity", identity["alice"], "--share", share], canaries(one)[0]),
            ("it is listed", ["openings", "--store", gateway.store, "--key", signer["openings.example"]], "signed by alice, bob"),
            ("and verified", ["verify", "--store", gateway.store, "--key", key, "--key", signer["openings.example"], "--openers", openers], "opened by request")):
        code, out, why = run(*command)
        check(f"openings: {what}", code == 0 and said in out, out[-600:] + why)
    check("openings: a share is its recipient's", os.stat(share).st_mode & 0o777 == 0o600 and not opens(identity["carol"], share))
    env = guide_env(gateway, identity["alice"], f"{key} {signer['openings.example']}", name, OPENED=os.path.join(work, "opened.keys"))
    held, not_held, _, why = guide(work, "guide-openings", env)
    check("openings: the guide holds beside them", held and not not_held, why)


def folder(work):
    gateway, key = filled(work, {})
    schema(gateway)
    place = ["--store", gateway.store]
    env = guide_env(gateway, gateway.identity, key, session("plain")["session_ids"][0])
    guided(work, env)
    proved(work, env)
    tampered(work, env)
    planted(work, env)
    gaps(work, env)
    readme(gateway, key, place)
    evidence(work, gateway, key, place)
    copier = rewrapped(work, gateway, place, key)
    env["KEY"] = key = f"{key} {copier}"
    held, not_held, _, why = guide(work, "guide-late", {**env, "AUDITOR": os.path.join(work, "late.key")})
    check("the guide: a later auditor's copies open", held and not not_held, why)
    after_erasure(work, env, key, erasure(work, gateway, key, place, gateway.store))
    layouts(work)
    aged(work)
    together(work)


def s3(work):
    rgw = os.path.join(work, "rgw")
    line = started("radosgw", rgw)
    try:
        bucket, keys = line["buckets"][:2]
        settings = {"bucket": bucket, "key_bucket": keys, "prefix": "agent-sessions", "region": line["region"], "endpoint": line["endpoint"],
                    "force_path_style": True, "object_lock": {"mode": "compliance", "retention": "100d"}}

        gateway, key = filled(work, {"store": {"s3": settings}}, credentials(line["writer"]["access_key"], line["writer"]["secret_key"]))
        admin = credentials(line["access_key"], line["secret_key"])
        place = ["--store", f"s3://{bucket}/agent-sessions", "--keys", f"s3://{keys}", "--region", line["region"], "--endpoint", line["endpoint"], "--force-path-style"]
        tools = os.path.join(CACHE, "venv-aws", "bin")
        env = {**admin, "PATH": f"{tools}:{os.environ['PATH']}", "AWS_ENDPOINT_URL": line["endpoint"], "AWS_REGION": line["region"], "AUDITOR": gateway.identity,
               "KEY": key, "BUCKET": bucket, "KEY_BUCKET": keys, "PREFIX": "agent-sessions/", "SESSION": session("plain")["session_ids"][0], "ACCOUNT": "default",
               "VAULT": os.path.join(work, "fetched"), "KEYS": os.path.join(work, "fetched-keys")}
        guided(work, env, s3=True)
        readme(gateway, key, place, admin)
        evidence(work, gateway, key, place, admin)
        copier = rewrapped(work, gateway, place, key, admin)
        erasure(work, gateway, f"{key} {copier}", place, bucket, admin)
    finally:
        stopped(line)


def documented(page, words):
    """The line of a page that holds these words, without its comment."""
    with open(os.path.join(REPO, "docs", page)) as f:
        return next(line for line in f if words in line).split("   #")[0].strip()


def plain_keys(folder):
    """Files that hold a secret key as tollgate makes them."""
    return [path for path in files("**/*", folder) if os.path.isfile(path) and re.search(rb"AGE-SECRET-KEY-1|PRIVATE\+KEY\+", read(path, "rb"))]


def kms(work):
    """Keys that lie as ciphertext, made by the documented commands: a gateway signs with one, an auditor opens with the other."""
    tools, keys = os.path.join(CACHE, "venv-aws", "bin"), os.path.join(work, "keys")
    os.makedirs(keys)
    port = free_port()
    start([os.path.join(tools, "moto_server"), "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until("moto listens", lambda: status_of(f"http://127.0.0.1:{port}/"), 60, 0.2)
    url = f"http://127.0.0.1:{port}"
    env = {**credentials(), "PATH": f"{tools}:{os.environ['PATH']}", "AWS_ENDPOINT_URL": url, "AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-central-1"}

    def shell(command):
        return subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=keys, env=env, capture_output=True, text=True)
    made = shell("aws kms create-key --query KeyMetadata.Arn --output text")
    arn = made.stdout.strip()
    made = shell(f"aws kms create-alias --alias-name alias/tollgate --target-key-id {arn}")
    check("the KMS makes a key", made.returncode == 0, made.stderr)
    key = keygen(os.path.join(keys, "signing.key"), "--signing", "--name", "peer.example")
    recipient = keygen(os.path.join(keys, "auditor.key"))
    encrypt, plain = documented("vault.md", "aws kms encrypt"), {}
    for name in ("signing.key", "auditor.key"):
        with open(os.path.join(keys, name), "rb") as f:
            plain[name] = f.read()
        done = shell(f"{encrypt.replace('signing.key', name)}; {documented('vault.md', 'shred -u').replace('signing.key', name)}")
        check(f"{name}: docs/vault.md's command makes ciphertext of it", done.returncode == 0 and os.path.getsize(os.path.join(keys, f"{name}.kms")) > 0, done.stderr)
    check("no key lies there in plain text", os.listdir(keys) and not plain_keys(keys), str(plain_keys(keys)))

    opens = {"region": "eu-central-1", "endpoint": url, "key_id": arn, "encryption_context": {"purpose": "tollgate"}}
    vault = {"signing_key": os.path.join(keys, "signing.key.kms"), "signing_key_kms": opens, "recipients": [recipient], "forward": "after_put"}
    gateway, _ = filled(work, vault, credentials())
    # the region from the environment, then from an option; the endpoint likewise
    sealed = ["--store", gateway.store, "--identity-kms", os.path.join(keys, "auditor.key.kms"), "--kms-encryption-context", "purpose=tollgate"]
    code, out, why = run("verify", *sealed, "--key", key, env=env)
    check("what the gateway signed with it verifies, opened", code == 0 and re.search(r"opened", out), out[-600:] + why)
    one = session("plain")
    code, out, why = run("replay", one["session_ids"][0], *sealed, "--key", key, "--kms-region", "eu-central-1", "--kms-endpoint", url, "--kms-key-id", arn, env=credentials())
    check("a session is replayed", code == 0 and all(c in out for c in canaries(one)), f"exit {code}: {why}")
    check("still no key lies there in plain text", not plain_keys(keys) and not plain_keys(gateway.data) and not plain_keys(gateway.store))
    done = shell(documented("auditors-guide.md", "aws kms decrypt").replace("--query", "--encryption-context purpose=tollgate --query"))
    check("docs/auditors-guide.md's command brings the auditor's back for stock tools", done.returncode == 0 and read(os.path.join(keys, "auditor.key"), "rb") == plain["auditor.key"], done.stderr)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--s3", action="store_true")
    p.add_argument("--kms", action="store_true")
    a = p.parse_args()
    say(f"audit: the auditor's side, {'radosgw' if a.s3 else 'a KMS' if a.kms else 'a folder'}")
    work = workdir("audit")
    figure("blocks of the guide", len(blocks(a.s3)))
    (s3 if a.s3 else kms if a.kms else folder)(work)
    finish(work)


if __name__ == "__main__":
    main()
