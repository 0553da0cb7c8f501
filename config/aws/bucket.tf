
resource "aws_s3_bucket" "{name}" {
  bucket              = "{bucket}"
  object_lock_enabled = true
}

resource "aws_s3_bucket_versioning" "{name}" {
  bucket = aws_s3_bucket.{name}.id
  versioning_configuration { status = "Enabled" }
}

resource "aws_s3_bucket_object_lock_configuration" "{name}" {
  bucket = aws_s3_bucket.{name}.id
  rule {
    default_retention {
      mode = "{mode}"
      days = {days}
    }
  }
}

resource "aws_s3_bucket_ownership_controls" "{name}" {
  bucket = aws_s3_bucket.{name}.id
  rule { object_ownership = "BucketOwnerEnforced" }
}

resource "aws_s3_bucket_public_access_block" "{name}" {
  bucket                  = aws_s3_bucket.{name}.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_policy" "{name}" {
  bucket = aws_s3_bucket.{name}.id
  policy = <<-JSON
{policy}
  JSON
}
