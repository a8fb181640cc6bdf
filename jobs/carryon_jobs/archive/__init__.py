"""A job as one file that goes anywhere: `.carryon` archives, and finished files with readable names.

`writing` and `reading` know zip, `members` what may lie in an archive. `exporting` makes one from what `holdings` finds
in a bucket. `checking` judges one before anything of it is used, by the `claims` of its members. `moving` rewrites its
job for another place, `importing` decides and `placing` writes. `downloading`, `readable` and `uploading` are for
single files.
"""
