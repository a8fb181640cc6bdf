"""Certifies the zoo: every pipeline with every sampler that it is used with, in processes that are really killed."""
