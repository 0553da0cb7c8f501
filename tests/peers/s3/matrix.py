"""What an S3 server honours of what a vault builds on: matrix.py < line of a run.sh prints {row: answer} as JSON.

Run with the venv of the servers (venv-s3). A row asks one thing; its answer is `yes`, `no`, or what else the server did, in a few words.
`parts/servers.py` runs it against each server and compares with docs/s3-servers.md.
"""
import base64
import concurrent.futures
import datetime
import hashlib
import json
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

line = json.load(sys.stdin)
bucket, keys, plain = line["buckets"][0], line["buckets"][1], line["plain"][0]
now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
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


def refused(status, wanted=(403,)):
    return True if status in wanted else f"no: {status}"


def put(body=b"body", where=None, who=None, **arguments):
    """A new object; (name, version)."""
    name = f"matrix/{next(names)}"
    status, answer = ask((who or admin).put_object, Bucket=where or bucket, Key=name, Body=body, **arguments)
    assert status == 200, status
    return name, answer.get("VersionId")


def head(at, where=None, **arguments):
    return admin.head_object(Bucket=where or bucket, Key=at[0], VersionId=at[1], **arguments)


def at_version(at, where=None):
    return {"Bucket": where or bucket, "Key": at[0], "VersionId": at[1]}


def tried(*calls):
    """The statuses of (call, arguments)."""
    return tuple(ask(call, **arguments)[0] for call, arguments in calls)


def answers(wanted, got):
    return True if got == wanted else f"no: {got}"


def putting(wanted=(400,), where=None, **arguments):
    """Whether such a put is refused."""
    return refused(ask(admin.put_object, Bucket=where or bucket, Body=b"x", **{"Key": f"matrix/{next(names)}", **arguments})[0], wanted)


def without_checksum():
    def strip(request, **_):
        for name in ("Content-MD5", "x-amz-checksum-crc32", "x-amz-checksum-sha256"):
            del request.headers[name]
    other = client(line)
    other.meta.events.register("before-sign.s3.PutObject", strip)
    return refused(ask(other.put_object, Bucket=bucket, Key=f"matrix/{next(names)}", Body=b"x", **lock())[0], (400,))


def at_once():
    name = f"matrix/{next(names)}"
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        done = pool.map(lambda n: ask(admin.put_object, Bucket=bucket, Key=name, Body=b"%d" % n, IfNoneMatch="*")[0], range(16))
    # how many more is a matter of luck
    return sum(status == 200 for status in done) == 1


def deleted(mode, where, wanted):
    """What a deletion gets, and one that bypasses governance."""
    at = at_version(put(where=where, **lock(mode)), where)
    return answers(wanted, tried((admin.delete_object, at), (admin.delete_object, {**at, "BypassGovernanceRetention": True})))


def shortened():
    at = {**at_version(put(**lock())), "BypassGovernanceRetention": True}
    got = tried((admin.put_object_retention, {**at, "Retention": retention(n=1)}), (admin.put_object_retention, {**at, "Retention": retention("GOVERNANCE")}))
    del at["BypassGovernanceRetention"]
    kept = admin.get_object_retention(**at)["Retention"]
    held = kept["Mode"] == "COMPLIANCE" and kept["RetainUntilDate"] >= days(2)
    return True if held and got == (403, 403) else f"{'kept, but answers' if held else 'no:'} {list(got)}"


def on_hold():
    at = at_version(put())
    return answers((200, 403, 200, 204), tried(*((call, {**at, **more}) for status in ("ON", "OFF") for call, more in (
        (admin.put_object_legal_hold, {"LegalHold": {"Status": status}}), (admin.delete_object, {})))))


def marked():
    name, version = put(**lock())
    got = tried((admin.delete_object, {"Bucket": bucket, "Key": name}), (admin.get_object, {"Bucket": bucket, "Key": name}),
                (admin.get_object, {"Bucket": bucket, "Key": name, "VersionId": version}))
    return answers((204, 404, 200, 1), (*got, len(admin.list_object_versions(Bucket=bucket, Prefix=name).get("DeleteMarkers", []))))


def two_versions():
    name, _ = put()
    admin.put_object(Bucket=bucket, Key=name, Body=b"two")
    return len(admin.list_object_versions(Bucket=bucket, Prefix=name)["Versions"]) == 2


