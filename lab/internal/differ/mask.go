package differ

// Names for what is masked, so that equal things stay equal and different ones different.

import (
	"fmt"
	"net"
	"regexp"
	"strings"
)

// names names values in the order in which they come: a, b, … z, a1, b1, ….
type names struct {
	of map[string]string
}

func (n *names) known(value string) (string, bool) {
	name, ok := n.of[value]
	return name, ok
}

func (n *names) name(value string) string {
	if name, ok := n.of[value]; ok {
		return name
	}
	if n.of == nil {
		n.of = make(map[string]string)
	}
	const letters = 26
	i := len(n.of)
	name := string(rune('a' + i%letters))
	if i >= letters {
		name += fmt.Sprint(i / letters)
	}
	n.of[value] = name
	return name
}

// masker masks MAC addresses that no script chose. One was chosen if the script names it, or names how it begins, as
// '02:00:00:00:01:0$i' does: a random address does so once in four thousand million times.
type masker struct {
	chosen []string // beginnings of addresses
	random names
}

// maskedMAC begins the names of masked addresses.
const maskedMAC = "mac-"

var (
	macText  = regexp.MustCompile(`\b[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}\b`)
	macStart = regexp.MustCompile(`\b[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){3}(:[0-9a-fA-F]{0,2}){0,2}`)
)

func newMasker(script string) *masker {
	m := &masker{chosen: []string{"00:00:00:00:00:00"}}
	for _, start := range macStart.FindAllString(script, -1) {
		m.chosen = append(m.chosen, strings.ToLower(start))
	}
	return m
}

// mac returns an address of six bytes as text, masked if it is random. Group addresses never are.
func (m *masker) mac(b []byte) string {
	return m.text(net.HardwareAddr(b).String())
}

func (m *masker) text(mac string) string {
	const group = "13579bdf" // second digits of group addresses
	mac = strings.ToLower(mac)
	if strings.ContainsRune(group, rune(mac[1])) {
		return mac
	}
	for _, start := range m.chosen {
		if strings.HasPrefix(mac, start) {
			return mac
		}
	}
	return maskedMAC + m.random.name(mac)
}
