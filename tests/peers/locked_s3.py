"""What is proved of a vault in a real S3 with Object Lock: the writer may only put; the admin reads mode and date back, nobody deletes,
auditors open, and `vault verify` says what is locked, hidden, or there twice. `parts/radosgw.py` and `parts/versitygw.py` run it."""
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import CACHE, HERE, Gateway, Sink, Stock, canaries, check, credentials, figure, finish, outlet, recorded, tollgate, workdir  # noqa: E402

def run(server, conditional):
    """A part: starts `server` (a folder with a run.sh), proves. `conditional`: whether it honours If-None-Match in a bucket with versions."""
    work = workdir(server)
    line = started(server, os.path.join(work, "server"))
    try:
        prove(work, line, conditional)
    finally:
        stopped(line)
    finish(work)


def started(server, folder):
    """Starts a server; its line."""
    # a busy machine can be too slow for Ceph's own patience
    for _ in range(3):
        done = subprocess.run([os.path.join(HERE, server, "run.sh"), "--dir", folder], capture_output=True, text=True)
        if done.returncode == 0:
            return json.loads(done.stdout.splitlines()[-1])
    sys.exit(f"{server} does not start: {done.stderr[-1500:]}")


def stopped(line):
    subprocess.run([os.path.join(HERE, "radosgw", "stop.sh"), line["dir"]], capture_output=True)


def objects(line, command, argument):
    """s3/objects.py: the JSON lines that it prints."""
    done = subprocess.run([os.path.join(CACHE, "venv-s3", "bin", "python"), os.path.join(HERE, "s3", "objects.py"), command, argument],
                          input=json.dumps(line), capture_output=True, text=True)
    check(f"the owner may {command}", done.returncode == 0, done.stderr[-500:])
    return [json.loads(row) for row in done.stdout.splitlines()]


def keys_of(who):
    return credentials(who["access_key"], who["secret_key"])


def prove(work, line, conditional):
    figure("server ready after", line["seconds"], "s")
    prefix, (payload, keys) = "agent-sessions", line["buckets"][:2]
    s3 = {"bucket": payload, "key_bucket": keys, "prefix": prefix, "region": line["region"],
          "endpoint": line["endpoint"], "force_path_style": True, "object_lock": {"mode": "compliance", "retention": "100d"}}
    gateway = Gateway(work, outlet(Sink(os.path.join(work, "sink"))), vault={"store": {"s3": s3}})
    began = time.time()
    gateway.start(env=keys_of(line["writer"]))
    session = gateway.replay_client("claude-code", "plain")["plain"]
    gateway.ends()

    fetched = os.path.join(work, "fetched")
    found = objects(line, "fetch", fetched)
    modes = {bucket: {one["mode"] for one in found if one["bucket"] == bucket} for bucket in (payload, keys)}
    check("objects, index and keys are there", any(one["key"].endswith(".agev") for one in found) and any("/index/" in one["key"] for one in found))
    check("payload and index are in compliance mode, keys in governance mode, so that a session can be erased",
          modes == {payload: {"COMPLIANCE"}, keys: {"GOVERNANCE"}}, str(modes))
    late = [one["until"] - began - 100 * 86_400 for one in found]
    check("retain-until is 100 days away", all(-5 < seconds < 300 for seconds in late), str(late[:3]))
    check("deleting a version is refused, keys too", all(one["delete"] == 403 for one in found), str([one for one in found if one["delete"] != 403][:3]))
    check("one version each", len({(one["bucket"], one["key"]) for one in found}) == len(found))
    figure("objects", len(found))

    stock = Stock(os.path.join(fetched, payload), gateway.identity, os.path.join(fetched, keys))
    stored = stock.text()
    check("stock age and zstd open every fragment; content is there", not [c for c in canaries(session) if c not in stored], f"{len(stored)} bytes")
    place = ["--store", f"s3://{payload}/{prefix}", "--keys", f"s3://{keys}", "--region", line["region"], "--endpoint", line["endpoint"], "--force-path-style"]
    commands(line, place, gateway, session, stock.documents()[0])
    verify(line, place, gateway, stock.documents()[0][0]["object_key"], len(found))
    doctor(gateway, line, conditional)
    hold(line, place, f"{prefix}/keys/default/", session)


