"""Finished files, as browsers want them: whole or in part."""
