"""Writes vectors.json: frames that an independent encoder made, and what stands in them.

The frames are built by scapy (https://scapy.net, Debian's python3-scapy), and every expected
field is read back from the finished bytes by scapy's own layer classes, so a mistake in this
module's codecs cannot hide in its test data. Nothing here depends on time, on chance or on the
network: the same scapy writes the same file. Run it from the root of the repository:

    /usr/bin/python3 internal/vectors/generate.py > internal/vectors/vectors.json

With `--pcap DIR` it writes DIR/ethernet.pcap and DIR/ipv4.pcap instead, for tcpdump and tshark
to be asked for a third opinion.

How far a frame is read:
  - A wrong checksum is recorded and does not stop the reading.
  - A fragment is never decapsulated. The first one still shows its UDP, TCP or ICMP header if
    that is there whole, with checksum_ok null because the rest is missing; later ones show only
    payload.
  - VXLAN is UDP to port 4789 or 8472 with the I flag set; any other bit may have any value
    (RFC 7348 section 5). With the I flag clear the datagram is payload.
  - IPv4 in IPv4 is protocol 4; everything else that is not named below is payload.
  - Tags are 802.1Q (0x8100) and 802.1ad (0x88a8); any other EtherType ends the Ethernet header.
  - Every layer gets `offset` and `end`: frame[offset:end] is what the layer around it hands
    over, before the layer trims it to the length it declares itself.
  - `payload` always comes last, has no padding and may be empty.
"""

import argparse
import json
import logging
import os
import struct
import sys
from collections import namedtuple

logging.getLogger("scapy").setLevel(logging.ERROR)  # its remarks about missing interfaces

import scapy  # noqa: E402
from scapy.config import conf  # noqa: E402
from scapy.contrib.icmp_extensions import (  # noqa: E402
    ICMPExtensionHeader,
    ICMPExtensionMPLS,
)
from scapy.contrib.mpls import MPLS  # noqa: E402
from scapy.layers.inet import (  # noqa: E402
    ICMP,
    IP,
    TCP,
    UDP,
    IPOption,
    IPOption_EOL,
    IPOption_LSRR,
    IPOption_NOP,
    IPOption_RR,
    IPOption_Router_Alert,
    IPOption_Security,
    IPOption_SSRR,
    IPOption_Timestamp,
    fragment,
    in4_chksum,
)
from scapy.layers.inet6 import IPv6  # noqa: E402
from scapy.layers.l2 import ARP, LLC, SNAP, STP, Dot1AD, Dot1Q, Dot3, Ether  # noqa: E402
from scapy.layers.vxlan import VXLAN  # noqa: E402
from scapy.packet import Raw, raw  # noqa: E402
from scapy.utils import checksum, wrpcap  # noqa: E402

TPIDS = (0x8100, 0x88A8)  # IEEE 802.1Q-2018 table 9-1: C-tag, S-tag
MAX_LENGTH = 1500  # IEEE 802.3 clause 3.2.6: up to here the field is a length
VXLAN_PORTS = (4789, 8472)  # IANA; Linux before the assignment, still Flannel's
FLAG_I = 0x08
ICMP_ERRORS = (3, 4, 5, 11, 12)
ICMP_WITH_LENGTH = (3, 11, 12)  # RFC 4884 section 4
EXPERIMENT = 253  # RFC 3692 IP protocol number: nobody reads on behind it
LOCAL_EXPERIMENT = 0x88B5  # IEEE 802 local experimental EtherType

# One frame: `stack` names the layers before the payload and `bad` those with a wrong checksum;
# both are written by hand and held against what scapy reads.
V = namedtuple("V", "name note stack packet link bad", defaults=("ethernet", ""))


# ---- reading: what scapy finds in the finished bytes ----


def read(frame, link):
    """The layers of a frame, outermost first."""
    layers = []
    {"ethernet": read_ethernet, "ipv4": read_ipv4}[link](frame, 0, len(frame), layers)
    return layers


def add(layers, name, offset, header_len, end, **fields):
    place = {"layer": name, "offset": offset, "header_len": header_len, "end": end}
    layers.append({**place, **fields})


def read_payload(frame, at, end, layers):
    add(layers, "payload", at, 0, end, length=end - at)


def read_ethernet(frame, at, end, layers):
    head = Ether(frame[at : at + 14])  # scapy answers with Dot3 when it is a length
    kind = head.len if isinstance(head, Dot3) else head.type
    tags, pos = [], at + 14
    while kind in TPIDS:
        tag = Dot1Q(frame[pos : pos + 4])
        tags.append({"tpid": kind, "pcp": tag.prio, "dei": bool(tag.id), "vid": tag.vlan})
        kind, pos = tag.type, pos + 4
    add(layers, "ethernet", at, pos - at, end,
        dst=head.dst, src=head.src, tags=tags, ethertype=kind)
    if kind <= MAX_LENGTH:
        end = pos + kind
    following = {0x0800: read_ipv4, 0x0806: read_arp}.get(kind, read_payload)
    following(frame, pos, end, layers)


def read_arp(frame, at, end, layers):
    p = ARP(frame[at : at + 28])
    add(layers, "arp", at, 28, end,
        op=p.op, sender_mac=p.hwsrc, sender_ip=p.psrc,
        target_mac=p.hwdst, target_ip=p.pdst)
    read_payload(frame, at + 28, at + 28, layers)


def read_ipv4(frame, at, end, layers):
    size = IP(frame[at : at + 20]).ihl * 4
    head = frame[at : at + size]
    p = IP(head)
    add(layers, "ipv4", at, size, end,
        ihl=size, tos=p.tos, total_length=p.len, id=p.id,
        reserved_flag=bool(p.flags.evil), df=bool(p.flags.DF), mf=bool(p.flags.MF),
        frag_offset=p.frag * 8, ttl=p.ttl, protocol=p.proto,
        checksum=p.chksum, checksum_ok=checksum(head) == 0,
        src=p.src, dst=p.dst, options=head[20:].hex())
    read_transport(frame, at + size, at + p.len, p, layers)


def read_transport(frame, at, end, ip, layers):
    whole = not ip.flags.MF and ip.frag == 0
    known = {1: (8, read_icmp), 6: (20, read_tcp), 17: (8, read_udp)}
    least, following = known.get(ip.proto, (0, read_payload))
    if whole and ip.proto == 4:
        read_ipv4(frame, at, end, layers)
    elif following is read_payload or ip.frag or end - at < least:
        read_payload(frame, at, end, layers)
    else:
        following(frame, at, end, ip if whole else None, layers)


def sum_ok(proto, ip, segment):
    """Whether a UDP or TCP checksum is right; None (JSON null) in a fragment, where ip is None."""
    if ip is None:
        return None
    # A bare IP: given the dissected one, scapy takes the length from total_length instead of
    # from the segment, and the address from a source route.
    return in4_chksum(proto, IP(src=ip.src, dst=ip.dst), segment) == 0


def read_udp(frame, at, end, ip, layers):
    p = UDP(frame[at : at + 8])
    own_end = min(at + p.len, end)  # the first fragment has less than it declares
    ok = sum_ok(17, ip, frame[at:own_end])
    add(layers, "udp", at, 8, end,
        src_port=p.sport, dst_port=p.dport, length=p.len, checksum=p.chksum,
        checksum_ok=True if ip and p.chksum == 0 else ok)
    if ip and p.dport in VXLAN_PORTS and own_end - at >= 16 and frame[at + 8] & FLAG_I:
        read_vxlan(frame, at + 8, own_end, layers)
    else:
        read_payload(frame, at + 8, own_end, layers)


def read_tcp(frame, at, end, ip, layers):
    size = TCP(frame[at : at + 20]).dataofs * 4
    head = frame[at : at + size]
    p = TCP(head)
    add(layers, "tcp", at, size, end,
        src_port=p.sport, dst_port=p.dport, seq=p.seq, ack=p.ack, data_offset=size,
        flags=int(p.flags) & 0xFF, window=p.window, checksum=p.chksum,
        checksum_ok=sum_ok(6, ip, frame[at:end]), urgent=p.urgptr,
        options=head[20:].hex())
    read_payload(frame, at + size, end, layers)


def read_icmp(frame, at, end, ip, layers):
    p = ICMP(frame[at : at + 8])
    fields = dict(type=p.type, code=p.code, checksum=p.chksum,
                  checksum_ok=checksum(frame[at:end]) == 0 if ip else None,
                  rest=frame[at + 4 : at + 8].hex())
    if p.type in ICMP_ERRORS:
        declared = p.length * 4 if p.type in ICMP_WITH_LENGTH else 0
        fields.update(quote_offset=at + 8, quote_len=declared or end - at - 8)
    if (p.type, p.code) == (3, 4):
        fields.update(next_hop_mtu=p.nexthopmtu)
    add(layers, "icmp", at, 8, end, **fields)
    read_payload(frame, at + 8, end, layers)


