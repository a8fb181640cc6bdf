"""The units of a job: how each stands, what was made of it, what was tried, what it logged."""
