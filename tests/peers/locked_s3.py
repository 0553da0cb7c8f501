"""What is proved of a vault in a real S3 with Object Lock: the writer may only put; the admin reads mode and date back, nobody deletes,
auditors open, and `vault verify` says what is locked, hidden, or there twice. `parts/radosgw.py` and `parts/versitygw.py` run it."""
import datetime
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import BINARY, CACHE, Gateway, HERE, RECORDINGS, Sink, Stock, check, figure, finish, outlet, read_json, texts, workdir  # noqa: E402

FETCH = r"""
import datetime, json, os, sys
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
line, to = json.loads(sys.argv[1]), sys.argv[2]
s3 = boto3.client("s3", endpoint_url=line["endpoint"], region_name=line["region"], aws_access_key_id=line["access_key"],
                  aws_secret_access_key=line["secret_key"], config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2},
                  request_checksum_calculation="when_required", response_checksum_validation="when_required"))
for bucket in line["buckets"]:
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for v in page.get("Versions", []):
            at = {"Bucket": bucket, "Key": v["Key"], "VersionId": v["VersionId"]}
            path = os.path.join(to, bucket, v["Key"])
            os.makedirs(os.path.dirname(path), exist_ok=True)
            s3.download_file(bucket, v["Key"], path, ExtraArgs={"VersionId": v["VersionId"]})
            lock = s3.get_object_retention(**at)["Retention"]
            try:
                deleted = s3.delete_object(**at)["ResponseMetadata"]["HTTPStatusCode"]
            except ClientError as e:
                deleted = e.response["ResponseMetadata"]["HTTPStatusCode"]
            print(json.dumps({"bucket": bucket, "key": v["Key"], "latest": v["IsLatest"], "mode": lock["Mode"],
                              "until": lock["RetainUntilDate"].timestamp(), "delete": deleted}), flush=True)
"""


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


def prove(work, line, conditional):
    figure("server ready after", line["seconds"], "s")
    sink = Sink(os.path.join(work, "sink"))
    prefix = "agent-sessions"
    s3 = {"bucket": line["buckets"][0], "key_bucket": line["buckets"][1], "prefix": prefix, "region": line["region"],
          "endpoint": line["endpoint"], "force_path_style": True, "object_lock": {"mode": "compliance", "retention": "100d"}}
    gateway = Gateway(work, outlet(sink), vault={"store": {"s3": s3}})
    writer = {**os.environ, "AWS_ACCESS_KEY_ID": line["writer"]["access_key"], "AWS_SECRET_ACCESS_KEY": line["writer"]["secret_key"],
              "AWS_EC2_METADATA_DISABLED": "true"}
    began = datetime.datetime.now().timestamp()
    gateway.start(env=writer)
    session = read_json(os.path.join(RECORDINGS, "claude-code", "manifest.json"))["sessions"]["plain"]
    gateway.replay(os.path.join(RECORDINGS, "claude-code", "plain"), session["files"])
    gateway.ends()

    fetched = os.path.join(work, "fetched")
    done = subprocess.run([os.path.join(CACHE, "venv-s3", "bin", "python"), "-c", FETCH, json.dumps(line), fetched], capture_output=True, text=True)
    check("the admin lists, reads, and reads locks", done.returncode == 0, done.stderr[-500:])
    objects = [json.loads(row) for row in done.stdout.splitlines()]
    payload = [o for o in objects if o["bucket"] == line["buckets"][0]]
    keys = [o for o in objects if o["bucket"] == line["buckets"][1]]
    check("objects, index and keys are there", any(o["key"].endswith(".agev") for o in payload) and any("/index/" in o["key"] for o in payload) and keys)
    check("payload and index are in compliance mode", all(o["mode"] == "COMPLIANCE" for o in payload), str(payload[:2]))
    check("keys are in governance mode, so that a session can be erased", all(o["mode"] == "GOVERNANCE" for o in keys), str(keys[:2]))
    wanted = began + 100 * 86_400
    check("retain-until is 100 days away", all(-5 < o["until"] - wanted < 300 for o in objects), str([o["until"] - wanted for o in objects][:3]))
    check("deleting a version is refused, keys too", all(o["delete"] == 403 for o in objects), str([(o["key"], o["delete"]) for o in objects if o["delete"] != 403][:3]))
    check("one version each", len({(o["bucket"], o["key"]) for o in objects}) == len(objects))
    figure("objects", len(objects))

    stock = Stock(os.path.join(fetched, line["buckets"][0]), gateway.identity, os.path.join(fetched, line["buckets"][1]))
    documents = stock.documents()
    stored = "\n".join(text for _, document in documents for text in texts(document))
    content = [one["value"] for one in session["canaries"].values() if one["seen"].get("traces") or one["seen"].get("logs")]
    check("stock age and zstd open every fragment; content is there", not [c for c in content if c not in stored], f"{len(documents)} fragments")
    figure("fragments opened", len(documents))
    commands(line, prefix, gateway, session, documents, len(objects))
    doctor(gateway, line, conditional)
    hold(line, prefix, session, gateway)


