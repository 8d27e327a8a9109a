"""A promotion in the forms of other tools. Each exporter takes a `Source` and returns a `File`."""
