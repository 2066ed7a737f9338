package differ

// What is masked in the output of the tools: times, identifiers and numbers that the kernel chooses freely.

import (
	"regexp"
	"strings"
)

// rule masks one thing. Each names the tool that prints it so; what is not listed here is compared as it is.
type rule struct {
	what *regexp.Regexp
	with string
}

func textRules() []rule {
	compile := func(what, with string) rule { return rule{regexp.MustCompile(`(?m)` + what), with} }
	return []rule{
		// ping, arping, traceroute: round trip times and their statistics.
		compile(`\btime=[0-9.]+ (?:[mu]s|[mun]?sec)\b`, "time=T"),
		compile(`, time [0-9]+ms$`, ", time T"),
		compile(`^(rtt min/avg/max/\S+ = ).*?(, pipe [0-9]+)?$`, "${1}T$2"),
		compile(`\b[0-9]+\.[0-9]{3} ms\b`, "T ms"),

		// tcpdump: time stamps, identification, identifiers of echoes.
		compile(`^[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6} `, "TIME "),
		compile(`(\(tos 0x[0-9a-f]+,.* ttl [0-9]+, id )[0-9]+,`, "${1}N,"),
		compile(`(ICMP echo (?:request|reply), id )[0-9]+,`, "${1}N,"),

		// ip and bridge: indexes of devices.
		compile(`^[0-9]+: `, "I: "),
		compile(`@if[0-9]+\b`, "@ifI"),
		// bridge 6.1 prints the peer's index as the name that it has in the wrong namespace.
		compile(`^(I: [^@ ]+@)[^:]+(: .* state [a-z]+ priority [0-9]+ cost [0-9]+)`, "${1}ifI$2"),
		compile(`(peer_ifindex: )[0-9]+`, "${1}I"),

		// ip and bridge: ages in seconds, hundredths in brctl's table.
		compile(`(\bexpires )[0-9]+sec`, "${1}T"),
		compile(`(\bused )[0-9]+(?:/[0-9]+){1,2}`, "${1}T"),
		compile(`^( *[0-9]+\t[0-9a-f:]{17}\t(?:yes|no)\t\t) *[0-9]+\.[0-9]{2}$`, "${1}T"),
	}
}

var (
	tcpdumpAddresses = regexp.MustCompile(`\b((?:[0-9]{1,3}\.){3}[0-9]{1,3})\.([0-9]{1,5}) > ((?:[0-9]{1,3}\.){3}[0-9]{1,3})\.([0-9]{1,5}):`)
	bridgeID         = regexp.MustCompile(`\b([0-9a-f]{4}\.)([0-9a-f]{12})\b`)
)

// maskText masks the output of a script.
func maskText(text string, macs *masker) string {
	for _, r := range textRules() {
		text = r.what.ReplaceAllString(text, r.with)
	}
	text = macText.ReplaceAllStringFunc(text, macs.text)
	text = bridgeID.ReplaceAllStringFunc(text, func(id string) string {
		priority, mac, _ := strings.Cut(id, ".")
		var pairs []string
		for ; mac != ""; mac = mac[2:] {
			pairs = append(pairs, mac[:2])
		}
		if masked := macs.text(strings.Join(pairs, ":")); strings.HasPrefix(masked, maskedMAC) {
			return priority + "." + masked
		}
		return id
	})
	return maskPorts(text)
}

// maskPorts masks the ephemeral ports in tcpdump's lines, by the same rule as in packets: a destination that was no source
// before was chosen by the script.
func maskPorts(text string) string {
	var ports names
	served := make(map[string]bool)
	return tcpdumpAddresses.ReplaceAllStringFunc(text, func(line string) string {
		m := tcpdumpAddresses.FindStringSubmatch(line)
		src, dst := m[2], m[4]
		if ephemeral(src) && !served[m[1]+"."+src] {
			src = "port-" + ports.name(m[1]+"."+src)
		}
		if name, ok := ports.known(m[3] + "." + dst); ok {
			dst = "port-" + name
		} else {
			served[m[3]+"."+dst] = true
		}
		return m[1] + "." + src + " > " + m[3] + "." + dst + ":"
	})
}

func ephemeral(port string) bool {
	return len(port) == 5 && port >= "32768" && port <= "60999"
}
