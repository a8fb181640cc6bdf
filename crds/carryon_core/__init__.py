"""The contract that operator, worker, store, API and command line share.

Types of the `GenerationJob` resource, index ranges, fingerprints, the layout of the bucket and the messages between
operator and worker. Nothing here talks to a cluster, a bucket or a GPU.
"""
