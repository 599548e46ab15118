"""Which target answers: profile, mode, rules, ladder."""
