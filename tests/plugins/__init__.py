"""First-party plugins as their authors keep them."""
