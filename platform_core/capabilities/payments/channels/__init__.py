"""How a merchant's payments reach acquirers: channel accounts, and the rules that order them."""
