"""SVG figures of a run: made with matplotlib, the same bytes from the same numbers, readable in
light and dark.
"""
