"""Pictures that answer to the reader: live opacity, threshold and colours in one file of HTML."""
