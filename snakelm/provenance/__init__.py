"""What a file was made from: the chain of manifests, and where a token came from."""
