"""The routes, a module for each concern; `app` puts them together."""
