"""The page on which a business lets an app in."""
