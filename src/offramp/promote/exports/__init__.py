"""A promotion in the forms of other tools. One file a tool; each takes a `Source` and gives a `File`."""
