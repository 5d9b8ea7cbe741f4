"""Documents as vectors, and the map of them.

`generate` writes documents.parquet (a vector of each selected document), `layout` computes where
each one lies on a plane, `map` keeps that as map.parquet. Figures and pages are drawn elsewhere.
"""
