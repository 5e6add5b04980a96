"""How a process gives up what it could do: Landlock, seccomp, namespaces, limits, capabilities; ctypes only."""
