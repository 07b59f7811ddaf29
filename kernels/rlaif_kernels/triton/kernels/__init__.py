"""What runs on the GPU. The files beside this folder choose the grids and own the memory.

Three rules hold throughout: offsets of rows are int64; a mask selects and never multiplies, for what it hides may be
NaN; and how a row is cut up depends on its own length alone, so that its result does not depend on its company.
"""