CHANGE = """
import datetime, json, sys, boto3
from botocore.config import Config
line, what, name = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
s3 = boto3.client("s3", endpoint_url=line["endpoint"], aws_access_key_id=line["access_key"], aws_secret_access_key=line["secret_key"], region_name=line["region"],
                  config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required", response_checksum_validation="when_required"))
bucket = line["buckets"][0]
if what == "hide":
    s3.delete_object(Bucket=bucket, Key=name)
elif what == "unhide":
    for one in s3.list_object_versions(Bucket=bucket, Prefix=name)["DeleteMarkers"]:
        s3.delete_object(Bucket=bucket, Key=name, VersionId=one["VersionId"])
elif what == "again":
    body = s3.get_object(Bucket=bucket, Key=name)["Body"].read()
    s3.put_object(Bucket=bucket, Key=name, Body=body)
elif what == "over":
    s3.put_object(Bucket=bucket, Key=name, Body=b"junk")
"""

# each version of the key objects: what a deletion that bypasses governance gets, which only a legal hold refuses
HELD = """
import json, sys, boto3
from botocore.config import Config
from botocore.exceptions import ClientError
line = json.loads(sys.argv[1])
s3 = boto3.client("s3", endpoint_url=line["endpoint"], aws_access_key_id=line["access_key"], aws_secret_access_key=line["secret_key"], region_name=line["region"],
                  config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required", response_checksum_validation="when_required"))
bucket = line["buckets"][1]
for one in s3.list_object_versions(Bucket=bucket, Prefix=sys.argv[2]).get("Versions", []):
    at = {"Bucket": bucket, "Key": one["Key"], "VersionId": one["VersionId"]}
    try:
        hold = s3.get_object_legal_hold(**at)["LegalHold"]["Status"]
    except ClientError as error:
        hold = error.response["Error"]["Code"]
    try:
        gone = s3.delete_object(BypassGovernanceRetention=True, **at)["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        gone = error.response["ResponseMetadata"]["HTTPStatusCode"]
    print(json.dumps([hold, gone]))
"""


def change(line, what, name):
    """What an admin may do to an object: a plain delete leaves a marker, a put without a condition a second version."""
    subprocess.run([os.path.join(CACHE, "venv-s3", "bin", "python"), "-c", CHANGE, json.dumps(line), what, name], check=True)


