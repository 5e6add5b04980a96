"""The Alipay-compatible door of the sandbox: see docs/how-to/alipay-keys-and-signatures.md."""
