"""A bucket, on an S3 server or in a directory: put, get, list, one contract for both.

The room knows keys and bytes. What the bytes mean, whether they are signed and in what order they
are put is other rooms' business; the store is trusted with none of it.

- `bucket`      the contract
- `location`    where a bucket is
- `opening`     opens the bucket of a location
- `s3` `s3_errors`   on an S3 server
- `directory`   in a directory
"""
