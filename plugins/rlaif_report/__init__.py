"""A run as one page. The core records; this plugin, told that a run has ended, makes the record readable."""