def read_vxlan(frame, at, end, layers):
    p = VXLAN(frame[at : at + 8])
    # scapy names the 24 bits between the flags and the VNI by the flags that are set.
    if p.flags.G:
        reserved1, group = int(p.gpflags), p.gpid
    elif p.flags.NextProtocol:
        reserved1, group = p.reserved0 >> 8, (p.reserved0 & 0xFF) << 8 | p.NextProtocol
    else:
        reserved1, group = p.reserved1 >> 16, p.reserved1 & 0xFFFF
    add(layers, "vxlan", at, 8, end,
        flags=int(p.flags), reserved1=reserved1, gbp_group=group,
        vni=p.vni, reserved2=p.reserved2)
    read_ethernet(frame, at + 8, end, layers)


# ---- building blocks ----

# Two nodes, a pod on each, a router between; RFC 5737 and locally administered addresses.
NODE_A, NODE_B, ROUTER = "192.0.2.1", "192.0.2.2", "198.51.100.1"
POD_A, POD_B, POD_GW = "10.244.1.2", "10.244.2.3", "10.244.1.1"
NODE_MAC_A, NODE_MAC_B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
VTEP_MAC_A, VTEP_MAC_B = "66:12:34:56:78:0a", "66:12:34:56:78:0b"
POD_MAC = "ee:ee:ee:ee:ee:ee"
BROADCAST, ZERO_MAC = "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"

ETH = Ether(dst=NODE_MAC_B, src=NODE_MAC_A)
INNER_ETH = Ether(dst=VTEP_MAC_B, src=VTEP_MAC_A)


