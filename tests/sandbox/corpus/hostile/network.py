"""Reaching others: each tells a listener of the witnesses its mode's name."""

import os
import socket
import urllib.request

from .attack import collect, syscall

MODES, mode = collect()
HELLO = b"hello from the plugin"


@mode
def tcp(at):
    with socket.create_connection(("127.0.0.1", at.tcp_port), timeout=2) as line:
        line.sendall(HELLO)


@mode
def tcp_by_call(at):
    """The kernel's calls themselves: socket, then connect."""
    line = socket.socket(fileno=syscall(41, 2, 1, 0))
    line.settimeout(2)
    line.connect(("127.0.0.1", at.tcp_port))
    line.sendall(HELLO)


@mode
def http(at):
    urllib.request.urlopen(f"http://127.0.0.1:{at.tcp_port}/", timeout=2).read()


@mode
def udp(at):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.sendto(HELLO, ("127.0.0.1", at.udp_port))


@mode
def udp_v6(at):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as line:
        line.sendto(HELLO, ("::ffff:127.0.0.1", at.udp_port))


@mode
def unix_path(at):
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(at.unix_path)
        line.sendall(HELLO)


@mode
def unix_abstract(at):
    with socket.socket(socket.AF_UNIX) as line:
        line.connect("\0" + at.unix_abstract)
        line.sendall(HELLO)


@mode
def pair_to_path(at):
    """A datagram socket born in a pair can be sent from to any path."""
    ours, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.sendto(HELLO, at.unix_datagram)


@mode
def channel_to_path(at):
    """The channel itself, with an address."""
    with socket.socket(fileno=os.dup(3)) as channel:
        channel.sendmsg([HELLO], [], 0, at.unix_datagram)


@mode
def stream_pair_reconnect(at):
    """A connected pair is taken apart and connected to a path."""
    ours, theirs = socket.socketpair()
    theirs.close()
    ours.connect(at.unix_path)
    ours.sendall(HELLO)


@mode
def listen(at):
    """Wait for somebody on a port."""
    with socket.create_server(("127.0.0.1", at.free_port)) as server:
        server.settimeout(1)
        server.accept()
