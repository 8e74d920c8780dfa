"""One module per page of the studio; each brings a `router`, and is found by being here."""
