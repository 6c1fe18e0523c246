"""A bucket on an S3 server or in a directory: put, get, list and delete, one contract for both.

A bucket knows keys and bytes. What the bytes mean, whether they are signed and in what order they are put is
decided elsewhere; the store is trusted with none of it.

- `bucket`      the contract
- `location`    the location of a bucket, as a person writes it
- `credentials` of a bucket, where they change while it is open
- `opening`     opens the bucket at a location
- `s3` `s3_get` `s3_session` `s3_trust` `s3_errors` `s3_codes`   on an S3 server
- `s3` `s3_get` `s3_trust` `s3_errors` `s3_codes`   on an S3 server
- `s3_many`     on one, for a reader of many objects
- `directory`   in a directory
- `memory`      of objects at hand, and of what was read of another
- `ahead`       one of which some objects are asked for ahead
- `kept`        one of which some objects are kept on this machine
"""