def commands(line, place, gateway, session, found):
    """The product's own reading side, with the owner's credentials; the writer's read nothing."""
    row, document = found
    place = [*place, "--identity", gateway.identity]
    get = ("vault", "get", f"s3://{line['buckets'][0]}/{row['object_key']}", "--range", f"bytes={row['off']}-{row['off'] + row['len'] - 1}", *place)
    code, out, why = tollgate(*get, env=keys_of(line))
    check("vault get opens the fragment that a reference names", code == 0 and json.loads(out.splitlines()[0]) == document, why)
    code, out, why = tollgate("vault", "replay", session["session_ids"][0], *place, env=keys_of(line))
    at = [out.find(session["canaries"][one]["value"]) for one in ("prompt", "completion")]
    check("vault replay shows the session, prompt before answer", code == 0 and 0 <= at[0] < at[1], why + str(at))
    code, out, why = tollgate(*get, env=keys_of(line["writer"]))
    check("the writer's credentials read nothing", code == 1 and session["canaries"]["prompt"]["value"] not in out, out[:100])


def verify(line, place, gateway, name, count):
    """Versions, markers and locks as `vault verify` tells them."""
    def run(*options):
        code, out, why = tollgate("vault", "verify", "--key", os.path.join(gateway.data, "signing.key"), "--identity", gateway.identity, "--json",
                                  *options, *place, env=keys_of(line))
        report = json.loads(out or "{}")
        return code, report, {(one["code"], one["location"].rsplit("/", 1)[-1]) for one in report.get("findings", [])}, why[-300:] + out[:1500]

    code, report, wrong, why = run("--retention", "100d")
    check("vault verify: everything holds, one version each, nothing hidden, locked for 100 days", code == 0 and not wrong
          and not any("version" in what or "lock" in what for what in report["not_verified"]), why)
    check("each version's lock was read, keys too", report["counts"]["locked"] == count, f"{report['counts']} of {count}")
    code, _, wrong, why = run("--retention", "101d")
    check("vault verify: a retention that is shorter than it should be", code == 1 and {one for one, _ in wrong} == {"insufficient_lock"}, why)
    objects(line, "hide", name)
    code, _, wrong, why = run("--retention", "100d")
    check("vault verify finds an object behind a delete marker", code == 1 and "delete_marker" in {one for one, _ in wrong}, why)
    objects(line, "unhide", name)
    objects(line, "again", name)
    code, _, wrong, why = run("--retention", "100d")
    file = name.rsplit("/", 1)[-1]
    check("vault verify finds a second version, and that it is not locked", code == 1 and wrong == {("multiple_versions", file), ("insufficient_lock", file)}, why)
    objects(line, "hide", name)
    code, _, wrong, why = run("--no-locks", "--first-version")
    check("vault verify --first-version reads what a delete marker hides, and tells of it", code == 1 and {one for one, _ in wrong} == {"delete_marker", "multiple_versions"}, why)
    code, out, why = tollgate("vault", "replay", "--first-version", "--identity", gateway.identity, recorded("claude-code")["plain"]["session_ids"][0], *place, env=keys_of(line))
    check("so does vault replay", code == 0 and "not read:" not in out, out[-300:] + why)


def doctor(gateway, line, conditional):
    """`vault doctor` finds the writer's rights as the policy has them, and the owner's to be too many."""
    seen = {}
    for who, keys in (("writer", line["writer"]), ("owner", line)):
        code, out, why = tollgate("vault", "doctor", "--json", "--config", gateway.config_path, env=keys_of(keys))
        seen[who] = code, {row["check"].split(": ", 1)[-1]: row["verdict"] for row in map(json.loads, out.splitlines())}, out + why
    code, checks, said = seen["writer"]
    check("vault doctor: the writer may write and nothing else", code == 0 and len(checks) >= 9 and "fail" not in checks.values(), said)
    check("vault doctor tells whether this store honours If-None-Match", checks.get("an existing object can't be overwritten") == ("pass" if conditional else "warn"), said)
    code, checks, said = seen["owner"]
    check("vault doctor: the owner's credentials are no writer's", code == 1 and checks.get("the writer can't read") == checks.get("the writer can't list") == "fail", said)


def hold(line, place, keys, session):
    """`vault hold`: under hold nobody deletes a key, whoever bypasses governance; released, it goes."""
    for word, expected in (("set", {("ON", 403)}), ("release", {("OFF", 204)})):
        code, out, why = tollgate("vault", "hold", word, session["session_ids"][0], "--requested-by", "auditor", "--reason", "case 7", *place, env=keys_of(line))
        found = {tuple(one) for one in objects(line, "held", keys)}
        check(f"vault hold {word}: a key {'stays, whoever bypasses governance' if word == 'set' else 'can be erased again'}", code == 0 and found == expected, f"{out}{why} {found}")
        listed = tollgate("vault", "hold", "list", *place, env=keys_of(line))[1]
        check(f"vault hold list after {word}", ("case 7" in listed) == (word == "set"), listed)
