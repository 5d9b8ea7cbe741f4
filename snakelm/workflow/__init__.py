"""What a step of the workflow is: its declaration, settings, manifest, code digest, exit codes,
signals and locks.
"""
