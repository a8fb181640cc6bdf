"""A job as one file that goes anywhere: `.carryon` archives, and finished files with readable names.

`writing` and `reading` know zip, `members` what may lie in an archive, `exporting` makes one from a bucket, `checking`
judges one before anything of it is used, `moving` rewrites its job for another place, `importing` carries it out.
"""
