"""What every other package stands on: money, ids, clock, errors, settings, database, commit. It knows nobody."""
