package ipcmd

// What 'ip … help' prints: the words that the lab knows, in the manner of iproute2, not its own texts.

import "github.com/culvert-net/culvert/lab/internal/words"

// help is the end of a command that asks for help, or should have.
func help(text string) error { return words.Errorf(255, "%s", text) }

const usage = `Usage: ip [ OPTIONS ] OBJECT { COMMAND | help }
       ip [ -force ] -batch filename
where  OBJECT := { address | link | neighbour | netns | route | tunnel }
       OPTIONS := { -V[ersion] | -s[tatistics] | -d[etails] | -br[ief] | -o[neline] |
                    -f[amily] { inet | link } | -4 | -0 | -n[etns] name | -a[ll] }`

const usageAddress = `Usage: ip address {add|change|replace} IFADDR dev IFNAME
       ip address del IFADDR dev IFNAME
       ip address flush [ dev IFNAME ] [ scope SCOPE ] [ to PREFIX ] [ label LABEL ]
       ip address [ show [ dev IFNAME ] [ scope SCOPE ] [ master DEVICE ] [ type TYPE ]
                         [ to PREFIX ] [ label LABEL ] [ group GROUP ] [ up ] [ primary | secondary ] ]
IFADDR := PREFIX | ADDR peer PREFIX
          [ broadcast ADDR | + | - ] [ label LABEL ] [ scope SCOPE ] [ metric METRIC ] [ noprefixroute ]
SCOPE := [ host | link | global | NUMBER ]`

const usageLink = `Usage: ip link add [ name ] NAME [ address LLADDR ] [ mtu MTU ] [ txqueuelen PACKETS ] [ index IDX ]
                   [ group GROUP ] [ alias NAME ] [ master DEVICE ] [ netns NAME ] [ up ] type TYPE [ ARGS ]
       ip link delete { DEVICE | dev DEVICE | group DEVGROUP }
       ip link set { DEVICE | dev DEVICE | group DEVGROUP } [ { up | down } ] [ type TYPE ARGS ]
                   [ promisc | multicast | allmulticast { on | off } ] [ txqueuelen PACKETS ] [ name NEWNAME ]
                   [ address LLADDR ] [ mtu MTU ] [ netns NAME ] [ alias NAME ] [ group GROUP ]
                   [ master DEVICE | nomaster ]
       ip link show [ DEVICE | group GROUP ] [ up ] [ master DEV ] [ type TYPE ]
TYPE := { bridge | bridge_slave | dummy | ipip | veth | vxlan }`

const usageNeigh = `Usage: ip neigh { add | del | change | replace } { ADDR [ lladdr LLADDR ] [ nud STATE ] | proxy ADDR } [ dev DEV ]
       ip neigh { show | flush } [ proxy ] [ to PREFIX ] [ dev DEV ] [ nud STATE ]
       ip neigh get { ADDR | proxy ADDR } dev DEV
STATE := { failed | incomplete | noarp | none | permanent | probe | delay | reachable | stale }`

const usageNetns = `Usage: ip netns list
       ip netns add NAME
       ip netns set NAME NETNSID
       ip [-all] netns delete [NAME]
       ip netns identify [PID]
       ip netns pids NAME
       ip [-all] netns exec [NAME] cmd ...
       ip netns list-id
NETNSID := auto | POSITIVE-INT`

const usageRoute = `Usage: ip route { list | flush } SELECTOR
       ip route get [ fibmatch ] ADDRESS [ from ADDRESS iif STRING ] [ oif STRING ]
       ip route { add | del | change | append | prepend | replace } ROUTE
SELECTOR := [ root PREFIX ] [ match PREFIX ] [ exact PREFIX ] [ table TABLE ] [ proto RTPROTO ]
            [ type TYPE ] [ scope SCOPE ] [ dev STRING ] [ via ADDRESS ] [ src ADDRESS ] [ metric METRIC ]
ROUTE := [ TYPE ] PREFIX [ table TABLE ] [ proto RTPROTO ] [ scope SCOPE ] [ metric METRIC ]
         [ via ADDRESS ] [ dev STRING ] [ onlink ] [ mtu NUMBER ] [ src ADDRESS ]
         [ nexthop [ via ADDRESS ] [ dev STRING ] [ weight NUMBER ] [ onlink ] ]...
TYPE := { unicast | local | broadcast | unreachable | prohibit | blackhole }
TABLE := [ local | main | all ]
SCOPE := [ host | link | global ]
RTPROTO := [ kernel | boot | static | NUMBER ]`

const usageTunnel = `Usage: ip tunnel { add | change | del | show } [ NAME ] [ mode ipip ]
        [ remote ADDR ] [ local ADDR ] [ ttl TTL ] [ tos TOS ] [ [no]pmtudisc ] [ dev PHYS_DEV ]
Where: ADDR := { IP_ADDRESS | any }
       TOS  := { STRING | 00..ff | inherit }
       TTL  := { 1..255 | inherit }`

const usageVeth = `Usage: ip link <options> type veth [peer <options>]
To get <options> type 'ip link add help'`

const usageBridge = `Usage: ... bridge [ fdb_flush ] [ ageing_time AGEING_TIME ] [ forward_delay FORWARD_DELAY ]
		  [ hello_time HELLO_TIME ] [ max_age MAX_AGE ] [ priority PRIORITY ] [ stp_state 0 ]
		  [ vlan_filtering 0 ] [ mcast_snooping MULTICAST_SNOOPING ] [ group_fwd_mask 0 ]`

const usageBridgeSlave = `Usage: ... bridge_slave [ fdb_flush ] [ priority PRIO ] [ cost COST ]
			[ hairpin {on | off} ] [ learning {on | off} ] [ flood {on | off} ]
			[ mcast_flood {on | off} ] [ bcast_flood {on | off} ]
			[ isolated {on | off} ] [ locked {on | off} ]`

const usageVXLAN = `Usage: ... vxlan id VNI
		[ { group | remote } IP_ADDRESS ]
		[ local ADDR ]
		[ ttl TTL ]
		[ tos TOS ]
		[ df DF ]
		[ dev PHYS_DEV ]
		[ dstport PORT ]
		[ srcport MIN MAX ]
		[ [no]learning ]
		[ [no]proxy ]
		[ [no]l2miss ]
		[ [no]l3miss ]
		[ ageing SECONDS ]
		[ maxaddress NUMBER ]
		[ [no]udpcsum ]
		[ gbp ]

Where:	VNI	:= 0-16777215
	ADDR	:= { IP_ADDRESS | any }
	TOS	:= { NUMBER | inherit }
	TTL	:= { 1..255 | auto | inherit }
	DF	:= { unset | set | inherit }`

const usageIPIP = `Usage: ... ipip	[ remote ADDR ]
		[ local ADDR ]
		[ ttl TTL ]
		[ tos TOS ]
		[ [no]pmtudisc ]
		[ dev PHYS_DEV ]
		[ mode { ipip | any } ]

Where:	ADDR := { IP_ADDRESS | any }
	TOS  := { NUMBER | inherit }
	TTL  := { 1..255 | inherit }`
