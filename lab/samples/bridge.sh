#!/bin/bash
# Two pods on one node, through a learning bridge.
#
#     default namespace
#     +---------------------------------------+
#     |       cni0 10.244.1.1/24 (bridge)     |
#     |       |                     |         |
#     |     veth7                 veth10      |
#     +-------|---------------------|---------+
#           eth0                  eth0
#       pod7 10.244.1.7      pod10 10.244.1.10

ip netns add pod7
ip netns add pod10
ip link add cni0 type bridge
ip addr add 10.244.1.1/24 dev cni0
ip link set cni0 up

ip link add veth7 type veth peer name eth0 netns pod7
ip link add veth10 type veth peer name eth0 netns pod10
ip link set veth7 master cni0 up
ip link set veth10 master cni0 up

ip -n pod7 link set eth0 address 9a:16:45:30:3a:c6 up
ip -n pod7 addr add 10.244.1.7/24 dev eth0
ip -n pod10 link set eth0 address ee:6f:75:01:ed:bb up
ip -n pod10 addr add 10.244.1.10/24 dev eth0

ip netns exec pod7 ping -c 2 10.244.1.10
ip netns exec pod10 ping -c 1 10.244.1.1
