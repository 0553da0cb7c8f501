"""What an S3 server honours of what a vault builds on: matrix.py < line of a run.sh prints {row: answer} as JSON.

Run with the venv of the servers (venv-s3). A row asks one thing; its answer is `yes`, `no`, or what else the server did, in a few words.
`parts/servers.py` runs it against each server and compares with docs/s3-servers.md.
"""
import base64
import concurrent.futures
import datetime
import hashlib
import json
import os
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

line = json.load(sys.stdin)
bucket, keys, plain = line["buckets"][0], line["buckets"][1], line["plain"][0]
now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
rows = {}
names = iter(range(10**6))


def client(who):
    return boto3.client("s3", endpoint_url=line["endpoint"], region_name=line["region"], aws_access_key_id=who["access_key"],
                        aws_secret_access_key=who["secret_key"], config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1},
                        max_pool_connections=32, request_checksum_calculation="when_required", response_checksum_validation="when_required"))


admin, writer = client(line), client(line["writer"])


def days(n):
    return now + datetime.timedelta(days=n)


def lock(mode="COMPLIANCE", n=2):
    return {"ObjectLockMode": mode, "ObjectLockRetainUntilDate": days(n)}


def retention(mode="COMPLIANCE", n=2):
    return {"Mode": mode, "RetainUntilDate": days(n)}


def sha(body):
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def ask(call, **arguments):
    """(status, answer)"""
    try:
        answer = call(**arguments)
        return answer["ResponseMetadata"]["HTTPStatusCode"], answer
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response
    except BotoCoreError as error:
        return type(error).__name__, {}


def row(what):
    """Notes what a probe finds; a probe that can't be made is an answer too."""
    def run(probe):
        try:
            answer = probe()
        except AssertionError as error:
            answer = f"no: {error}"
        except (ClientError, BotoCoreError, KeyError) as error:
            answer = f"can't be tried: {type(error).__name__}"
        rows[what] = {True: "yes", False: "no"}.get(answer, answer) if isinstance(answer, bool) else answer
    return run


def refused(status, wanted=(403,)):
    return True if status in wanted else f"no: {status}"


def put(body=b"body", where=None, who=None, **arguments):
    """A new object; (name, version)."""
    name = f"matrix/{next(names)}"
    status, answer = ask((who or admin).put_object, Bucket=where or bucket, Key=name, Body=body, **arguments)
    assert status == 200, status
    return name, answer.get("VersionId")


@row("a bucket with Object Lock has versions")
def _():
    return admin.get_bucket_versioning(Bucket=bucket).get("Status") == "Enabled"


@row("a lock in the headers of a put holds, and is told by HEAD")
def _():
    name, version = put(**lock())
    head = admin.head_object(Bucket=bucket, Key=name, VersionId=version)
    return head.get("ObjectLockMode") == "COMPLIANCE" and head.get("ObjectLockRetainUntilDate") == days(2)


@row("a put with a lock and no checksum is refused (400), as AWS does")
def _():
    def strip(request, **_):
        for name in ("Content-MD5", "x-amz-checksum-crc32", "x-amz-checksum-sha256"):
            del request.headers[name]
    other = client(line)
    other.meta.events.register("before-sign.s3.PutObject", strip)
    return refused(ask(other.put_object, Bucket=bucket, Key=f"matrix/{next(names)}", Body=b"x", **lock())[0], (400,))


@row("a wrong x-amz-checksum-sha256 is refused (400)")
def _():
    return refused(ask(admin.put_object, Bucket=bucket, Key=f"matrix/{next(names)}", Body=b"x", ChecksumSHA256=sha(b"y"))[0], (400,))


@row("x-amz-checksum-sha256 is kept and told")
def _():
    name, version = put(b"x", ChecksumSHA256=sha(b"x"))
    return admin.head_object(Bucket=bucket, Key=name, VersionId=version, ChecksumMode="ENABLED").get("ChecksumSHA256") == sha(b"x")


@row("a wrong Content-MD5 is refused (400)")
def _():
    md5 = base64.b64encode(hashlib.md5(b"y").digest()).decode()
    return refused(ask(admin.put_object, Bucket=bucket, Key=f"matrix/{next(names)}", Body=b"x", ContentMD5=md5)[0], (400,))


@row("If-None-Match: * refuses a name that exists (412), with Object Lock")
def _():
    name, _ = put(**lock())
    return refused(ask(admin.put_object, Bucket=bucket, Key=name, Body=b"other", IfNoneMatch="*", **lock())[0], (412,))


@row("If-None-Match: * refuses a name that exists (412), in a plain bucket")
def _():
    name, _ = put(where=plain)
    return refused(ask(admin.put_object, Bucket=plain, Key=name, Body=b"other", IfNoneMatch="*")[0], (412,))


@row("of 16 such puts at once one is taken")
def _():
    name = f"matrix/{next(names)}"
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        done = pool.map(lambda n: ask(admin.put_object, Bucket=bucket, Key=name, Body=b"%d" % n, IfNoneMatch="*")[0], range(16))
    taken = sum(status == 200 for status in done)
    # how many more is a matter of luck
    return True if taken == 1 else "no"


