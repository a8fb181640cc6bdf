"""The status API and the page: GenerationJobs over HTTP, for people and programs without kubectl."""
