"""Telling webhooks: where they may lie, what they are sent, and sending it without holding anything up."""
