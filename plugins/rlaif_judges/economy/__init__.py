"""Economy: a reply is paid for once, a budget is kept, and every call is written down."""
