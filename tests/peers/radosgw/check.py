#!/usr/bin/env python3
"""What the vault needs of this S3, checked: check.py < line of run.sh   (with the venv that run.sh makes: venv-s3)"""
import datetime
import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

line = json.load(sys.stdin)
bucket, plain = line["buckets"][0], line["plain"][0]


def client(keys):
    return boto3.client("s3", endpoint_url=line["endpoint"], region_name=line["region"], aws_access_key_id=keys["access_key"],
                        aws_secret_access_key=keys["secret_key"], config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1},
                        request_checksum_calculation="when_required", response_checksum_validation="when_required"))


admin, writer = client(line), client(line["writer"])
until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
failed = 0


def check(name, wanted, call, **arguments):
    global failed
    try:
        got = call(**arguments)["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as e:
        got = e.response["ResponseMetadata"]["HTTPStatusCode"]
    failed += got != wanted
    print(f"{'ok  ' if got == wanted else 'FAIL'} {name}: {got}" + ("" if got == wanted else f", wanted {wanted}"))


lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
check("writer puts a locked object", 200, writer.put_object, Bucket=bucket, Key="a", Body=b"x" * 70000, **lock)
version = admin.head_object(Bucket=bucket, Key="a")["VersionId"]
check("writer reads it", 403, writer.get_object, Bucket=bucket, Key="a")
check("writer lists", 403, writer.list_objects_v2, Bucket=bucket)
check("writer deletes the version", 403, writer.delete_object, Bucket=bucket, Key="a", VersionId=version)
check("admin reads it", 200, admin.get_object, Bucket=bucket, Key="a")
check("admin deletes the locked version", 403, admin.delete_object, Bucket=bucket, Key="a", VersionId=version)
check("bypass does not help", 403, admin.delete_object, Bucket=bucket, Key="a", VersionId=version, BypassGovernanceRetention=True)
check("shorter retention", 403, admin.put_object_retention, Bucket=bucket, Key="a", VersionId=version,
      Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until - datetime.timedelta(hours=1)})
check("longer retention", 200, admin.put_object_retention, Bucket=bucket, Key="a", VersionId=version,
      Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until + datetime.timedelta(hours=1)})
check("plain delete makes a marker", 204, admin.delete_object, Bucket=bucket, Key="a")
check("the version is still there", 200, admin.get_object, Bucket=bucket, Key="a", VersionId=version)
check("a lock on a plain bucket", 400, admin.put_object, Bucket=plain, Key="a", Body=b"x", **lock)
check("a date in the past", 400, admin.put_object, Bucket=bucket, Key="b", Body=b"x", ObjectLockMode="COMPLIANCE",
      ObjectLockRetainUntilDate=until - datetime.timedelta(days=2))
check("versioning off on a lock bucket", 409, admin.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
# what this store does not do: known, so that nobody builds on it
check("If-None-Match on a versioned bucket is ignored (known)", 200, admin.put_object, Bucket=bucket, Key="a", Body=b"y", IfNoneMatch="*")
sys.exit(failed > 0)