@row("under compliance a version can't be deleted, by anyone")
def _():
    name, version = put(**lock())
    at = {"Bucket": bucket, "Key": name, "VersionId": version}
    both = ask(admin.delete_object, **at)[0], ask(admin.delete_object, **at, BypassGovernanceRetention=True)[0]
    return True if both == (403, 403) else f"no: {both}"


@row("compliance can't be shortened, nor made governance")
def _():
    name, version = put(**lock())
    at = {"Bucket": bucket, "Key": name, "VersionId": version}
    tried = [ask(admin.put_object_retention, **at, Retention=retention(n=1), BypassGovernanceRetention=True)[0],
             ask(admin.put_object_retention, **at, Retention=retention("GOVERNANCE"), BypassGovernanceRetention=True)[0]]
    kept = admin.get_object_retention(**at)["Retention"]
    held = kept["Mode"] == "COMPLIANCE" and kept["RetainUntilDate"] >= days(2)
    return True if held and tried == [403, 403] else f"{'kept, but answers' if held else 'no:'} {tried}"


@row("compliance can be made longer")
def _():
    name, version = put(**lock())
    return ask(admin.put_object_retention, Bucket=bucket, Key=name, VersionId=version, Retention=retention(n=3))[0] == 200


@row("under governance a version is deleted only by who bypasses it")
def _():
    name, version = put(where=keys, **lock("GOVERNANCE"))
    at = {"Bucket": keys, "Key": name, "VersionId": version}
    both = ask(admin.delete_object, **at)[0], ask(admin.delete_object, **at, BypassGovernanceRetention=True)[0]
    return True if both == (403, 204) else f"no: {both}"


@row("a legal hold refuses deletion, until it is released")
def _():
    name, version = put()
    at = {"Bucket": bucket, "Key": name, "VersionId": version}
    on = ask(admin.put_object_legal_hold, **at, LegalHold={"Status": "ON"})[0], ask(admin.delete_object, **at)[0]
    off = ask(admin.put_object_legal_hold, **at, LegalHold={"Status": "OFF"})[0], ask(admin.delete_object, **at)[0]
    return True if (on, off) == ((200, 403), (200, 204)) else f"no: {on + off}"


@row("a plain DELETE makes a marker; the version below can be read by its id")
def _():
    name, version = put(**lock())
    deleted = ask(admin.delete_object, Bucket=bucket, Key=name)
    hidden = ask(admin.get_object, Bucket=bucket, Key=name)[0]
    below = ask(admin.get_object, Bucket=bucket, Key=name, VersionId=version)[0]
    markers = admin.list_object_versions(Bucket=bucket, Prefix=name).get("DeleteMarkers", [])
    answers = deleted[0], hidden, below, len(markers)
    return True if answers == (204, 404, 200, 1) else f"no: {answers}"


@row("two versions of a name are both listed")
def _():
    name, _ = put()
    admin.put_object(Bucket=bucket, Key=name, Body=b"two")
    return len(admin.list_object_versions(Bucket=bucket, Prefix=name)["Versions"]) == 2


@row("lists of versions come in pages without a gap")
def _():
    prefix = f"pages-{next(names)}/"
    for n in range(5):
        admin.put_object(Bucket=bucket, Key=f"{prefix}{n}", Body=b"x")
        admin.put_object(Bucket=bucket, Key=f"{prefix}{n}", Body=b"y")
    pages = admin.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix, PaginationConfig={"PageSize": 3})
    seen = [(one["Key"], one["VersionId"]) for page in pages for one in page.get("Versions", [])]
    if len(set(seen)) < 10:
        return f"no: {10 - len(set(seen))} of 10 are missing"
    return True if len(seen) == 10 else "yes, but a page begins with the last one of the page before"


@row("a date of retention in the past is refused (400)")
def _():
    return refused(ask(admin.put_object, Bucket=bucket, Key=f"matrix/{next(names)}", Body=b"x", **lock(n=-1))[0], (400,))


@row("a lock on a bucket without Object Lock is refused (400)")
def _():
    return refused(ask(admin.put_object, Bucket=plain, Key=f"matrix/{next(names)}", Body=b"x", **lock())[0], (400,))


@row("versions of a bucket with Object Lock can't be suspended")
def _():
    return refused(ask(admin.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})[0], (400, 403, 409))


@row("a bucket's default retention is given to what names none")
def _():
    rule = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    admin.put_object_lock_configuration(Bucket=keys, ObjectLockConfiguration=rule)
    try:
        name, version = put(where=keys)
        return admin.head_object(Bucket=keys, Key=name, VersionId=version).get("ObjectLockMode") == "GOVERNANCE"
    finally:
        admin.put_object_lock_configuration(Bucket=keys, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})


@row("names of any form: 900 bytes, `%`, `=`, `+`, a space, emoji")
def _():
    odd = ["matrix/a%2Fb=c+d e", "matrix/\N{GRINNING FACE}", "matrix/" + "/".join(["n" * 200] * 4) + "/" + "x" * 80]
    for name in odd:
        status = ask(admin.put_object, Bucket=bucket, Key=name, Body=name.encode())[0]
        if status != 200 or admin.get_object(Bucket=bucket, Key=name)["Body"].read() != name.encode():
            return f"no: {status}"
    return True


