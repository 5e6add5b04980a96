"""One folder each, all of one shape."""
