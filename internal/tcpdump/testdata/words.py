#!/usr/bin/python3
"""Writes words.pcap: frames for tcpdump words that no capture at hand makes it say.

The bytes come from scapy (https://scapy.net, Debian's python3-scapy 2.5.0), so that neither
tcpdump's words nor ours depend on how culvert builds packets. The same scapy writes the same
file. Run it in this directory; then record.sh.
"""

import logging
import struct

logging.getLogger("scapy").setLevel(logging.ERROR)
from scapy.layers.inet import ICMP, IP, TCP, UDP  # noqa: E402
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether  # noqa: E402
from scapy.layers.vxlan import VXLAN  # noqa: E402
from scapy.packet import raw  # noqa: E402

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
ETH = Ether(src=A, dst=B)
frames = []  # bytes, and length on the wire if the capture cut them


def add(packet, wire=None, cut=None):
    data = raw(packet)
    frames.append((data[:cut], wire or len(data)))


def ip(**fields):
    return IP(src="192.0.2.1", dst="192.0.2.2", id=7, **fields)


def quoted(transport, **fields):
    return raw(IP(src="10.0.0.1", dst="10.0.0.2", id=9, **fields) / transport)


# ARP: every operation with words of its own, a target address in a request, padding, tags
for op in (1, 2, 3, 4, 5):
    add(ETH / ARP(op=op, hwsrc=A, psrc="10.0.0.1", hwdst=B, pdst="10.0.0.2"))
add(ETH / ARP(op=1, hwsrc=A, psrc="0.0.0.0", hwdst="00:00:00:00:00:00", pdst="10.0.0.2"))
add(raw(ETH / ARP(op=2, hwsrc=A, psrc="10.0.0.1", hwdst=B, pdst="10.0.0.2")) + bytes(18))
add(ETH / Dot1AD(vlan=200, prio=3) / Dot1Q(vlan=5, id=1) / ARP(hwsrc=A, psrc="10.0.0.1", hwdst=B, pdst="10.0.0.2"))

# ICMP: echo, and every code of every error with words of its own
add(ETH / ip() / ICMP(type=8, id=3, seq=4) / b"data")
add(ETH / ip() / ICMP(type=0, id=3, seq=4))
add(ETH / ip() / ICMP(type=42))
udp = quoted(UDP(sport=1024, dport=7) / b"abcdefgh")
for code in range(17):
    add(ETH / ip() / ICMP(type=3, code=code, nexthopmtu=1450 if code == 4 else 0) / udp)
for kind, codes in ((4, 1), (5, 5), (11, 3), (12, 2)):
    for code in range(codes):
        add(ETH / ip() / ICMP(type=kind, code=code, gw="10.0.0.254" if kind == 5 else None, ptr=9 if kind == 12 else None) / udp)

# what an error quotes: TCP whole and cut, ICMP, IPIP, a later fragment, a wrong checksum
tcp = quoted(TCP(sport=1024, dport=80, seq=5) / b"abcdefgh")
for quote in (tcp, tcp[:28], quoted(ICMP(type=8)), quoted(IP(src="10.1.0.1", dst="10.1.0.2", id=1) / UDP(sport=1024, dport=7)),
              quoted(b"12345678", frag=5, proto=17), quoted(UDP(sport=1024, dport=7), chksum=1)):
    add(ETH / ip() / ICMP(type=3, code=3) / quote)

# TCP: flags, urgent pointer, options, a wrong checksum
for flags in ("S", "SA", "A", "PA", "FA", "R", "FSRPAUEC", ""):
    add(ETH / ip() / TCP(sport=1024, dport=7, seq=4294967290, ack=77, flags=flags, urgptr=3) / (b"0123456789" if flags == "PA" else b""))
options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 2)), ("NOP", None), ("WScale", 7)]
add(ETH / ip() / TCP(sport=1024, dport=7, options=options))
add(ETH / ip() / TCP(sport=1024, dport=7, flags="A", options=[("NOP", None), ("NOP", None), ("SAck", (1, 2, 3, 4))]))
add(ETH / ip() / TCP(sport=1024, dport=7, options=[(9, b"\1\2"), ("EOL", None)]))
add(ETH / ip() / TCP(sport=1024, dport=7, chksum=1))

# IPv4: flags, TOS, TTL 0, options, protocols, a wrong checksum
for flags in range(8):
    add(ETH / ip(flags=flags, proto=17) / raw(UDP(sport=1024, dport=7) / b"12345678"))
for tos in (0, 1, 2, 3, 0xB8):
    add(ETH / ip(tos=tos, ttl=0) / UDP(sport=1024, dport=7))
for o in (b"\x94\4\0\0", b"\7\7\4\1\2\3\4\0", b"\x83\x0b\x08" + bytes(range(8)) + b"\0", b"\x89\7\4\1\2\3\4\0", b"\1\1\1\0",
          b"\x1e\4\0\0", b"\x82\4\0\0"):
    add(ETH / ip(options=o) / UDP(sport=1024, dport=7))
for proto in (0, 61, 253):
    add(ETH / ip(proto=proto) / b"12345678")
add(ETH / ip(chksum=1) / UDP(sport=1024, dport=7))

# UDP: no checksum, a wrong one
add(ETH / ip() / UDP(sport=1024, dport=7, chksum=0) / b"1")
add(ETH / ip() / UDP(sport=1024, dport=7, chksum=1) / b"1")

# tunnels, tagged and nested
inner = Ether(src=B, dst=A) / IP(src="10.0.0.1", dst="10.0.0.2", id=9) / UDP(sport=1024, dport=7)
for port in (4789, 8472):
    add(ETH / Dot1Q(vlan=7) / ip() / UDP(sport=1024, dport=port) / VXLAN(vni=66051) / inner)
add(ETH / ip() / UDP(sport=1024, dport=4789) / VXLAN(vni=1) / ETH / ip() / UDP(sport=1024, dport=4789, chksum=0) / VXLAN(vni=2) / inner)
add(ETH / ip() / inner[IP])
add(ETH / ip() / ip() / ip() / ICMP(id=1, seq=2))

# cut by a snap length
whole = ETH / ip() / TCP(sport=1024, dport=7) / bytes(100)
for cut in (30, 36, 40, 100):
    add(whole, cut=cut)
add(ETH / ip() / UDP(sport=1024, dport=7) / bytes(100), cut=60)
add(ETH / ip() / UDP(sport=1024, dport=4789) / VXLAN(vni=1) / inner, cut=80)

# what nobody reads
add(Ether(src=A, dst=B, type=0x88B5) / bytes(4))

with open("words.pcap", "wb") as out:
    out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
    for number, (data, wire) in enumerate(frames):
        out.write(struct.pack("<IIII", number, 0, len(data), wire) + data)
