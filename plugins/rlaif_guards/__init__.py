"""Against over-optimisation: observers that see the proxy part from what was meant, and actions that press it less."""