def commands(line, prefix, gateway, session, documents, objects):
    """The product's own reading side, with the admin's credentials."""
    env = {**os.environ, "AWS_ACCESS_KEY_ID": line["access_key"], "AWS_SECRET_ACCESS_KEY": line["secret_key"], "AWS_EC2_METADATA_DISABLED": "true"}
    place = ["--store", f"s3://{line['buckets'][0]}/{prefix}", "--keys", f"s3://{line['buckets'][1]}", "--identity", gateway.identity,
             "--region", line["region"], "--endpoint", line["endpoint"], "--force-path-style"]
    row, document = documents[0]
    uri, extent = f"s3://{line['buckets'][0]}/{row['object_key']}", f"bytes={row['off']}-{row['off'] + row['len'] - 1}"
    got = subprocess.run([BINARY, "vault", "get", uri, "--range", extent, *place], capture_output=True, text=True, env=env)
    check("vault get opens the fragment that a reference names", got.returncode == 0 and json.loads(got.stdout.splitlines()[0]) == document, got.stderr[-300:])
    replayed = subprocess.run([BINARY, "vault", "replay", session["session_ids"][0], *place], capture_output=True, text=True, env=env)
    prompt, completion = session["canaries"]["prompt"]["value"], session["canaries"]["completion"]["value"]
    at = (replayed.stdout.find(prompt), replayed.stdout.find(completion))
    check("vault replay shows the session, prompt before answer", replayed.returncode == 0 and 0 <= at[0] < at[1], replayed.stderr[-300:] + str(at))
    key = os.path.join(gateway.data, "signing.key")
    verify(line, place, key, env, row["object_key"], objects)
    # somebody wrote over an object, and hid it: what was there first is still read
    unread = {}
    for at in ("newest", "oldest"):
        done = subprocess.run([BINARY, "vault", "replay", session["session_ids"][0], *place, *(["--first-version"] if at == "oldest" else [])], capture_output=True, text=True, env=env)
        unread[at] = (done.returncode, done.stdout.count("not read:"), done.stderr[-300:])
    check("vault replay --first-version reads what was written first; without it, what can't be read is told and ends with 1",
          unread["oldest"][:2] == (0, 0) and unread["newest"][0] == 1 and unread["newest"][1] > 0, str(unread))
    denied = subprocess.run([BINARY, "vault", "get", uri, *place], capture_output=True, text=True,
                            env={**env, "AWS_ACCESS_KEY_ID": line["writer"]["access_key"], "AWS_SECRET_ACCESS_KEY": line["writer"]["secret_key"]})
    check("the writer's credentials read nothing", denied.returncode == 1 and prompt not in denied.stdout, denied.stdout[:100])
    figure("the answer to it", denied.stderr.strip()[:160])


def verify(line, place, key, env, name, objects):
    """Versions, markers and locks as `vault verify` tells them."""
    def run(*options):
        done = subprocess.run([BINARY, "vault", "verify", "--key", key, "--json", *options, *place], capture_output=True, text=True, env=env)
        report = json.loads(done.stdout or "{}")
        return done.returncode, report, sorted({one["code"] for one in report.get("findings", [])}), done.stderr[-300:] + str(report)[:1500]

    code, report, _, why = run("--retention", "100d")
    check("vault verify: everything holds, one version each, nothing hidden, locked for 100 days", code == 0 and not report["findings"]
          and not any("version" in what or "lock" in what for what in report["not_verified"]), why)
    check("each version's lock was read, keys too", report["counts"]["locked"] == objects, f"{report['counts']} of {objects}")
    figure("verified", json.dumps(report.get("counts")))
    code, _, codes, why = run("--retention", "101d")
    check("vault verify: a retention that is shorter than it should be", code == 1 and codes == ["insufficient_lock"], why)
    code, report, codes, why = run("--no-locks")
    check("vault verify without locks says so", code == 0 and report["counts"]["locked"] == 0 and any("--no-locks" in what for what in report["not_verified"]), why)
    change(line, "hide", name)
    code, _, codes, why = run("--retention", "100d")
    check("vault verify finds an object behind a delete marker", code == 1 and "delete_marker" in codes, why)
    change(line, "unhide", name)
    change(line, "again", name)
    code, report, codes, why = run("--retention", "100d")
    wrong = {(one["code"], one["location"].rsplit("/", 1)[-1]) for one in report["findings"]}
    file = name.rsplit("/", 1)[-1]
    check("vault verify finds a second version, and that it is not locked", code == 1 and wrong == {("multiple_versions", file), ("insufficient_lock", file)}, why)
    change(line, "over", name)
    code, _, codes, why = run("--no-locks")
    check("vault verify finds that another version was written over an object", code == 1 and {"multiple_versions", "object_changed"} <= set(codes), why)
    code, report, codes, why = run("--no-locks", "--first-version")
    check("vault verify --first-version: the first version is the evidence", code == 0 and codes == ["multiple_versions"] and report["counts"]["opened"] > 0, why)
    change(line, "hide", name)
    code, _, codes, why = run("--no-locks", "--first-version")
    check("vault verify --first-version reads what a delete marker hides, and tells of it", code == 1 and codes == ["delete_marker", "multiple_versions"], why)


