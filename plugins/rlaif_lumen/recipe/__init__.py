"""How the packaged weights are made: corpus, policy, judge. The only trainer that may consult the oracle, and it does
so only where people would have been paid to label answers.
"""
