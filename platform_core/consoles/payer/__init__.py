"""What a customer sees who pays: the payer's page of a payment, and the page behind a printed code."""
