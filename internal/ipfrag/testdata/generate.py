"""Writes scapy.json: packets, and the fragments that scapy (Debian's python3-scapy) cuts them into.

    /usr/bin/python3 testdata/generate.py >testdata/scapy.json

scapy copies all options into every fragment, so packets have only such as RFC 791 wants copied; and it fills the last
fragment no more than the others, so every MTU is a header and a multiple of 8.
"""

import json
import logging
import random

logging.getLogger("scapy").setLevel(logging.ERROR)  # its remarks about missing interfaces

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_Router_Alert, fragment  # noqa: E402
from scapy.packet import Raw, raw  # noqa: E402

rng = random.Random(1)


def data(n):
    return Raw(rng.randbytes(n))


def packet(upper, **fields):
    values = dict(src="192.0.2.1", dst="198.51.100.2", ttl=61, id=0x1234)
    return IP(raw(IP(**{**values, **fields}) / upper))


CASES = [
    ("UDP, two fragments", 576, packet(UDP(sport=1, dport=2) / data(700))),
    ("UDP, the payload a multiple of the fragments", 44, packet(UDP(sport=1, dport=2) / data(64))),
    ("UDP, a last fragment of one byte", 44, packet(UDP(sport=1, dport=2) / data(65))),
    ("TCP, its header in three fragments", 28, packet(TCP(sport=1, dport=2, flags="S") / data(3))),
    ("ICMP, ten fragments", 148, packet(ICMP() / data(1230))),
    ("TOS and DF", 68, packet(UDP(sport=1, dport=2) / data(99), tos=0xBA, flags="DF")),
    ("an option that is copied", 72, packet(UDP(sport=1, dport=2) / data(99), options=[IPOption_Router_Alert()])),
    ("the largest MTU of Ethernet", 1500, packet(UDP(sport=1, dport=2) / data(3000))),
]


def case(name, mtu, whole):
    parts = fragment(whole, fragsize=mtu - whole.ihl * 4)
    return dict(name=name, mtu=mtu, whole=raw(whole).hex(), fragments=[raw(p).hex() for p in parts])


def middle():
    """A fragment, and what it is cut into: it cannot be put together again alone."""
    part = IP(raw(fragment(packet(UDP(sport=1, dport=2) / data(300)), fragsize=152)[1]))
    return dict(case("a fragment is cut further", 68, part), part=True)


print(json.dumps([case(*c) for c in CASES] + [middle()], indent=1))
