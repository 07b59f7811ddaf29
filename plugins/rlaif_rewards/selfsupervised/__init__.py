"""Feedback that needs no labels and no judge: tasks made of texts and questions, and the rewards that check them."""
