"""Running a user's model without harming it: hooks, state, replay and memory."""