@row("a range of an object can be read")
def _():
    name, _ = put(b"0123456789")
    return admin.get_object(Bucket=bucket, Key=name, Range="bytes=3-5")["Body"].read() == b"345"


WRITER = {
    "read": lambda at: ask(writer.get_object, Bucket=bucket, Key=at[0]),
    "HEAD": lambda at: ask(writer.head_object, Bucket=bucket, Key=at[0]),
    "list": lambda at: ask(writer.list_objects_v2, Bucket=bucket),
    "list versions": lambda at: ask(writer.list_object_versions, Bucket=bucket),
    "make a delete marker": lambda at: ask(writer.delete_object, Bucket=bucket, Key=at[0]),
    "delete a version": lambda at: ask(writer.delete_object, Bucket=bucket, Key=at[0], VersionId=at[1]),
    "delete past governance": lambda at: ask(writer.delete_object, Bucket=bucket, Key=at[0], VersionId=at[1], BypassGovernanceRetention=True),
    "shorten a retention": lambda at: ask(writer.put_object_retention, Bucket=bucket, Key=at[0], VersionId=at[1], Retention=retention(n=1)),
    "change the policy": lambda at: ask(writer.put_bucket_policy, Bucket=bucket, Policy="{}"),
    "change the lifecycle": lambda at: ask(writer.delete_bucket_lifecycle, Bucket=bucket),
    "delete the bucket": lambda at: ask(writer.delete_bucket, Bucket=bucket),
}


@row("a policy lets a writer put locked objects, and nothing else")
def _():
    at = put(who=writer, **lock())
    mode = ask(admin.head_object, Bucket=bucket, Key=at[0])
    if mode[0] != 200:
        return f"no: the owner can't read what the writer wrote ({mode[0]})"
    may = {what: tried(at)[0] for what, tried in WRITER.items()}
    # what a server does not know at all (501) it does not do for a writer
    too_much = [what for what, status in may.items() if status not in (403, 501)]
    return True if not too_much else "no: it may " + ", ".join(f"{what} ({may[what]})" for what in too_much)


def conditioned(condition):
    """Puts one more condition on the writer's right to put; gives back how it was."""
    policy = admin.get_bucket_policy(Bucket=bucket)["Policy"]
    changed = json.loads(policy)
    changed["Statement"][0]["Condition"] = condition
    status = ask(admin.put_bucket_policy, Bucket=bucket, Policy=json.dumps(changed))[0]
    return policy, status


def condition(condition, good, bad):
    """Whether a policy's condition lets `good` in and keeps `bad` out."""
    policy, status = conditioned(condition)
    if status not in (200, 204):
        return f"no: the policy is refused ({status})"
    try:
        tried = []
        for arguments in (good, bad):
            for _ in range(20):
                answer = ask(writer.put_object, Bucket=bucket, Key=f"matrix/{next(names)}", Body=b"x", **arguments)[0]
                if arguments is bad or answer == 200:
                    break
                time.sleep(0.1)
            tried.append(answer)
    finally:
        admin.put_bucket_policy(Bucket=bucket, Policy=policy)
    return {(200, 403): True, (200, 200): "no: it is ignored", (403, 403): "no: it keeps every put out"}.get(tuple(tried), f"no: {tried}")


@row("a policy can ask for If-None-Match (`s3:if-none-match`)")
def _():
    return condition({"Null": {"s3:if-none-match": "false"}}, {"IfNoneMatch": "*"}, {})


@row("a policy can ask for a mode (`s3:object-lock-mode`)")
def _():
    return condition({"StringEquals": {"s3:object-lock-mode": "COMPLIANCE"}}, lock(), lock("GOVERNANCE"))


@row("a policy can ask for a retention (`s3:object-lock-remaining-retention-days`)")
def _():
    return condition({"NumericGreaterThanEquals": {"s3:object-lock-remaining-retention-days": "5"}}, lock(n=10), lock(n=2))


@row("SSE-S3 is taken and told")
def _():
    name, version = put(ServerSideEncryption="AES256")
    return admin.head_object(Bucket=bucket, Key=name, VersionId=version).get("ServerSideEncryption") == "AES256"


@row("the lifecycle rules of `vault policy` are taken")
def _():
    # as `vault policy --format lifecycle` prints them, without storage classes, which are AWS's
    rule = {"ID": "index", "Status": "Enabled", "Filter": {"Prefix": "index/"}, "Expiration": {"Days": 101},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}
    markers = {"ID": "markers", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"ExpiredObjectDeleteMarker": True}}
    status = ask(admin.put_bucket_lifecycle_configuration, Bucket=bucket, LifecycleConfiguration={"Rules": [rule, markers]})[0]
    return True if status == 200 else f"no: {status}"


if __name__ == "__main__":
    if os.environ.get("MATRIX_VERBOSE"):
        for what, answer in rows.items():
            print(f"{answer:>20}  {what}", file=sys.stderr)
    print(json.dumps(rows))
