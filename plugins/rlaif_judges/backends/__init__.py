"""Who answers what judges ask: each backend turns requests into replies, and knows nothing of judging."""
