"""What the owner of a server's buckets does to their objects: objects.py COMMAND ARGUMENT… < line of a run.sh, with the venv of the servers.

    fetch FOLDER    every version into FOLDER/BUCKET, and one line each: its lock, and what a deletion gets
    hide NAME       a plain delete, which leaves a marker;    unhide NAME: the marker goes
    again NAME      puts the same bytes as a second version
    held PREFIX     of the second bucket: [legal hold, what a deletion that bypasses governance gets] of each version
"""
import json
import os
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

line, (command, argument) = json.load(sys.stdin), sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=line["endpoint"], region_name=line["region"], aws_access_key_id=line["access_key"],
                  aws_secret_access_key=line["secret_key"], config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2},
                  request_checksum_calculation="when_required", response_checksum_validation="when_required"))


def asked(call, **arguments):
    try:
        return call(**arguments)["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]


def versions(bucket, prefix="", kind="Versions"):
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        for one in page.get(kind, []):
            yield {"Bucket": bucket, "Key": one["Key"], "VersionId": one["VersionId"]}


bucket, keys = line["buckets"][:2]
if command == "fetch":
    for at in (at for one in line["buckets"] for at in versions(one)):
        path = os.path.join(argument, at["Bucket"], at["Key"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        s3.download_file(at["Bucket"], at["Key"], path, ExtraArgs={"VersionId": at["VersionId"]})
        lock = s3.get_object_retention(**at)["Retention"]
        print(json.dumps({"bucket": at["Bucket"], "key": at["Key"], "mode": lock["Mode"], "until": lock["RetainUntilDate"].timestamp(),
                          "delete": asked(s3.delete_object, **at)}), flush=True)
elif command == "held":
    for at in versions(keys, argument):
        hold = s3.get_object_legal_hold(**at)["LegalHold"]["Status"]
        print(json.dumps([hold, asked(s3.delete_object, BypassGovernanceRetention=True, **at)]))
elif command == "hide":
    s3.delete_object(Bucket=bucket, Key=argument)
elif command == "unhide":
    for at in versions(bucket, argument, "DeleteMarkers"):
        s3.delete_object(**at)
elif command == "again":
    s3.put_object(Bucket=bucket, Key=argument, Body=s3.get_object(Bucket=bucket, Key=argument)["Body"].read())
