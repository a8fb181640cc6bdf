"""Models in a folder that the workers of a node share: downloaded once, checked, resumed, evicted."""
