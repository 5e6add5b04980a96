"""All that a plugin author may import. Nothing is loaded here: name the module you need.

A confined worker imports only what its plugin names, so a module of this package stays light: the standard library,
and pluggy in `hooks` alone.
"""
