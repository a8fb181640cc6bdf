"""The node of the standalone control plane: one machine that schedules pods onto itself and runs them as processes."""