def pattern(n):
    """n bytes without a short period that a swapped or shifted read could hide behind."""
    return bytes((7 * i + i // 256 + 1) & 0xFF for i in range(n))


def data(n):
    return Raw(pattern(n))


def ip(**fields):
    return IP(**{"src": NODE_A, "dst": NODE_B, "id": 0x1234, "ttl": 64, **fields})


def pod_ip(**fields):
    return IP(**{"src": POD_A, "dst": POD_B, "id": 0x5678, "ttl": 63, **fields})


def udp(n=0, **fields):
    return UDP(**{"sport": 40000, "dport": 7, **fields}) / data(n)


def tcp(n=0, **fields):
    plain = {"sport": 40000, "dport": 80, "seq": 0x01020304, "ack": 0, "window": 64240}
    return TCP(**{**plain, **fields}) / data(n)


def echo(n=56, **fields):
    return ICMP(**{"type": 8, "id": 0x0BEE, "seq": 1, **fields}) / data(n)


def padded(packet, size=60, fill=b"\0"):
    """As a network card sends it: filled to 60 bytes (64 with the FCS), IEEE 802.3 clause 3.2.8."""
    frame = raw(packet)
    return frame + fill * (size - len(frame))


def tune(build, target, read_back):
    """Finds the 16-bit word for which build(word) gets the checksum target, and returns build(word).

    A checksum is the complement of a ones' complement sum, so adding a word to the data takes
    the same word away from it.
    """
    word = (read_back(build(0)) - target) % 0xFFFF
    return build(word)


def built(layer):
    return lambda packet: packet.__class__(raw(packet))[layer].chksum


# ---- Ethernet ----


def ethernet():
    tiny = Raw(pattern(4))
    own = {"type": LOCAL_EXPERIMENT}
    yield V("ethernet/untagged", "the plain frame", "ethernet ipv4 udp", ETH / ip() / udp(18))
    yield V("ethernet/header-only", "14 bytes and nothing behind them", "ethernet",
            Ether(dst=NODE_MAC_B, src=NODE_MAC_A, **own))
    yield V("ethernet/ethertype/unknown", "no length of its own, so padding stays in the payload",
            "ethernet", padded(Ether(dst=NODE_MAC_B, src=NODE_MAC_A, **own) / tiny))
    yield V("ethernet/ethertype/smallest", "0x0600 is the first EtherType after the lengths",
            "ethernet", Ether(dst=NODE_MAC_B, src=NODE_MAC_A, type=0x0600) / tiny)
    yield V("ethernet/ethertype/largest", "0xffff", "ethernet",
            Ether(dst=NODE_MAC_B, src=NODE_MAC_A, type=0xFFFF) / tiny)
    yield V("ethernet/ethertype/old-qinq-9100", "0x9100 is no tag in IEEE 802.1Q", "ethernet",
            Ether(dst=NODE_MAC_B, src=NODE_MAC_A, type=0x9100) / Raw(raw(Dot1Q(vlan=5, **own))))
    yield V("ethernet/ethertype/ipv6", "IPv6 is payload", "ethernet",
            ETH / IPv6(src="2001:db8::1", dst="2001:db8::2", hlim=64) / udp(4))
    yield V("ethernet/padded-to-60", "28 bytes of datagram, 18 of padding that are not payload",
            "ethernet ipv4 udp", padded(ETH / ip() / udp(0)))
    yield V("ethernet/padded-with-garbage", "padding need not be zero",
            "ethernet ipv4 udp", padded(ETH / ip() / udp(3), fill=b"\xa5"))
    yield V("ethernet/full-size", "1514 bytes", "ethernet ipv4", ETH / ip(proto=EXPERIMENT) / data(1480))
    yield V("ethernet/broadcast", "destination all ones", "ethernet ipv4 udp",
            Ether(dst=BROADCAST, src=NODE_MAC_A) / ip(dst="255.255.255.255") / udp(4, sport=68, dport=67))
    yield V("ethernet/multicast-ipv4", "RFC 1112 section 6.4 group address", "ethernet ipv4 udp",
            Ether(dst="01:00:5e:00:00:fb", src=NODE_MAC_A) / ip(dst="224.0.0.251", ttl=255) / udp(4))
    yield V("ethernet/multicast-ipv6", "RFC 2464 section 7 group address", "ethernet",
            Ether(dst="33:33:00:00:00:01", src=NODE_MAC_A)
            / IPv6(src="fe80::1", dst="ff02::1", hlim=255, nh=59))
    yield V("ethernet/multicast-source", "a group bit in the source is wrong and readable", "ethernet",
            Ether(dst=NODE_MAC_B, src="03:00:00:00:00:01", **own) / tiny)
    yield V("ethernet/zero-source", "a zero source is wrong and readable", "ethernet",
            Ether(dst=NODE_MAC_B, src=ZERO_MAC, **own) / tiny)

    yield from ethernet_llc()
    yield from ethernet_tags(tiny, own)


def ethernet_llc():
    bridge = dict(rootid=0x8000, rootmac=NODE_MAC_A, bridgeid=0x8000, bridgemac=NODE_MAC_A, portid=0x8001)
    to_bridges = dict(dst="01:80:c2:00:00:00", src=NODE_MAC_A)
    bpdu = LLC(dsap=0x42, ssap=0x42, ctrl=3) / STP(**bridge)
    yield V("ethernet/llc/stp-bpdu", "802.3: 38 bytes by the length field, then padding", "ethernet",
            padded(Dot3(**to_bridges) / bpdu))
    yield V("ethernet/llc/stp-bpdu-tagged", "the length stands behind the tag", "ethernet",
            padded(Ether(**to_bridges) / Dot1Q(vlan=7, prio=7, type=len(bpdu)) / bpdu))
    yield V("ethernet/llc/snap", "LLC/SNAP with an EtherType inside is still payload", "ethernet",
            padded(Dot3(dst=NODE_MAC_B, src=NODE_MAC_A) / LLC(dsap=0xAA, ssap=0xAA, ctrl=3)
                   / SNAP(OUI=0, code=LOCAL_EXPERIMENT) / Raw(b"snap")))
    yield V("ethernet/llc/length-1500", "the largest length", "ethernet",
            Dot3(dst=NODE_MAC_B, src=NODE_MAC_A, len=1500) / data(1500))
    yield V("ethernet/llc/length-3", "an LLC header and nothing else", "ethernet",
            padded(Dot3(dst=NODE_MAC_B, src=NODE_MAC_A) / LLC(dsap=0x42, ssap=0x42, ctrl=3)))
    yield V("ethernet/llc/length-0", "a length of zero, all the rest is padding", "ethernet",
            padded(Dot3(dst=NODE_MAC_B, src=NODE_MAC_A, len=0)))


def ethernet_tags(tiny, own):
    yield V("ethernet/vlan/802.1q", "one C-tag", "ethernet ipv4 udp",
            ETH / Dot1Q(vlan=100) / ip() / udp(18))
    yield V("ethernet/vlan/802.1ad", "one S-tag alone", "ethernet ipv4 udp",
            ETH / Dot1AD(vlan=200) / ip() / udp(18))
    yield V("ethernet/vlan/qinq", "S-tag, then C-tag", "ethernet ipv4 udp",
            ETH / Dot1AD(vlan=200) / Dot1Q(vlan=100) / ip() / udp(18))
    yield V("ethernet/vlan/two-c-tags", "0x8100 twice, as older bridges stack them", "ethernet ipv4 udp",
            ETH / Dot1Q(vlan=200) / Dot1Q(vlan=100) / ip() / udp(2))
    yield V("ethernet/vlan/c-tag-before-s-tag", "the unusual order", "ethernet ipv4 udp",
            ETH / Dot1Q(vlan=100) / Dot1AD(vlan=200) / ip() / udp(2))
    yield V("ethernet/vlan/three-tags", "S, S, C", "ethernet ipv4 udp",
            ETH / Dot1AD(vlan=3) / Dot1AD(vlan=2) / Dot1Q(vlan=1) / ip() / udp(2))
    yield V("ethernet/vlan/five-tags", "more than any fixed array of two or four", "ethernet ipv4 udp",
            ETH / Dot1AD(vlan=5, prio=5) / Dot1AD(vlan=4, id=1) / Dot1Q(vlan=3, prio=3)
            / Dot1Q(vlan=2, id=1) / Dot1Q(vlan=1, prio=1) / ip() / udp(2))
    yield V("ethernet/vlan/priority-tag", "VID 0: a priority and no VLAN", "ethernet ipv4 udp",
            ETH / Dot1Q(vlan=0, prio=6) / ip() / udp(2))
    yield V("ethernet/vlan/vid-1", "the lowest VLAN", "ethernet", ETH / Dot1Q(vlan=1, **own) / tiny)
    yield V("ethernet/vlan/vid-4094", "the highest VLAN", "ethernet", ETH / Dot1Q(vlan=4094, **own) / tiny)
    yield V("ethernet/vlan/vid-4095", "VID 4095 is reserved and readable", "ethernet",
            ETH / Dot1Q(vlan=4095, **own) / tiny)
    yield V("ethernet/vlan/padded-to-60", "a tagged frame of the smallest size", "ethernet ipv4 udp",
            padded(ETH / Dot1Q(vlan=100) / ip() / udp(1)))
    yield V("ethernet/vlan/header-only", "a tag and nothing behind it", "ethernet",
            ETH / Dot1Q(vlan=100, **own))
    for pcp in range(8):
        for dei in range(2):
            yield V(f"ethernet/vlan/pcp-{pcp}-dei-{dei}", "every PCP with both DEI values", "ethernet",
                    ETH / Dot1Q(prio=pcp, id=dei, vlan=0x555, **own) / tiny)
    for pcp in range(0, 8, 2):
        yield V(f"ethernet/vlan/qinq-pcp-{pcp}-{7 - pcp}", "S-tag and C-tag disagree in PCP and DEI",
                "ethernet",
                ETH / Dot1AD(prio=pcp, id=1, vlan=0xABC) / Dot1Q(prio=7 - pcp, id=0, vlan=0x123, **own) / tiny)


# ---- ARP ----


def arp():
    def frame(dst, op, sender, target, src=NODE_MAC_A):
        (sender_mac, sender_ip), (target_mac, target_ip) = sender, target
        return Ether(dst=dst, src=src) / ARP(
            op=op, hwsrc=sender_mac, psrc=sender_ip, hwdst=target_mac, pdst=target_ip)

    a, b = (NODE_MAC_A, NODE_A), (NODE_MAC_B, NODE_B)
    request = frame(BROADCAST, 1, a, (ZERO_MAC, NODE_B))
    reply = frame(NODE_MAC_A, 2, b, a, src=NODE_MAC_B)
    stack = "ethernet arp"
    yield V("arp/request", "who has", stack, request)
    yield V("arp/request/padded", "as seen on a wire: 18 bytes of padding", stack, padded(request))
    yield V("arp/request/unicast", "how a stale neighbour is probed (RFC 1122 section 2.3.2.1)", stack,
            frame(NODE_MAC_B, 1, a, (ZERO_MAC, NODE_B)))
    yield V("arp/request/target-mac-all-ones", "the target MAC of a request means nothing", stack,
            frame(BROADCAST, 1, a, (BROADCAST, NODE_B)))
    yield V("arp/reply", "is at", stack, reply)
    yield V("arp/reply/padded", "with padding that is not zero", stack, padded(reply, fill=b"\x5a"))
    yield V("arp/gratuitous/request", "sender and target address agree, op 1", stack,
            frame(BROADCAST, 1, a, (ZERO_MAC, NODE_A)))
    yield V("arp/gratuitous/reply", "sender and target address agree, op 2", stack,
            frame(BROADCAST, 2, a, (BROADCAST, NODE_A)))
    yield V("arp/probe", "RFC 5227 section 2.1.1: sender 0.0.0.0", stack,
            frame(BROADCAST, 1, (NODE_MAC_A, "0.0.0.0"), (ZERO_MAC, NODE_A)))
    yield V("arp/announcement", "RFC 5227 section 2.3: a request for the sender's own address", stack,
            frame(BROADCAST, 1, a, (ZERO_MAC, NODE_A), src=NODE_MAC_A))
    yield V("arp/sender-differs-from-frame", "the sender's MAC is not the frame's source", stack,
            frame(BROADCAST, 1, ("02:00:00:00:00:99", NODE_A), (ZERO_MAC, NODE_B)))
    yield V("arp/vlan", "inside 802.1Q", stack,
            Ether(dst=BROADCAST, src=NODE_MAC_A) / Dot1Q(vlan=100)
            / ARP(op=1, hwsrc=NODE_MAC_A, psrc=NODE_A, hwdst=ZERO_MAC, pdst=NODE_B))
    yield V("arp/vlan/qinq-padded", "inside QinQ, padded", stack,
            padded(Ether(dst=BROADCAST, src=NODE_MAC_A) / Dot1AD(vlan=200) / Dot1Q(vlan=100)
                   / ARP(op=1, hwsrc=NODE_MAC_A, psrc=NODE_A, hwdst=ZERO_MAC, pdst=NODE_B)))
    yield V("arp/rarp/request", "op 3 (RFC 903), here under ARP's EtherType", stack,
            frame(BROADCAST, 3, (NODE_MAC_A, "0.0.0.0"), (NODE_MAC_A, "0.0.0.0")))
    yield V("arp/rarp/reply", "op 4 (RFC 903), here under ARP's EtherType", stack,
            frame(NODE_MAC_A, 4, b, a, src=NODE_MAC_B))
    yield V("arp/rarp/own-ethertype", "0x8035 is not ARP: payload", "ethernet",
            Ether(dst=BROADCAST, src=NODE_MAC_A, type=0x8035)
            / ARP(op=3, hwsrc=NODE_MAC_A, psrc="0.0.0.0", hwdst=NODE_MAC_A, pdst="0.0.0.0"))


# ---- IPv4 ----


def ipv4():
    stack = "ethernet ipv4"

    def plain(n=8, **fields):
        return ETH / ip(proto=EXPERIMENT, **fields) / data(n)

    yield V("ipv4/plain", "no options", stack, plain())
    yield V("ipv4/raw-link", "without an Ethernet header", "ipv4",
            ip(proto=EXPERIMENT) / data(8), "ipv4")
    yield V("ipv4/raw-link/trailing-bytes", "bytes behind the total length on a raw link", "ipv4",
            raw(ip(proto=EXPERIMENT) / data(8)) + b"\xee" * 5, "ipv4")
    for n in (0, 1, 3, 5, 7):
        yield V(f"ipv4/length/payload-{n}", "nothing at all" if n == 0 else "an odd length", stack, plain(n))
    yield V("ipv4/length/trailing-bytes", "total length ends before the frame does", stack,
            raw(plain(21)) + b"\xee" * 19)
    yield V("ipv4/length/trailing-byte", "one byte too many", stack, raw(plain(26)) + b"\xee")
    for ecn, word in enumerate(("not-ect", "ect1", "ect0", "ce")):
        yield V(f"ipv4/tos/ecn-{word}", "RFC 3168 section 5", stack, plain(tos=ecn))
        yield V(f"ipv4/tos/ef-{word}", "DSCP 46 beside the ECN bits", stack, plain(tos=46 << 2 | ecn))
    yield V("ipv4/tos/network-control", "0xc0, as ICMP errors bear it", stack, plain(tos=0xC0))
    for ttl in (0, 1, 255):
        yield V(f"ipv4/ttl/{ttl}", "the ends of the field and the last hop", stack, plain(ttl=ttl))
    yield V("ipv4/id/0", "id 0", stack, plain(id=0))
    yield V("ipv4/id/65535", "id 0xffff", stack, plain(id=0xFFFF))
    yield V("ipv4/protocol/0", "hop-by-hop's number", stack, ETH / ip(proto=0) / data(4))
    yield V("ipv4/protocol/255", "reserved", stack, ETH / ip(proto=255) / data(4))
    yield V("ipv4/address/extremes", "from 0.0.0.0 to 255.255.255.255", stack,
            plain(src="0.0.0.0", dst="255.255.255.255"))
    yield from ipv4_options(stack)
    yield from ipv4_fragments(stack, plain)
    yield from ipv4_checksums(stack)


def ipv4_options(stack):
    def frame(*options, **fields):
        return ETH / ip(proto=EXPERIMENT, options=list(options), **fields) / data(8)

    route = ["192.0.2.254", "198.51.100.1", "203.0.113.9"]
    yield V("ipv4/options/record-route", "one hop recorded, two free", stack,
            frame(IPOption_RR(pointer=8, routers=[route[0], "0.0.0.0", "0.0.0.0"])))
    yield V("ipv4/options/record-route-full", "nine hops, the most that fit", stack,
            frame(IPOption_RR(pointer=40, routers=[f"198.51.100.{n}" for n in range(1, 10)])))
    yield V("ipv4/options/timestamp", "one timestamp, no address", stack,
            frame(IPOption_Timestamp(pointer=5, flg=0, timestamp=12345678)))
    yield V("ipv4/options/timestamp-address", "an address with each timestamp, overflow 3", stack,
            frame(IPOption_Timestamp(pointer=13, flg=1, oflw=3, internet_address=route[0], timestamp=12345678)))
    yield V("ipv4/options/router-alert", "RFC 2113", stack, frame(IPOption_Router_Alert()))
    yield V("ipv4/options/nop", "four times no-operation", stack, frame(*[IPOption_NOP()] * 4))
    yield V("ipv4/options/eol", "an end at once, then zeros", stack, frame(IPOption_EOL()))
    yield V("ipv4/options/nop-then-eol", "NOP, NOP, EOL and one byte to fill", stack,
            frame(IPOption_NOP(), IPOption_NOP(), IPOption_EOL()))
    yield V("ipv4/options/security", "RFC 791: eleven bytes and one of padding", stack,
            frame(IPOption_Security(security=0xF135, compartment=1, handling_restrictions=2)))
    yield V("ipv4/options/unknown", "a number nobody assigned, not copied", stack,
            frame(IPOption(copy_flag=0, optclass=0, option=30, value=pattern(6))))
    # No UDP or TCP here: under a source route their pseudo-header has the last hop's address.
    yield V("ipv4/options/loose-source-route", "one hop visited, one to go", "ethernet ipv4 icmp",
            ETH / ip(options=[IPOption_LSRR(pointer=8, routers=route[:2])]) / echo(8))
    yield V("ipv4/options/strict-source-route", "none visited", "ethernet ipv4 icmp",
            ETH / ip(options=[IPOption_SSRR(pointer=4, routers=route)]) / echo(8))
    yield V("ipv4/options/full", "40 bytes: IHL 15", stack,
            frame(IPOption_Router_Alert(), IPOption_RR(pointer=4, routers=["0.0.0.0"] * 8), IPOption_EOL()))
    yield V("ipv4/options/before-udp", "the UDP header moves back", "ethernet ipv4 udp",
            ETH / ip(options=[IPOption_Router_Alert()]) / udp(5))
    yield V("ipv4/options/before-tcp", "the TCP header moves back", "ethernet ipv4 tcp",
            ETH / ip(options=[IPOption_RR(routers=["0.0.0.0"] * 2)]) / tcp(5, flags="PA"))
    yield V("ipv4/options/empty-payload-padded", "options, then only padding", stack,
            padded(ETH / ip(proto=EXPERIMENT, options=[IPOption_Router_Alert()])))


def ipv4_fragments(stack, plain):
    udp_parts = fragment(ETH / ip() / udp(100), 40)
    icmp_parts = fragment(ETH / ip() / echo(100), 40)
    tcp_parts = fragment(ETH / ip() / tcp(60, flags="PA"), 32)
    for name, parts in (("udp", udp_parts), ("icmp", icmp_parts), ("tcp", tcp_parts)):
        yield V(f"ipv4/fragment/{name}-first", "MF and offset 0: the header is there, the checksum open",
                f"{stack} {name}", parts[0])
        yield V(f"ipv4/fragment/{name}-middle", "MF and an offset: no header", stack, parts[1])
        yield V(f"ipv4/fragment/{name}-last", "an offset without MF", stack, parts[-1])
    yield V("ipv4/fragment/udp-first-checksum-0", "no checksum was sent, and there is still nothing to verify",
            "ethernet ipv4 udp", fragment(ETH / ip() / udp(50, chksum=0), 24)[0])
    yield V("ipv4/fragment/udp-first-header-only", "the datagram breaks right behind the UDP header",
            "ethernet ipv4 udp", fragment(ETH / ip() / udp(20), 8)[0])
    yield V("ipv4/fragment/tcp-first-tiny", "RFC 1858: 8 bytes, too few for a TCP header", stack,
            fragment(ETH / ip() / tcp(8, flags="S"), 8)[0])
    yield V("ipv4/fragment/tcp-second-tiny", "RFC 1858: offset 8 carries the TCP flags", stack,
            fragment(ETH / ip() / tcp(8, flags="S"), 8)[1])
    yield V("ipv4/fragment/with-options", "the first fragment bears options", "ethernet ipv4 udp",
            fragment(ETH / ip(options=[IPOption_Router_Alert()]) / udp(60), 32)[0])
    yield V("ipv4/fragment/last-padded", "a short last fragment in a padded frame", stack,
            padded(fragment(ETH / ip() / udp(33), 40)[-1]))
    yield V("ipv4/fragment/whole-datagram-with-mf", "all of UDP is there, and yet more is announced",
            "ethernet ipv4 udp", ETH / ip(flags="MF") / udp(8))
    yield V("ipv4/fragment/df-and-mf", "a fragment that must not be fragmented", stack, plain(flags="DF+MF"))
    yield V("ipv4/fragment/df-and-offset", "DF in the last fragment", stack, plain(flags="DF", frag=3))
    yield V("ipv4/fragment/odd-length", "MF with a length that is no multiple of 8", stack, plain(13, flags="MF"))
    yield V("ipv4/fragment/empty", "MF without a byte of data", stack, plain(0, flags="MF", frag=1))
    yield V("ipv4/fragment/highest-offset", "65528, and ending within 65535", stack, plain(7, frag=0x1FFF))
    yield V("ipv4/fragment/past-65535", "the datagram would end at 65544", stack, plain(16, frag=0x1FFF))
    yield V("ipv4/flags/df", "DF alone", stack, plain(flags="DF"))
    yield V("ipv4/flags/reserved", "the reserved bit alone: neither DF nor MF", stack, plain(flags="evil"))
    yield V("ipv4/flags/reserved-and-df", "the reserved bit beside DF", stack, plain(flags="evil+DF"))


def ipv4_checksums(stack):
    def build(word):
        return ip(proto=EXPERIMENT, id=word) / data(4)

    for target in (0x0000, 0x0001, 0x00FF, 0xFF00, 0xFFFE):
        packet = tune(build, target, built(IP))
        assert built(IP)(packet) == target
        yield V(f"ipv4/checksum/{target:04x}", "a right checksum at the edge of the field", stack, ETH / packet)
    zero = tune(build, 0, built(IP))
    negative = zero.copy()
    negative.chksum = 0xFFFF
    yield V("ipv4/checksum/ffff-for-0000", "the other zero of ones' complement also sums to nothing",
            stack, ETH / negative)
    right = built(IP)(build(0x4242))
    for name, wrong, why in (
        ("off-by-one", right + 1, "one too many"),
        ("swapped", right >> 8 | (right & 0xFF) << 8, "the bytes in the wrong order"),
        ("left-out", 0, "zero does not mean 'none' in IPv4"),
        ("complement", right ^ 0xFFFF, "the sum instead of its complement"),
    ):
        packet = build(0x4242)
        packet.chksum = wrong
        yield V(f"ipv4/checksum/wrong/{name}", why, stack, ETH / packet, bad="ipv4")
    yield V("ipv4/checksum/wrong/with-options", "right over 20 bytes, wrong over 24", stack,
            ETH / ip(proto=EXPERIMENT, options=[IPOption_Router_Alert()],
                     chksum=checksum(raw(ip(proto=EXPERIMENT, len=28, ihl=6, chksum=0)))) / data(4), bad="ipv4")


# ---- UDP ----


def udp_frames():
    stack = "ethernet ipv4 udp"
    for n in (0, 1, 2, 3, 7, 8, 9, 31, 32, 33, 63, 64, 65, 1471, 1472):
        yield V(f"udp/payload-{n}", "a full checksum over every kind of tail", stack, ETH / ip() / udp(n))
    yield V("udp/raw-link", "without an Ethernet header", "ipv4 udp", ip() / udp(9), "ipv4")
    yield V("udp/ports/0", "source port 0: none (RFC 768)", stack, ETH / ip() / udp(4, sport=0, dport=1))
    yield V("udp/ports/65535", "the highest ports", stack, ETH / ip() / udp(4, sport=65535, dport=65535))
    yield V("udp/checksum/0", "not computed", stack, ETH / ip() / udp(9, chksum=0))
    yield V("udp/checksum/0-padded", "not computed, odd, padded with garbage", stack,
            padded(ETH / ip() / udp(9, chksum=0), fill=b"\xff"))

    def build(word):
        return ip() / UDP(sport=40000, dport=7) / Raw(struct.pack("!H", word) + pattern(5))

    zero = tune(build, 0, built(UDP))
    assert built(UDP)(zero) == 0xFFFF
    yield V("udp/checksum/ffff-for-0000", "comes out as 0 and is sent as 0xffff (RFC 768)", stack, ETH / zero)
    for target in (0x0001, 0xFFFE):
        packet = tune(build, target, built(UDP))
        assert built(UDP)(packet) == target
        yield V(f"udp/checksum/{target:04x}", "next to the special values", stack, ETH / packet)
    yield V("udp/checksum/wrong", "off by one", stack,
            ETH / ip() / udp(8, chksum=built(UDP)(ip() / udp(8)) + 1), bad="udp")
    last = pattern(9)[-1]
    yield V("udp/checksum/wrong/odd", "the last byte summed as the low half of its word", stack,
            ETH / ip() / udp(9, chksum=(built(UDP)(ip() / udp(9)) + (last << 8) - last) % 0xFFFF), bad="udp")
    yield V("udp/checksum/wrong/no-pseudo-header", "summed without the addresses", stack,
            ETH / ip() / udp(8, chksum=checksum(raw(UDP(sport=40000, dport=7, len=16, chksum=0) / data(8)))),
            bad="udp")

    def short(declared, n):
        """UDP that declares less than its IP packet holds, with the checksum over the declared part."""
        head = UDP(sport=40000, dport=7, len=declared, chksum=0)
        total = in4_chksum(17, IP(src=NODE_A, dst=NODE_B), raw(head / data(n))[:declared])
        return ip() / UDP(sport=40000, dport=7, len=declared, chksum=total) / data(n)

    yield V("udp/length/shorter-than-ip", "12 of 20 bytes; the checksum covers only those", stack,
            ETH / short(12, 12))
    yield V("udp/length/shorter-than-ip-odd", "13 of 20 bytes", stack, ETH / short(13, 12))
    yield V("udp/length/header-only", "8 declared, data behind it", stack, ETH / short(8, 6))
    yield V("udp/length/shorter-and-padded", "two different tails to cut", stack,
            padded(ETH / short(11, 5), fill=b"\xcc"))
    yield V("udp/length/right-checksum-over-too-much", "summed over the whole IP payload", stack,
            ETH / ip() / udp(12, len=12), bad="udp")


# ---- TCP ----


def tcp_frames():
    stack = "ethernet ipv4 tcp"
    syn = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (0x01020304, 0)), ("NOP", None), ("WScale", 7)]
    stamp = [("NOP", None), ("NOP", None), ("Timestamp", (0x01020310, 0x0A0B0C0D))]
    yield V("tcp/syn", "MSS, SACK permitted, timestamps, window scale", stack,
            ETH / ip() / tcp(flags="S", options=syn))
    yield V("tcp/syn-mss-1410", "the MSS of a flow through VXLAN over IPv4", stack,
            ETH / ip() / tcp(flags="S", options=[("MSS", 1410)]))
    yield V("tcp/syn-padded", "a bare SYN in a padded frame", stack, padded(ETH / ip() / tcp(flags="S")))
    yield V("tcp/syn-ack", "the answer", stack,
            ETH / ip(src=NODE_B, dst=NODE_A) / tcp(sport=80, dport=40000, seq=0xFFFFFFFF, ack=0x01020305,
                                                   flags="SA", options=syn))
    yield V("tcp/ack", "an empty segment with timestamps", stack,
            ETH / ip() / tcp(flags="A", seq=0x01020305, ack=0, options=stamp))
    yield V("tcp/data", "an even payload", stack, ETH / ip() / tcp(16, flags="PA", ack=7, options=stamp))
    yield V("tcp/data-odd", "an odd payload", stack, ETH / ip() / tcp(17, flags="PA", ack=7))
    yield V("tcp/data-one-byte", "a keep-alive's one byte", stack, ETH / ip() / tcp(1, flags="A", ack=7))
    yield V("tcp/fin", "FIN, ACK", stack, ETH / ip() / tcp(flags="FA", ack=7))
    yield V("tcp/rst", "RST with window 0", stack, ETH / ip() / tcp(flags="R", window=0))
    yield V("tcp/urgent", "URG and its pointer", stack, ETH / ip() / tcp(9, flags="UPA", urgptr=5, ack=7))
    yield V("tcp/sack", "two SACK blocks", stack,
            ETH / ip() / tcp(flags="A", ack=7,
                               options=[("NOP", None), ("NOP", None), ("SAck", (100, 200, 300, 400))]))
    yield V("tcp/options-full", "data offset 60", stack,
            ETH / ip() / tcp(3, flags="A", ack=7, options=[("NOP", None)] * 40))
    yield V("tcp/ecn-setup", "SYN with ECE and CWR (RFC 3168 section 6.1.1)", stack, ETH / ip() / tcp(flags="SEC"))
    yield V("tcp/flags-all", "eight flags; the ninth and the reserved bits belong to none of them", stack,
            ETH / ip() / tcp(flags=0x1FF, reserved=7, ack=7))
    yield V("tcp/flags-none", "no flag at all", stack, ETH / ip() / tcp(flags=0))
    yield V("tcp/raw-link", "without an Ethernet header", "ipv4 tcp", ip() / tcp(5, flags="PA"), "ipv4")

    def build(word):
        return ip() / TCP(sport=40000, dport=80, seq=1, flags="PA") / Raw(struct.pack("!H", word) + pattern(5))

    packet = tune(build, 0, built(TCP))
    assert built(TCP)(packet) == 0
    yield V("tcp/checksum/0000", "zero is an ordinary checksum in TCP", stack, ETH / packet)
    yield V("tcp/checksum/wrong", "off by one", stack,
            ETH / ip() / tcp(8, flags="PA", chksum=built(TCP)(ip() / tcp(8, flags="PA")) + 1), bad="tcp")
    yield V("tcp/checksum/wrong/left-out", "zero does not mean 'none' in TCP", stack,
            ETH / ip() / tcp(8, flags="PA", chksum=0), bad="tcp")


