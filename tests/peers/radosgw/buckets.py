"""Makes the buckets for a run.sh and prints its JSON line. A server whose root needs no policy has no ADMIN_PRINCIPAL."""
import json
import os
import time

import boto3
from botocore.config import Config

e = os.environ
REGION = "us-east-1"
s3 = boto3.client("s3", endpoint_url=e["ENDPOINT"], region_name=REGION, aws_access_key_id=e["ACCESS"], aws_secret_access_key=e["KEY"],
                  # newer defaults send CRC trailers, which Ceph Pacific does not know
                  config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 3}, request_checksum_calculation="when_required",
                                response_checksum_validation="when_required"))
locked = [b for b in e["BUCKETS"].split(",") if b]
plain = [b for b in e["PLAIN"].split(",") if b]
writer, admin = e.get("WRITER_PRINCIPAL", "arn:aws:iam:::user/writer"), e.get("ADMIN_PRINCIPAL", "arn:aws:iam:::user/admin")
for bucket in locked:
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    both = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    statements = [
        {"Effect": "Allow", "Principal": {"AWS": [writer]}, "Resource": [f"arn:aws:s3:::{bucket}/*"],
         "Action": ["s3:PutObject", "s3:PutObjectRetention", "s3:AbortMultipartUpload"]},
        # an object belongs to who wrote it: the writer must be kept out, the bucket's owner let in
        {"Effect": "Deny", "Principal": {"AWS": [writer]}, "Resource": both,
         "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:ListBucket",
                    "s3:ListBucketVersions", "s3:BypassGovernanceRetention"]}]
    if admin:
        statements.append({"Effect": "Allow", "Principal": {"AWS": [admin]}, "Action": ["s3:*"], "Resource": both})
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
for bucket in plain:
    s3.create_bucket(Bucket=bucket)
print(json.dumps({"endpoint": e["ENDPOINT"], "region": REGION, "access_key": e["ACCESS"], "secret_key": e["KEY"], "buckets": locked,
                  "plain": plain, "writer": {"access_key": e["WRITER"], "secret_key": e["WRITER_KEY"]}, "dir": e["DIR"],
                  "seconds": round(time.time() - float(e["BEGAN"]), 1)}))