def pages():
    prefix = f"pages-{next(names)}/"
    for n in range(10):
        admin.put_object(Bucket=bucket, Key=f"{prefix}{n // 2}", Body=b"x%d" % n)
    found = admin.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix, PaginationConfig={"PageSize": 3})
    seen = [(one["Key"], one["VersionId"]) for page in found for one in page.get("Versions", [])]
    if len(set(seen)) < 10:
        return f"no: {10 - len(set(seen))} of 10 are missing"
    return True if len(seen) == 10 else "yes, but a page begins with the last one of the page before"


def default_retention():
    rule = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    admin.put_object_lock_configuration(Bucket=keys, ObjectLockConfiguration=rule)
    try:
        return head(put(where=keys), keys).get("ObjectLockMode") == "GOVERNANCE"
    finally:
        admin.put_object_lock_configuration(Bucket=keys, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})


def odd_names():
    for name in ("matrix/a%2Fb=c+d e", "matrix/\N{GRINNING FACE}", "matrix/" + "/".join(["n" * 200] * 4) + "/" + "x" * 80):
        status = ask(admin.put_object, Bucket=bucket, Key=name, Body=name.encode())[0]
        if status != 200 or admin.get_object(Bucket=bucket, Key=name)["Body"].read() != name.encode():
            return f"no: {status}"
    return True


def writer_may():
    at = put(who=writer, **lock())
    mode = ask(admin.head_object, Bucket=bucket, Key=at[0])
    if mode[0] != 200:
        return f"no: the owner can't read what the writer wrote ({mode[0]})"
    key, version = {"Bucket": bucket, "Key": at[0]}, at_version(at)
    may = {"read": (writer.get_object, key), "HEAD": (writer.head_object, key), "list": (writer.list_objects_v2, {"Bucket": bucket}),
           "list versions": (writer.list_object_versions, {"Bucket": bucket}), "make a delete marker": (writer.delete_object, key),
           "delete a version": (writer.delete_object, version),
           "delete past governance": (writer.delete_object, {**version, "BypassGovernanceRetention": True}),
           "shorten a retention": (writer.put_object_retention, {**version, "Retention": retention(n=1)}),
           "change the policy": (writer.put_bucket_policy, {"Bucket": bucket, "Policy": "{}"}),
           "change the lifecycle": (writer.delete_bucket_lifecycle, {"Bucket": bucket}), "delete the bucket": (writer.delete_bucket, {"Bucket": bucket})}
    # what a server does not know at all (501) it does not do for a writer
    too_much = [f"{what} ({status})" for what, (call, arguments) in may.items() if (status := ask(call, **arguments)[0]) not in (403, 501)]
    return True if not too_much else "no: it may " + ", ".join(too_much)


def condition(condition, good, bad):
    """Whether a policy's condition on the writer's right to put lets `good` in and keeps `bad` out."""
    policy = admin.get_bucket_policy(Bucket=bucket)["Policy"]
    changed = json.loads(policy)
    changed["Statement"][0]["Condition"] = condition
    status = ask(admin.put_bucket_policy, Bucket=bucket, Policy=json.dumps(changed))[0]
    if status not in (200, 204):
        return f"no: the policy is refused ({status})"
    try:
        got = []
        for arguments in (good, bad):
            for _ in range(20):
                answer = ask(writer.put_object, Bucket=bucket, Key=f"matrix/{next(names)}", Body=b"x", **arguments)[0]
                if arguments is bad or answer == 200:
                    break
                time.sleep(0.1)
            got.append(answer)
    finally:
        admin.put_bucket_policy(Bucket=bucket, Policy=policy)
    return {(200, 403): True, (200, 200): "no: it is ignored", (403, 403): "no: it keeps every put out"}.get(tuple(got), f"no: {got}")


def lifecycle():
    # as `vault policy --format lifecycle` prints them, without storage classes, which are AWS's
    rule = {"ID": "index", "Status": "Enabled", "Filter": {"Prefix": "index/"}, "Expiration": {"Days": 101},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}
    markers = {"ID": "markers", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"ExpiredObjectDeleteMarker": True}}
    return refused(ask(admin.put_bucket_lifecycle_configuration, Bucket=bucket, LifecycleConfiguration={"Rules": [rule, markers]})[0], (200,))


