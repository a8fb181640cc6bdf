"""The operator: watches GenerationJobs, decides what is missing, launches worker pods for it."""
