"""The API. The `router` of each module in this folder is served under /api."""
