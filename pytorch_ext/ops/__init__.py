"""One folder for each operator, named by its mathematics."""
