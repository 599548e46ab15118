"""Who may do what, how often and for how much."""
