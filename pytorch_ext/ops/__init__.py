"""One folder an operator, named by its mathematics."""
