"""Lumen: a small closed world in words, with an exact oracle, a policy that lives in it and a judge that is only human.

It is the embedded default: people with facts, names shared by two, names nobody knows, insults and moods. Because the
world is made from a seed, what is true is known exactly, and whether AI feedback helped can be measured, not guessed.
"""
