"""What runs inside a network namespace of a test: servers and single questions.

net_peer.py serve PORT...                 TCP: answers `ok`; UDP: prints the port it was reached at
net_peer.py stream PORT                   TCP: a byte every 10 ms, for at most two minutes
net_peer.py read ADDRESS PORT             prints a line for each byte that comes, and sends nothing
net_peer.py ask ADDRESS PORT SECONDS      prints open, refused or silent
net_peer.py udp ADDRESS PORT [FROM-PORT]  sends one datagram
net_peer.py ping ADDRESS SECONDS          prints answered or silent
net_peer.py raw ADDRESS PROTOCOL          sends one packet of an IP protocol
net_peer.py raw-serve PROTOCOL            prints the protocol for each packet that comes
"""

import socket
import struct
import sys
import threading
import time


def main(command: str, *words: str) -> None:
    """Run one command; servers run until they are killed, and print `ready` first."""
    COMMANDS[command](*words)


def say(text: str) -> None:
    print(text, flush=True)


def listening(port: str) -> socket.socket:
    return socket.create_server(("", int(port)), family=socket.AF_INET6, dualstack_ipv6=True)


def serve(*ports: str) -> None:
    threads = []
    for port in ports:
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(("", int(port)))
        server = listening(port)
        threads += [
            threading.Thread(target=_answer, args=(server,)),
            threading.Thread(target=_print_datagrams, args=(datagrams, port)),
        ]
    for thread in threads:
        thread.start()
    say("ready")


def _answer(server: socket.socket) -> None:
    while True:
        peer, _ = server.accept()
        with peer:
            peer.sendall(b"ok")


def _print_datagrams(datagrams: socket.socket, port: str) -> None:
    while True:
        datagrams.recv(100)
        say(port)


def stream(port: str) -> None:
    server = listening(port)
    say("ready")
    peer, _ = server.accept()
    for _ in range(12000):
        peer.sendall(b".")
        time.sleep(0.01)


def read(address: str, port: str) -> None:
    with socket.create_connection((address, int(port)), 20) as peer:
        while peer.recv(1):
            say("byte")


def ask(address: str, port: str, seconds: str) -> None:
    try:
        with socket.create_connection((address, int(port)), float(seconds)) as peer:
            say("open" if peer.recv(2) == b"ok" else "closed")
    except ConnectionRefusedError:
        say("refused")
    except TimeoutError:
        say("silent")


def udp(address: str, port: str, from_port: str = "0") -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("", int(from_port)))
        sender.sendto(b"x", (address, int(port)))


def ping(address: str, seconds: str) -> None:
    is_v6 = ":" in address
    family, kind = (socket.AF_INET6, 128) if is_v6 else (socket.AF_INET, 8)
    protocol = socket.IPPROTO_ICMPV6 if is_v6 else socket.IPPROTO_ICMP
    body = struct.pack("!HH", 77, 1)
    # IPv4's checksum over type, code, itself as 0, and body; for IPv6 the kernel makes it
    total = (kind << 8) + sum(struct.unpack("!HH", body))
    checksum = 0 if is_v6 else ~total & 0xFFFF
    with socket.socket(family, socket.SOCK_RAW, protocol) as sender:
        sender.settimeout(float(seconds))
        sender.sendto(struct.pack("!BBH", kind, 0, checksum) + body, (address, 0))
        answer = 129 if is_v6 else 0
        try:
            while True:
                packet = sender.recv(200)
                if packet[0 if is_v6 else 20] == answer:
                    say("answered")
                    return
        except TimeoutError:
            say("silent")


def raw(address: str, protocol: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, int(protocol)) as sender:
        sender.sendto(b"xxxxxxxx", (address, 0))


def raw_serve(protocol: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, int(protocol)) as receiver:
        say("ready")
        while receiver.recv(200):
            say(protocol)


COMMANDS = {
    "serve": serve,
    "stream": stream,
    "read": read,
    "ask": ask,
    "udp": udp,
    "ping": ping,
    "raw": raw,
    "raw-serve": raw_serve,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
