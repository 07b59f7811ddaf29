"""Who answers requests: servers, models in this process, the policy itself."""