# ---- ICMPv4 ----


def quote(packet, n=28):
    """What an error quotes: the IP header and eight bytes (RFC 792), or more (RFC 1812)."""
    return Raw(raw(packet)[:n])


def error(quoted, **fields):
    return ip(src=ROUTER, dst=NODE_A, tos=0xC0) / ICMP(**fields) / quoted


def icmp():
    stack = "ethernet ipv4 icmp"
    for n in (0, 1, 2, 55, 56, 57):
        yield V(f"icmp/echo-request/{n}", "data of this many bytes", stack, ETH / ip() / echo(n))
    yield V("icmp/echo-reply", "the answer", stack, ETH / ip(src=NODE_B, dst=NODE_A) / echo(type=0))
    yield V("icmp/echo-reply/odd", "an odd answer, id and seq at their ends", stack,
            ETH / ip(src=NODE_B, dst=NODE_A) / echo(13, type=0, id=0xFFFF, seq=0))
    yield V("icmp/echo-request/padded", "padding is not echoed", stack, padded(ETH / ip() / echo(3), fill=b"\x77"))
    yield V("icmp/raw-link", "without an Ethernet header", "ipv4 icmp", ip() / echo(5), "ipv4")
    yield from icmp_errors(stack)
    yield from icmp_extensions(stack)

    def build(word):
        return ip() / ICMP(type=8, id=word, seq=1) / data(5)

    packet = tune(build, 0, built(ICMP))
    assert built(ICMP)(packet) == 0
    yield V("icmp/checksum/0000", "zero is an ordinary checksum in ICMP", stack, ETH / packet)
    packet[ICMP].chksum = 0xFFFF
    yield V("icmp/checksum/ffff-for-0000", "the other zero of ones' complement", stack, ETH / packet)
    yield V("icmp/checksum/wrong", "off by one", stack,
            ETH / ip() / echo(8, chksum=built(ICMP)(ip() / echo(8)) + 1), bad="icmp")
    yield V("icmp/checksum/wrong/error", "an error that must not be believed", stack,
            ETH / error(quote(ip() / udp(8)), type=3, code=4, nexthopmtu=68, chksum=0x1111), bad="icmp")


