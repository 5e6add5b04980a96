"""T+1: what a booking day's money becomes, and what is kept of it."""
