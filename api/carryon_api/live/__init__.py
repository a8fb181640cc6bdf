"""Live events, and how far the units at work are."""