def icmp_errors(stack):
    sent = ip() / udp(40)
    for code, word in ((0, "net"), (1, "host"), (3, "port"), (13, "prohibited")):
        yield V(f"icmp/unreachable/{word}", f"type 3 code {code}", stack, ETH / error(quote(sent), type=3, code=code))
    yield V("icmp/unreachable/fragmentation-needed-1450", "the MTU of VXLAN over 1500, quoting 64 bytes", stack,
            ETH / error(quote(sent, 64), type=3, code=4, nexthopmtu=1450))
    yield V("icmp/unreachable/fragmentation-needed-1480", "the MTU of IPIP over 1500", stack,
            ETH / error(quote(sent), type=3, code=4, nexthopmtu=1480))
    yield V("icmp/unreachable/fragmentation-needed-0", "an old router names no MTU (RFC 1191 section 5)", stack,
            ETH / error(quote(sent), type=3, code=4, nexthopmtu=0))
    yield V("icmp/unreachable/fragmentation-needed-ipip", "the quoted packet is a tunnel's (RFC 2003 section 4)",
            stack, ETH / error(quote(ip(flags="DF") / pod_ip() / udp(8), 56), type=3, code=4, nexthopmtu=1400))
    yield V("icmp/unreachable/quotes-options", "the quoted IPv4 header has 24 bytes", stack,
            ETH / error(quote(ip(options=[IPOption_Router_Alert()]) / udp(8), 32), type=3, code=1))
    yield V("icmp/unreachable/quotes-odd", "an odd number of quoted bytes", stack,
            ETH / error(quote(sent, 33), type=3, code=3))
    yield V("icmp/unreachable/quotes-fragment", "the quoted packet is a later fragment", stack,
            ETH / error(quote(fragment(ip() / udp(100), 40)[1]), type=3, code=1))
    yield V("icmp/time-exceeded/transit", "type 11 code 0", stack,
            ETH / error(quote(ip(ttl=1) / echo(8), 36), type=11, code=0))
    yield V("icmp/time-exceeded/reassembly", "type 11 code 1", stack,
            ETH / error(quote(fragment(ip() / udp(100), 40)[0], 48), type=11, code=1))
    yield V("icmp/redirect/host", "type 5 code 1, the better gateway in the rest", stack,
            ETH / error(quote(sent), type=5, code=1, gw="192.0.2.254"))
    yield V("icmp/parameter-problem", "type 12 code 0, pointer 20: the first option", stack,
            ETH / error(quote(ip(options=[IPOption(option=30, value=b"xx")]) / udp(8), 32), type=12, code=0, ptr=20))
    yield V("icmp/source-quench", "type 4, deprecated (RFC 6633), an error all the same", stack,
            ETH / error(quote(sent), type=4, code=0))
    yield V("icmp/unreachable/raw-link", "without an Ethernet header", "ipv4 icmp",
            error(quote(sent), type=3, code=4, nexthopmtu=1480), "ipv4")


