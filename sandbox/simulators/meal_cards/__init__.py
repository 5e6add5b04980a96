"""A network of meal cards: it charges a card by the code that its holder shows."""
