"""An SMS gateway that signs what it says, and expects to be spoken to with signatures."""