def icmp_extensions(stack):
    # scapy sums only the extension's first four bytes; RFC 4884 section 7 wants the whole of it.
    labels = ICMPExtensionMPLS(stack=[MPLS(label=16004, cos=0, s=0, ttl=1), MPLS(label=24001, cos=5, s=1, ttl=254)])
    total = checksum(raw(ICMPExtensionHeader(chksum=0) / labels))
    extension = Raw(raw(ICMPExtensionHeader(chksum=total) / labels))
    field = Raw(raw(ip(ttl=1) / udp(40)).ljust(128, b"\0"))
    yield V("icmp/time-exceeded/mpls", "RFC 4884: 128 quoted bytes by the length field, then RFC 4950 labels",
            stack, ETH / error(field / extension, type=11, code=0, length=32))
    yield V("icmp/unreachable/mpls", "the length field of type 3, beside the next hop's MTU", stack,
            ETH / error(Raw(raw(ip() / udp(160))[:132]) / extension, type=3, code=4, length=33, nexthopmtu=1450))
    yield V("icmp/parameter-problem/mpls", "the length field of type 12, beside the pointer", stack,
            ETH / error(field / extension, type=12, code=0, ptr=1, length=32))
    yield V("icmp/time-exceeded/mpls-without-length", "RFC 4884 section 5.5: an old sender, so all is quote",
            stack, ETH / error(field / extension, type=11, code=0))


# ---- VXLAN ----


def vxlan(inner, vni=1, port=4789, below=None, udp_fields=None, **fields):
    """A VXLAN datagram around inner, in an Ethernet frame unless `below` is something else."""
    below = ETH / ip() if below is None else below
    # The flags are always given: scapy would set its Next Protocol flag above an Ether.
    header = VXLAN(**{"flags": FLAG_I, "vni": vni, **fields})
    return below / UDP(sport=51234, dport=port, **(udp_fields or {})) / header / inner


def vxlan_frames():
    over = "ethernet ipv4 udp vxlan "
    full = over + "ethernet ipv4 udp"
    inner = INNER_ETH / pod_ip() / udp(8)
    inner_arp = Ether(dst=BROADCAST, src=VTEP_MAC_A) / ARP(
        op=1, hwsrc=VTEP_MAC_A, psrc=POD_A, hwdst=ZERO_MAC, pdst=POD_GW)

    yield V("vxlan/port-4789", "the assigned port", full, vxlan(inner))
    yield V("vxlan/port-8472", "Linux's and Flannel's port", full, vxlan(inner, port=8472))
    yield V("vxlan/port-4790", "VXLAN-GPE's port is not ours: payload", "ethernet ipv4 udp", vxlan(inner, port=4790))
    yield V("vxlan/source-port-only", "4789 as the source port does not make it VXLAN", "ethernet ipv4 udp",
            ETH / ip() / UDP(sport=4789, dport=40000) / VXLAN(flags=FLAG_I, vni=1) / inner)
    yield V("vxlan/raw-link", "without an outer Ethernet header", full.removeprefix("ethernet "),
            vxlan(inner, below=ip()), "ipv4")
    for vni in (0, 1, 4096, 0x123456, 0xFFFFFF):
        yield V(f"vxlan/vni/{vni}", "a VNI of 24 bits", over + "ethernet arp", vxlan(inner_arp, vni=vni))
    yield V("vxlan/flannel-ping", "an 84-byte ping through Flannel: 148 bytes", over + "ethernet ipv4 icmp",
            vxlan(INNER_ETH / pod_ip(flags="DF") / echo(56), vni=1, port=8472))
    yield V("vxlan/calico-ping", "an 84-byte ping through Calico: 148 bytes", over + "ethernet ipv4 icmp",
            vxlan(INNER_ETH / pod_ip(flags="DF") / echo(56), vni=4096))
    yield V("vxlan/full-size", "an inner packet of 1450 bytes: 1500 outside", full,
            vxlan(INNER_ETH / pod_ip(flags="DF") / udp(1422)))
    yield V("vxlan/udp-checksum-0", "as most senders do it (RFC 7348 section 5)", full,
            vxlan(inner, udp_fields={"chksum": 0}))
    yield V("vxlan/udp-checksum-wrong", "wrong and not zero", full,
            vxlan(inner, udp_fields={"chksum": 0x4242}), bad="udp")
    yield V("vxlan/both-udp-checksums-0", "none outside, none inside", full,
            vxlan(INNER_ETH / pod_ip() / udp(9, chksum=0), udp_fields={"chksum": 0}))
    yield V("vxlan/inner-checksum-wrong", "the outer checksum is right over a wrong inner one", full,
            vxlan(INNER_ETH / pod_ip() / udp(8, chksum=0x4242)), bad="udp")
    yield from vxlan_bits(over, inner_arp)
    yield from vxlan_inner(over, inner_arp)
    yield from vxlan_outer(full, inner)
    yield from vxlan_nested(over, inner)


