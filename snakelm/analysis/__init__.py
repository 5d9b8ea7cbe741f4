"""What a finished run is judged by: baselines, figures and tables, made from files that earlier
steps left.

Nothing here trains or loads a model; torch is never imported.
"""
