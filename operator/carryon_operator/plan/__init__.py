"""Decisions about one job: pure functions from what was observed to what should happen.

`decide` reads top to bottom; each policy (what a pod's end means, whose budget is used, what may start) has a module of
its own. Nothing here talks to a cluster or a bucket, so every rule has a table test.
"""