def vxlan_bits(over, inner):
    stack = over + "ethernet arp"
    for bit in (0x01, 0x02, 0x04, 0x10, 0x20, 0x40, 0x80):
        yield V(f"vxlan/flags/{bit:02x}", "one more flag beside I", stack, vxlan(inner, flags=FLAG_I | bit))
    for n in range(8):
        yield V(f"vxlan/reserved/bit-{n}", "a bit of the first byte, two of the group, one of the last byte", stack,
                vxlan(inner, vni=0x010203, reserved1=0x010101 << n, reserved2=0x80 >> n))
    yield V("vxlan/reserved/all", "every bit but GPE's, and the VNI still 0", stack,
            vxlan(inner, vni=0, flags=0xFB, gpflags=0xFF, gpid=0xFFFF, reserved2=0xFF))
    yield V("vxlan/gbp/group", "G with a policy group", stack, vxlan(inner, flags=0x88, gpid=0x1234))
    yield V("vxlan/gbp/applied", "G and A", stack, vxlan(inner, flags=0x88, gpflags="A", gpid=0x0100))
    yield V("vxlan/gbp/dont-learn", "G and D", stack, vxlan(inner, flags=0x88, gpflags="D", gpid=0xFFFF))
    yield V("vxlan/gbp/dont-learn-applied", "G, D and A", stack, vxlan(inner, flags=0x88, gpflags="A+D", gpid=1))
    yield V("vxlan/gbp/bits-without-g", "D, A and a group without G: reserved bits", stack,
            vxlan(inner, reserved1=0x481234))
    plain = "ethernet ipv4 udp"
    yield V("vxlan/i-flag/clear", "no I flag, so not a valid VNI: payload", plain, vxlan(inner, flags=0))
    yield V("vxlan/i-flag/all-but-i", "every other flag", plain, vxlan(inner, flags=0xF3, gpid=1))


def vxlan_inner(over, inner_arp):
    stack = over + "ethernet ipv4 "
    yield V("vxlan/inner/tagged", "an inner 802.1Q frame", stack + "udp",
            vxlan(INNER_ETH / Dot1Q(vlan=42, prio=3) / pod_ip() / udp(4)))
    yield V("vxlan/inner/qinq", "an inner QinQ frame", stack + "udp",
            vxlan(INNER_ETH / Dot1AD(vlan=7) / Dot1Q(vlan=42) / pod_ip() / udp(4)))
    yield V("vxlan/inner/arp", "an ARP request to all VTEPs", over + "ethernet arp", vxlan(inner_arp, port=8472))
    yield V("vxlan/inner/arp-padded", "an inner frame that was padded before it was wrapped",
            over + "ethernet arp", vxlan(Raw(padded(inner_arp))))
    yield V("vxlan/inner/ipv6", "inner IPv6 is payload", over + "ethernet",
            vxlan(INNER_ETH / IPv6(src="fd00::1", dst="fd00::2", hlim=64) / udp(8)))
    yield V("vxlan/inner/llc", "an inner BPDU by its 802.3 length, padded", over + "ethernet",
            vxlan(Raw(padded(Dot3(dst="01:80:c2:00:00:00", src=VTEP_MAC_A) / LLC(dsap=0x42, ssap=0x42, ctrl=3)
                             / STP(rootmac=VTEP_MAC_A, bridgemac=VTEP_MAC_A)))))
    yield V("vxlan/inner/unknown-ethertype", "its payload ends with the UDP datagram", over + "ethernet",
            vxlan(Ether(dst=VTEP_MAC_B, src=VTEP_MAC_A, type=LOCAL_EXPERIMENT) / data(5)))
    yield V("vxlan/inner/header-only", "an inner frame of 14 bytes", over + "ethernet",
            vxlan(Ether(dst=VTEP_MAC_B, src=VTEP_MAC_A, type=LOCAL_EXPERIMENT)))
    yield V("vxlan/inner/tcp", "inner TCP", stack + "tcp",
            vxlan(INNER_ETH / pod_ip() / tcp(flags="S", options=[("MSS", 1410), ("SAckOK", b"")])))
    yield V("vxlan/inner/options", "inner IPv4 options", stack + "udp",
            vxlan(INNER_ETH / pod_ip(options=[IPOption_RR(routers=["0.0.0.0"] * 3)]) / udp(3)))
    yield V("vxlan/inner/icmp-error", "an inner ICMP error, mtu 1450", stack + "icmp",
            vxlan(INNER_ETH / pod_ip(src=POD_GW, tos=0xC0)
                  / ICMP(type=3, code=4, nexthopmtu=1450) / quote(pod_ip(flags="DF") / udp(20), 48)))
    parts = fragment(INNER_ETH / pod_ip() / udp(100), 40)
    yield V("vxlan/inner/fragment-first", "an inner first fragment", stack + "udp", vxlan(parts[0]))
    yield V("vxlan/inner/fragment-middle", "an inner middle fragment", stack.strip(), vxlan(parts[1]))
    yield V("vxlan/inner/fragment-last", "an inner last fragment", stack.strip(), vxlan(parts[2]))
    yield V("vxlan/inner/trailing-bytes", "bytes behind the inner total length", stack + "udp",
            vxlan(Raw(raw(INNER_ETH / pod_ip() / udp(8)) + b"\xee" * 6)))
    yield V("vxlan/inner/ip-checksum-wrong", "a wrong inner IPv4 header", stack + "udp",
            vxlan(INNER_ETH / pod_ip(chksum=0x4242) / udp(8)), bad="ipv4")


def vxlan_outer(full, inner):
    yield V("vxlan/outer/tagged", "802.1Q around the tunnel", full, vxlan(inner, below=ETH / Dot1Q(vlan=100) / ip()))
    yield V("vxlan/outer/qinq", "QinQ around the tunnel", full,
            vxlan(inner, below=ETH / Dot1AD(vlan=200) / Dot1Q(vlan=100) / ip()))
    yield V("vxlan/outer/options", "outer IPv4 options", full,
            vxlan(inner, below=ETH / ip(options=[IPOption_Router_Alert()])))
    yield V("vxlan/outer/options-full", "40 bytes of outer options", full,
            vxlan(inner, below=ETH / ip(options=[IPOption_NOP()] * 40)))
    yield V("vxlan/outer/ecn-ce", "congestion outside, ECT(0) inside", full,
            vxlan(INNER_ETH / pod_ip(tos=2) / udp(8), below=ETH / ip(tos=3)))
    yield V("vxlan/outer/trailing-bytes", "bytes behind the outer total length", full,
            raw(vxlan(inner)) + b"\xee" * 7)
    # An unknown inner EtherType has no length, so only the UDP length tells where it ends.
    wrapped = vxlan(Ether(dst=VTEP_MAC_B, src=VTEP_MAC_A, type=LOCAL_EXPERIMENT) / data(9))
    yield V("vxlan/outer/udp-length-short", "bytes behind the outer UDP length",
            "ethernet ipv4 udp vxlan ethernet",
            ETH / ip(proto=17) / Raw(raw(wrapped)[34:] + b"\xee" * 6))
    yield V("vxlan/outer/multicast", "flooded to a group (RFC 7348 section 4.2)", full,
            vxlan(inner, below=Ether(dst="01:00:5e:01:01:01", src=NODE_MAC_A) / ip(dst="239.1.1.1")))
    parts = fragment(vxlan(INNER_ETH / pod_ip() / udp(60)), 48)
    yield V("vxlan/outer/fragment-first", "no decapsulation before reassembly", "ethernet ipv4 udp", parts[0])
    yield V("vxlan/outer/fragment-middle", "a later fragment of the tunnel's datagram", "ethernet ipv4", parts[1])
    yield V("vxlan/outer/fragment-last", "the last fragment of the tunnel's datagram", "ethernet ipv4", parts[-1])


def vxlan_nested(over, inner):
    full = "ethernet ipv4 udp"
    between = Ether(dst=VTEP_MAC_B, src=VTEP_MAC_A) / pod_ip()
    two = vxlan(vxlan(inner, vni=2, below=between), vni=1)
    yield V("vxlan/nested/two-deep", "VXLAN in VXLAN", over * 2 + full, two)
    yield V("vxlan/nested/two-deep-ports-differ", "8472 inside 4789", over * 2 + full,
            vxlan(vxlan(inner, vni=0xABCDEF, port=8472, below=between), vni=4096))
    yield V("vxlan/nested/three-deep", "VXLAN in VXLAN in VXLAN", over * 3 + full,
            vxlan(vxlan(vxlan(inner, vni=3, below=between), vni=2, below=between), vni=1))
    yield V("vxlan/nested/inner-i-flag-clear", "the inner VXLAN header is not valid: payload", over + full,
            vxlan(vxlan(inner, vni=2, flags=0, below=between), vni=1))
    yield V("vxlan/nested/inner-tagged", "a tag on every level", over * 2 + full,
            vxlan(vxlan(INNER_ETH / Dot1Q(vlan=3) / pod_ip() / udp(4), vni=2,
                        below=INNER_ETH / Dot1Q(vlan=2) / pod_ip()),
                  vni=1, below=ETH / Dot1Q(vlan=1) / ip()))


# ---- IPIP ----


