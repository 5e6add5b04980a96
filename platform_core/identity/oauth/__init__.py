"""The OAuth 2.1 authorization server: Authlib's parts behind a Protocol of our own.

Frictions of Authlib 1.9.9 and joserfc 1.8.0 are numbered F01 to F39 where the code gets around them; the test of each
bears the same number.
"""
