"""An audit run that the studio has open: what its pages ask of it, in the words of the API."""
