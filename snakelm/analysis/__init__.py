"""Draws what the steps of a run left: figures, tables and the model card. It draws, and only draws.

Nothing here trains, measures or loads a model, and nothing else in snakelm imports it; torch is
never imported. `run_record` reads what there is to say, `figures/` and `tables/` compute what is
shown, `templates/` lay the pages out, `plot` lists which output comes from what.
"""