def doctor(gateway, line, conditional):
    """`vault doctor` finds the writer's rights as the policy has them, and the admin's to be too many."""
    seen = {}
    for who, keys in [("writer", line["writer"]), ("admin", line)]:
        env = {**os.environ, "AWS_ACCESS_KEY_ID": keys["access_key"], "AWS_SECRET_ACCESS_KEY": keys["secret_key"], "AWS_EC2_METADATA_DISABLED": "true"}
        done = subprocess.run([BINARY, "vault", "doctor", "--json", "--config", gateway.config_path], capture_output=True, text=True, env=env)
        seen[who] = (done, {json.loads(row)["check"].split(": ", 1)[-1]: json.loads(row)["verdict"] for row in done.stdout.splitlines()})
    done, checks = seen["writer"]
    check("vault doctor: the writer may write and nothing else", done.returncode == 0 and len(checks) >= 9 and "fail" not in checks.values(), done.stdout + done.stderr)
    said = checks.get("an existing object can't be overwritten")
    check("vault doctor tells whether this store honours If-None-Match", said == ("pass" if conditional else "warn"), str(checks))
    done, checks = seen["admin"]
    check("vault doctor: the admin's credentials are no writer's", done.returncode == 1 and checks.get("the writer can't read") == "fail" and checks.get("the writer can't list") == "fail", str(checks))



def hold(line, prefix, session, gateway):
    """`vault hold`: under hold nobody deletes a key, whoever bypasses governance; released, it goes."""
    env = {**os.environ, "AWS_ACCESS_KEY_ID": line["access_key"], "AWS_SECRET_ACCESS_KEY": line["secret_key"], "AWS_EC2_METADATA_DISABLED": "true"}
    place = ["--store", f"s3://{line['buckets'][0]}/{prefix}", "--keys", f"s3://{line['buckets'][1]}", "--region", line["region"],
             "--endpoint", line["endpoint"], "--force-path-style"]

    def keys():
        done = subprocess.run([os.path.join(CACHE, "venv-s3", "bin", "python"), "-c", HELD, json.dumps(line), f"{prefix}/keys/default/"], capture_output=True, text=True)
        return [tuple(json.loads(row)) for row in done.stdout.splitlines()] if done.returncode == 0 else done.stderr[-500:]

    for word, expected in [("set", {("ON", 403)}), ("release", {("OFF", 204)})]:
        done = subprocess.run([BINARY, "vault", "hold", word, session["session_ids"][0], "--requested-by", "auditor", "--reason", "case 7", *place], capture_output=True, text=True, env=env)
        found = keys()
        check(f"vault hold {word}: a key {'stays, whoever bypasses governance' if word == 'set' else 'can be erased again'}",
              done.returncode == 0 and bool(found) and set(found) == expected, f"{done.stdout}{done.stderr} {found}"[:600])
        listed = subprocess.run([BINARY, "vault", "hold", "list", *place], capture_output=True, text=True, env=env).stdout
        check(f"vault hold list after {word}", ("case 7" in listed) == (word == "set"), listed)
    # that vault was damaged above: only what is said of the notes counts
    verified = subprocess.run([BINARY, "vault", "verify", "--key", os.path.join(gateway.data, "signing.key"), "--json", *place], capture_output=True, text=True, env=env)
    said = [one for one in json.loads(verified.stdout or "{}").get("findings", [{"location": "holds/", "code": verified.stderr[-300:]}]) if "holds/" in one["location"]]
    check("vault verify takes notes of holds beside keys for what they are", not [one for one in said if one["code"] not in ("insufficient_lock", "unlocked")], str(said))