def ipip():
    over = "ethernet ipv4 "
    inner = pod_ip() / udp(8)
    yield V("ipip/plain", "IPv4 in IPv4 (RFC 2003)", over + "ipv4 udp", ETH / ip() / inner)
    yield V("ipip/inner/icmp", "an inner echo", over + "ipv4 icmp", ETH / ip() / pod_ip() / echo(8))
    yield V("ipip/inner/tcp", "an inner SYN", over + "ipv4 tcp",
            ETH / ip() / pod_ip() / tcp(flags="S", options=[("MSS", 1440)]))
    yield V("ipip/calico-ping", "an 84-byte ping through tunl0: 118 bytes", over + "ipv4 icmp",
            ETH / ip(flags="DF") / pod_ip(flags="DF") / echo(56))
    yield V("ipip/full-size", "an inner packet of 1480 bytes: 1500 outside", over + "ipv4 udp",
            ETH / ip() / pod_ip() / udp(1452))
    yield V("ipip/two-deep", "IPIP in IPIP", over + "ipv4 ipv4 udp",
            ETH / ip() / ip(src=NODE_B, dst=NODE_A, id=2) / inner)
    yield V("ipip/three-deep", "IPIP in IPIP in IPIP", over + "ipv4 ipv4 ipv4 udp",
            ETH / ip() / ip(src=NODE_B, dst=NODE_A, id=2) / ip(id=3) / inner)
    yield V("ipip/inner/empty-padded", "two headers, no data, a padded frame", over + "ipv4",
            padded(ETH / ip() / pod_ip(proto=EXPERIMENT)))
    yield V("ipip/inner/odd", "an odd inner length", over + "ipv4 udp", ETH / ip() / pod_ip() / udp(5))
    yield V("ipip/inner/options", "inner options", over + "ipv4 udp",
            ETH / ip() / pod_ip(options=[IPOption_Router_Alert()]) / udp(5))
    yield V("ipip/inner/icmp-error", "an inner error, mtu 1480", over + "ipv4 icmp",
            ETH / ip() / pod_ip(src=POD_GW, tos=0xC0)
            / ICMP(type=3, code=4, nexthopmtu=1480) / quote(pod_ip(flags="DF") / udp(20), 48))
    parts = fragment(pod_ip() / udp(100), 40)
    yield V("ipip/inner/fragment-first", "an inner first fragment", over + "ipv4 udp", ETH / ip() / parts[0])
    yield V("ipip/inner/fragment-middle", "an inner middle fragment", over + "ipv4", ETH / ip() / parts[1])
    yield V("ipip/inner/checksum-wrong", "a wrong inner header", over + "ipv4 udp",
            ETH / ip() / pod_ip(chksum=0x4242) / udp(8), bad="ipv4")
    yield V("ipip/inner/trailing-bytes", "bytes between the inner end and the outer end", over + "ipv4 udp",
            ETH / ip(proto=4) / Raw(raw(inner) + b"\xee" * 10))
    yield V("ipip/inner/ttl-0", "a tunnel must not accept it (RFC 2003 section 3.1)", over + "ipv4 udp",
            ETH / ip() / pod_ip(ttl=0) / udp(8))
    yield V("ipip/outer/options", "outer options", over + "ipv4 udp",
            ETH / ip(options=[IPOption_RR(routers=["0.0.0.0"] * 2)]) / inner)
    yield V("ipip/outer/tagged", "802.1Q around the tunnel", over + "ipv4 udp", ETH / Dot1Q(vlan=100) / ip() / inner)
    yield V("ipip/outer/ecn-ce", "congestion outside, not ECT inside", over + "ipv4 udp", ETH / ip(tos=3) / inner)
    yield V("ipip/outer/checksum-wrong", "a wrong outer header", over + "ipv4 udp",
            ETH / ip(chksum=0x4242) / inner, bad="ipv4")
    parts = fragment(ETH / ip() / pod_ip() / udp(60), 40)
    yield V("ipip/outer/fragment-first", "no decapsulation before reassembly", "ethernet ipv4", parts[0])
    yield V("ipip/outer/fragment-last", "the rest of it", "ethernet ipv4", parts[-1])
    yield V("ipip/ipv6-in-ipv4", "protocol 41 is not IPIP: payload", "ethernet ipv4",
            ETH / ip() / IPv6(src="fd00::1", dst="fd00::2", hlim=64) / udp(8))
    yield from ipip_raw(inner)
    yield from ipip_and_vxlan()


def ipip_raw(inner):
    yield V("ipip/raw-link/plain", "as a protocol-4 socket gives it", "ipv4 ipv4 udp", ip() / inner, "ipv4")
    yield V("ipip/raw-link/ping", "an 84-byte ping: 104 bytes", "ipv4 ipv4 icmp",
            ip(flags="DF") / pod_ip(flags="DF") / echo(56), "ipv4")
    yield V("ipip/raw-link/three-deep", "IPIP in IPIP in IPIP", "ipv4 ipv4 ipv4 ipv4 udp",
            ip() / ip(src=NODE_B, dst=NODE_A, id=2) / ip(id=3) / inner, "ipv4")
    yield V("ipip/raw-link/options", "options outside and inside", "ipv4 ipv4 udp",
            ip(options=[IPOption_Router_Alert()]) / pod_ip(options=[IPOption_NOP()] * 4) / udp(3), "ipv4")
    yield V("ipip/raw-link/fragment-first", "no decapsulation before reassembly", "ipv4",
            fragment(ip() / pod_ip() / udp(60), 40)[0], "ipv4")


def ipip_and_vxlan():
    inner = INNER_ETH / pod_ip() / udp(8)
    yield V("ipip/inside-vxlan", "IPIP carried by VXLAN", "ethernet ipv4 udp vxlan ethernet ipv4 ipv4 udp",
            vxlan(INNER_ETH / pod_ip() / ip(src=POD_B, dst=POD_A, id=3) / udp(8)))
    yield V("ipip/around-vxlan", "VXLAN carried by IPIP", "ethernet ipv4 ipv4 udp vxlan ethernet ipv4 udp",
            vxlan(inner, below=ETH / ip() / ip(src=NODE_B, dst=NODE_A, id=2)))
    yield V("ipip/around-vxlan/raw-link", "VXLAN carried by IPIP, without Ethernet outside",
            "ipv4 ipv4 udp vxlan ethernet ipv4 udp",
            vxlan(inner, below=ip() / ip(src=NODE_B, dst=NODE_A, id=2)), "ipv4")
    yield V("ipip/around-vxlan/around-ipip", "IPIP, VXLAN, IPIP: all of it at once, with options and tags",
            "ethernet ipv4 ipv4 udp vxlan ethernet ipv4 ipv4 tcp",
            vxlan(INNER_ETH / Dot1Q(vlan=9) / pod_ip() / ip(id=4) / tcp(3, flags="PA"), vni=0x00FFEE,
                  below=ETH / Dot1Q(vlan=8) / ip(options=[IPOption_Router_Alert()]) / ip(id=2)))


# ---- the file ----


def vectors():
    """Every vector with its frame and layers, checked against what its author said is in it."""
    names = set()
    for family in (ethernet, arp, ipv4, udp_frames, tcp_frames, icmp, vxlan_frames, ipip):
        for v in family():
            frame = raw(v.packet)
            layers = read(frame, v.link)
            found = " ".join(layer["layer"] for layer in layers)
            wrong = " ".join(layer["layer"] for layer in layers if layer.get("checksum_ok") is False)
            assert v.name not in names, f"{v.name} comes twice"
            assert found == f"{v.stack} payload".strip(), f"{v.name}: found {found}"
            assert wrong == v.bad, f"{v.name}: wrong checksums in {wrong or 'none'}"
            names.add(v.name)
            yield v, frame, layers


def as_json(v, frame, layers):
    """One vector: a line of words, a line of bytes, a line a layer, so that a diff shows what changed."""
    words = json.dumps({"name": v.name, "note": v.note, "link": v.link})[1:-1]
    lines = ",\n    ".join(json.dumps(layer, separators=(",", ":")) for layer in layers)
    return f'  {{{words},\n   "hex": "{frame.hex()}",\n   "layers": [\n    {lines}]}}'


def write_pcaps(folder):
    for link, linktype in (("ethernet", 1), ("ipv4", 228)):  # LINKTYPE_ETHERNET, LINKTYPE_IPV4
        frames = [Raw(frame) for v, frame, _ in vectors() if v.link == link]
        for n, frame in enumerate(frames):
            frame.time = n
        wrpcap(os.path.join(folder, f"{link}.pcap"), frames, linktype=linktype)


def main():
    parser = argparse.ArgumentParser(description="Writes vectors.json to standard output.")
    parser.add_argument("--pcap", metavar="DIR", help="write ethernet.pcap and ipv4.pcap to DIR instead")
    args = parser.parse_args()
    conf.use_pcap = False
    if args.pcap:
        write_pcaps(args.pcap)
        return
    body = ",\n".join(as_json(*vector) for vector in vectors())
    sys.stdout.write(f'{{"generator": "scapy {scapy.VERSION}", "vectors": [\n{body}\n]}}\n')


if __name__ == "__main__":
    main()
