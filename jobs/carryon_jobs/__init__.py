"""A job as people and programs outside of the operator see it and act on it: what command, API and page share."""
