"""Does nothing: it is there to be attacked."""