def locked():
    found = head(put(**lock()))
    return found.get("ObjectLockMode") == "COMPLIANCE" and found.get("ObjectLockRetainUntilDate") == days(2)


MD5 = base64.b64encode(hashlib.md5(b"y").digest()).decode()
ROWS = {
    "a bucket with Object Lock has versions": lambda: admin.get_bucket_versioning(Bucket=bucket).get("Status") == "Enabled",
    "a lock in the headers of a put holds, and is told by HEAD": locked,
    "a put with a lock and no checksum is refused (400), as AWS does": without_checksum,
    "a wrong x-amz-checksum-sha256 is refused (400)": lambda: putting(ChecksumSHA256=sha(b"y")),
    "x-amz-checksum-sha256 is kept and told":
        lambda: head(put(b"x", ChecksumSHA256=sha(b"x")), ChecksumMode="ENABLED").get("ChecksumSHA256") == sha(b"x"),
    "a wrong Content-MD5 is refused (400)": lambda: putting(ContentMD5=MD5),
    "If-None-Match: * refuses a name that exists (412), with Object Lock": lambda: putting((412,), Key=put(**lock())[0], IfNoneMatch="*", **lock()),
    "If-None-Match: * refuses a name that exists (412), in a plain bucket": lambda: putting((412,), plain, Key=put(where=plain)[0], IfNoneMatch="*"),
    "of 16 such puts at once one is taken": at_once,
    "under compliance a version can't be deleted, by anyone": lambda: deleted("COMPLIANCE", bucket, (403, 403)),
    "compliance can't be shortened, nor made governance": shortened,
    "compliance can be made longer":
        lambda: ask(admin.put_object_retention, **at_version(put(**lock())), Retention=retention(n=3))[0] == 200,
    "under governance a version is deleted only by who bypasses it": lambda: deleted("GOVERNANCE", keys, (403, 204)),
    "a legal hold refuses deletion, until it is released": on_hold,
    "a plain DELETE makes a marker; the version below can be read by its id": marked,
    "two versions of a name are both listed": two_versions,
    "lists of versions come in pages without a gap": pages,
    "a date of retention in the past is refused (400)": lambda: putting(**lock(n=-1)),
    "a lock on a bucket without Object Lock is refused (400)": lambda: putting(where=plain, **lock()),
    "versions of a bucket with Object Lock can't be suspended": lambda: refused(
        ask(admin.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})[0], (400, 403, 409)),
    "a bucket's default retention is given to what names none": default_retention,
    "names of any form: 900 bytes, `%`, `=`, `+`, a space, emoji": odd_names,
    "a range of an object can be read":
        lambda: admin.get_object(Bucket=bucket, Key=put(b"0123456789")[0], Range="bytes=3-5")["Body"].read() == b"345",
    "a policy lets a writer put locked objects, and nothing else": writer_may,
    "a policy can ask for If-None-Match (`s3:if-none-match`)":
        lambda: condition({"Null": {"s3:if-none-match": "false"}}, {"IfNoneMatch": "*"}, {}),
    "a policy can ask for a mode (`s3:object-lock-mode`)":
        lambda: condition({"StringEquals": {"s3:object-lock-mode": "COMPLIANCE"}}, lock(), lock("GOVERNANCE")),
    "a policy can ask for a retention (`s3:object-lock-remaining-retention-days`)": lambda: condition(
        {"NumericGreaterThanEquals": {"s3:object-lock-remaining-retention-days": "5"}}, lock(n=10), lock(n=2)),
    "SSE-S3 is taken and told": lambda: head(put(ServerSideEncryption="AES256")).get("ServerSideEncryption") == "AES256",
    "the lifecycle rules of `vault policy` are taken": lifecycle,
}


def answer(probe):
    """What a probe finds; a probe that can't be made is an answer too."""
    try:
        found = probe()
    except AssertionError as error:
        found = f"no: {error}"
    except (ClientError, BotoCoreError, KeyError) as error:
        found = f"can't be tried: {type(error).__name__}"
    return {True: "yes", False: "no"}.get(found, found) if isinstance(found, bool) else found


if __name__ == "__main__":
    print(json.dumps({what: answer(probe) for what, probe in ROWS.items()}))
