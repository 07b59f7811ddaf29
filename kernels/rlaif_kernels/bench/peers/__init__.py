"""Those we are compared with: torch's own formulas, and the installed functions of other projects, called as they are.

A peer is imported when its turn comes. Nothing of theirs is copied here; where one of them means something else than
the operation does, its note says so, and the case gives it inputs on which both mean the same.
"""
