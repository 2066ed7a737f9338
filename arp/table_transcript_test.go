package arp_test

// Transcripts: what a neighbour table does, as text. Files are testdata/neighbour/*.txt, written by hand from the rules of Linux,
// and testdata/kernel/*.txt, recorded from it.
//
// A file has cases, each with a table of its own. Blank lines and what follows a # are ignored.
//
//	case 15: three requests a second apart   # the number is that of the behaviour it shows, or a few words
//	us 10.0.0.1                              # our address on the device: requests for it are ours to answer
//	set retrans_time=1s ucast_solicit=3      # parameters; none of them: -1 (numbers), -1ns (times); see settings below
//	slack 50ms                               # how far off times of -> and <= lines may be: for recordings
//	0.000 out 10.0.0.2 98                    # at that second a packet of 98 bytes is to go to 10.0.0.2
//	-> request 10.0.0.2 broadcast            # the table does that, at once
//	= 10.0.0.2 INCOMPLETE waiting 1          # and the entry is so
//	1.000 -> request 10.0.0.2 broadcast      # a timer: one second later the table does that by itself
//
// Every line may begin with a time in seconds; without, it is the time of the line before. All that a table does must be in the
// transcript, in its order, at its time. An address on a device other than 1 has it behind a %: 10.0.0.2%2.
//
// Events:
//
//	out ADDR BYTES [from SOURCE]                 a packet goes to Output; BYTES 0 is a nil buffer
//	send ADDR BYTES                              a packet goes as an engine sends it: by Lookup if ready, else by Output
//	in request SENDER MAC for TARGET TO          an ARP packet comes in; TO is unicast or broadcast
//	in reply SENDER MAC for TARGET TO [at MAC]   the last is the target MAC address, if it is not ours or the sender's own
//	confirm ADDR
//	add|replace|change ADDR MAC|- STATE
//	del ADDR
//	flush DEVICE|0 [STATE…]
//	down|carrier|address DEVICE                  device events
//	proxy add|del ADDR
//	tick                                         nothing, but time goes by until then
//	set NAME=VALUE…                              parameters of all devices; set%2 those of device 2
//
// What the table does:
//
//	-> request ADDR broadcast|MAC [from SOURCE]
//	-> miss ADDR
//	-> send ADDR MAC BYTES
//	-> unreachable ADDR BYTES
//	-> drop ADDR BYTES REASON…
//
// What holds:
//
//	= ADDR STATE [MAC] [waiting N] [probes N] [used S] [confirmed S] [updated S] [ready]    S is a time as above
//	= ADDR NONE                                                                            there is no entry
//	<= SECONDS ADDR STATE [MAC]                  the entry comes to be so at some time until SECONDS; time goes on to then
//	stat NAME N                                  a counter of TableStats
//	! TEXT                                       the event before failed with an error that contains TEXT

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

func TestNeighbourTranscripts(t *testing.T) { runTranscripts(t, "testdata/neighbour/*.txt") }

// runTranscripts runs all cases of the files that match pattern, of which there is one at least.
func runTranscripts(t *testing.T, pattern string) {
	files, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.NotEmpty(t, files, "no transcripts")
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, c := range parseTranscript(t, file, string(text)) {
			t.Run(filepath.Base(file)+"/"+c.name, func(t *testing.T) { c.run(t) })
		}
	}
}

// transcriptLine is a line without comment and time.
type transcriptLine struct {
	where string // file:line
	time  time.Duration
	timed bool // it has a time of its own
	words []string
}

type transcriptCase struct {
	name  string
	lines []transcriptLine
}

// parseTranscript cuts a file into cases.
func parseTranscript(t *testing.T, file, text string) (cases []transcriptCase) {
	var now time.Duration
	for i, line := range strings.Split(text, "\n") {
		where := fmt.Sprintf("%s:%d", file, i+1)
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if words[0] == "case" {
			cases = append(cases, transcriptCase{name: strings.Join(words[1:], " ")})
			now = 0
			continue
		}
		require.NotEmpty(t, cases, "%s: a line before the first case", where)
		l := transcriptLine{where: where, time: now, words: words}
		if at, ok := parseSeconds(words[0]); ok {
			require.GreaterOrEqual(t, at, now, "%s: time goes backwards", where)
			now = at
			l.time, l.timed, l.words = at, true, words[1:]
		}
		require.NotEmpty(t, l.words, "%s: a time and nothing else", where)
		c := &cases[len(cases)-1]
		c.lines = append(c.lines, l)
	}
	return cases
}

// parseSeconds reads a time such as 1.003.
func parseSeconds(s string) (time.Duration, bool) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, false
	}
	return time.Duration(f*1e6+0.5*float64(sign(f))) * time.Microsecond, true
}

func sign(f float64) int {
	if f < 0 {
		return -1
	}
	return 1
}

// player plays a case.
type player struct {
	t      *testing.T
	line   transcriptLine
	table  *arp.Table
	config arp.TableConfig
	us     map[uint32]netip.Addr
	slack  time.Duration
	now    time.Duration
	done   []event // what the table did and the transcript has not mentioned yet
	err    error
	given  int // packets given to the table, less those that came back
}

// event is an action with its time.
type event struct {
	at   time.Duration
	text string
}

func (c transcriptCase) run(t *testing.T) {
	p := &player{t: t, us: map[uint32]netip.Addr{}}
	for _, l := range c.lines {
		p.line = l
		p.play()
	}
	p.allMentioned()
	p.handled()
	require.Equal(t, p.given, p.table.Stats().Waiting, "%s: packets are lost", p.line.where)
}

// start makes the table when the settings are known.
func (p *player) start() {
	if p.table == nil {
		var err error
		p.table, err = arp.NewTable(p.config)
		require.NoError(p.t, err, p.line.where)
	}
}

func (p *player) play() {
	verb, args := p.line.words[0], p.line.words[1:]
	switch verb {
	case "us":
		for _, a := range args {
			device, addr := p.address(a)
			p.us[device] = netipOf(addr)
		}
		return
	case "slack":
		d, err := time.ParseDuration(args[0])
		require.NoError(p.t, err, p.line.where)
		p.slack = d
		return
	case "->":
		p.start()
		p.expect(strings.Join(args, " "))
		return
	case "!":
		require.ErrorContains(p.t, p.err, strings.Join(args, " "), p.line.where)
		p.err = nil
		return
	case "<=":
		p.start()
		p.waitFor(args)
		return
	}
	if name, device, _ := strings.Cut(verb, "%"); name == "set" {
		p.set(device, args)
		return
	}
	p.start()
	p.until(p.line.time)
	switch verb {
	case "=":
		p.check(args, true)
	case "stat":
		p.checkStat(args)
	default:
		p.allMentioned()
		p.handled()
		p.event(verb, args)
	}
}

// handled fails if the event before failed and the transcript does not say so.
func (p *player) handled() {
	require.NoError(p.t, p.err, "%s: an event before this line failed", p.line.where)
}

// until lets time go by.
func (p *player) until(at time.Duration) {
	for p.table.Next() <= at {
		p.now = max(p.now, p.table.Next())
		actions, _ := p.table.Tick(p.now, nil)
		p.note(actions)
	}
	p.now = max(p.now, at)
}

// allMentioned fails if the table did something that the transcript does not tell.
func (p *player) allMentioned() {
	require.Empty(p.t, p.done, "%s: before this line the table did more than the transcript tells", p.line.where)
}

// expect checks that the next thing that the table does is the line's.
func (p *player) expect(want string) {
	limit := p.line.time + p.slack
	for len(p.done) == 0 && p.table.Next() <= limit {
		p.until(p.table.Next())
	}
	require.NotEmpty(p.t, p.done, "%s: the table does nothing", p.line.where)
	got := p.done[0]
	p.done = p.done[1:]
	if !strings.Contains(want, " from ") {
		got.text, _, _ = strings.Cut(got.text, " from ")
	}
	require.Equal(p.t, want, got.text, p.line.where)
	require.InDelta(p.t, p.line.time.Seconds(), got.at.Seconds(), p.slack.Seconds(), "%s: at another time", p.line.where)
}

// waitFor lets time go by until the entry is as told.
func (p *player) waitFor(args []string) {
	limit, ok := parseSeconds(args[0])
	require.True(p.t, ok, p.line.where)
	p.until(p.line.time)
	for !p.check(args[1:], false) {
		next := p.table.Next()
		if next > limit {
			p.check(args[1:], true)
		}
		p.until(next)
	}
	p.until(limit)
}

func (p *player) note(actions []arp.Action) {
	for _, a := range actions {
		p.done = append(p.done, event{p.now, p.describe(a)})
		if a.Buffer != nil {
			p.given--
		}
	}
}

func (p *player) describe(a arp.Action) string {
	addr := addressText(a.Device, a.Addr)
	from := ""
	if a.Source != 0 {
		from = " from " + netipOf(a.Source).String()
	}
	switch a.Kind {
	case arp.ActionRequest:
		return "request " + addr + " broadcast" + from
	case arp.ActionProbe:
		return "request " + addr + " " + a.MAC.String() + from
	case arp.ActionMiss:
		return "miss " + addr + from
	case arp.ActionDeliver:
		return fmt.Sprintf("send %s %v %d", addr, a.MAC, a.Buffer.Len())
	case arp.ActionUnreachable:
		return fmt.Sprintf("unreachable %s %d", addr, a.Buffer.Len())
	case arp.ActionDrop:
		return fmt.Sprintf("drop %s %d %v", addr, a.Buffer.Len(), a.Reason)
	}
	return a.Kind.String()
}

func netipOf(addr uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, addr)))
}

func uintOf(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func addressText(device, addr uint32) string {
	if device == 1 {
		return netipOf(addr).String()
	}
	return fmt.Sprintf("%v%%%d", netipOf(addr), device)
}

// address reads 10.0.0.2 or 10.0.0.2%2.
func (p *player) address(s string) (device, addr uint32) {
	text, number, other := strings.Cut(s, "%")
	device = 1
	if other {
		device = uint32(p.number(number))
	}
	a, err := netip.ParseAddr(text)
	require.NoError(p.t, err, p.line.where)
	return device, uintOf(a)
}

func (p *player) key(s string) arp.Key {
	device, addr := p.address(s)
	return arp.Key{Device: device, Addr: netipOf(addr)}
}

func (p *player) number(s string) int {
	n, err := strconv.Atoi(s)
	require.NoError(p.t, err, p.line.where)
	return n
}

func (p *player) mac(s string) ethernet.MAC {
	if s == "-" {
		return ethernet.MAC{}
	}
	m, err := ethernet.ParseMAC(s)
	require.NoError(p.t, err, p.line.where)
	return m
}

func (p *player) state(s string) arp.State {
	state, err := arp.ParseState(s)
	require.NoError(p.t, err, p.line.where)
	return state
}

// event does what a line says to the table.
func (p *player) event(verb string, args []string) {
	var actions []arp.Action
	switch verb {
	case "out", "send":
		actions = p.send(verb, args)
	case "in":
		actions = p.in(args)
	case "confirm":
		device, addr := p.address(args[0])
		p.table.Confirm(device, addr, p.now)
	case "add":
		actions, p.err = p.table.Add(p.key(args[0]), p.mac(args[1]), p.state(args[2]), p.now, nil)
	case "replace":
		actions, p.err = p.table.Replace(p.key(args[0]), p.mac(args[1]), p.state(args[2]), p.now, nil)
	case "change":
		actions, p.err = p.table.Change(p.key(args[0]), p.mac(args[1]), p.state(args[2]), p.now, nil)
	case "del":
		actions, p.err = p.table.Delete(p.key(args[0]), p.now, nil)
	case "flush":
		f := arp.Filter{Device: uint32(p.number(args[0]))}
		for _, s := range args[1:] {
			f.States = append(f.States, p.state(s))
		}
		actions, _ = p.table.Flush(f, p.now, nil)
	case "down", "carrier", "address":
		event := map[string]arp.DeviceEvent{
			"down": arp.DeviceDown, "carrier": arp.DeviceCarrier, "address": arp.DeviceAddress,
		}[verb]
		actions = p.table.FlushDevice(uint32(p.number(args[0])), event, p.now, nil)
	case "proxy":
		change := map[string]func(arp.Key) error{"add": p.table.AddProxy, "del": p.table.DeleteProxy}[args[0]]
		p.err = change(p.key(args[1]))
	case "tick":
	default:
		p.t.Fatalf("%s: what is %q?", p.line.where, verb)
	}
	p.note(actions)
}

func (p *player) send(verb string, args []string) []arp.Action {
	device, addr := p.address(args[0])
	size := p.number(args[1])
	var source uint32
	if len(args) > 2 {
		_, source = p.address(args[3])
	}
	var b *packet.Buffer
	if size > 0 {
		b = packet.Of(make([]byte, size))
		p.given++
	}
	if n := p.table.Lookup(device, addr); verb == "send" && n.Ready() {
		return []arp.Action{{Kind: arp.ActionDeliver, Device: device, Addr: addr, MAC: n.MAC(), Buffer: b}}
	}
	return p.table.Output(device, addr, b, source, p.now, nil)
}

// in gives an ARP packet to the table.
func (p *player) in(args []string) []arp.Action {
	device, sender := p.address(args[1])
	_, target := p.address(args[4])
	f := arp.Fields{
		Op: arp.Request, SenderMAC: p.mac(args[2]), SenderIP: netipOf(sender).As4(), TargetIP: netipOf(target).As4(),
	}
	if args[0] == "reply" {
		f.Op = arp.Reply
		if sender == target {
			f.TargetMAC = f.SenderMAC
		}
	} else if args[0] != "request" {
		f.Op = arp.Op(p.number(args[0]))
	}
	if len(args) > 6 {
		f.TargetMAC = p.mac(args[7])
	}
	var how arp.Reception
	if args[5] == "unicast" {
		how |= arp.ToHost
	}
	if netipOf(target) == p.us[device] {
		how |= arp.ForUs
	}
	view, err := arp.Parse(f.Append(nil))
	require.NoError(p.t, err)
	return p.table.Input(device, view, how, p.now, nil)
}

// check compares an entry with what a line says of it.
func (p *player) check(args []string, must bool) bool {
	key := p.key(args[0])
	entry, found := p.table.Get(key)
	n := p.table.Lookup(key.Device, uintOf(key.Addr))
	require.Equal(p.t, found, n.State() != arp.StateNone, p.line.where)
	require.Equal(p.t, entry.State, n.State(), p.line.where)
	require.Equal(p.t, entry.MAC, n.MAC(), p.line.where)
	want, got := []any{p.state(args[1])}, []any{entry.State}
	rest := args[2:]
	if len(rest) > 0 && strings.Contains(rest[0], ":") {
		want, got, rest = append(want, p.mac(rest[0])), append(got, entry.MAC), rest[1:]
	}
	for len(rest) > 0 {
		what := rest[0]
		if what == "ready" {
			want, got, rest = append(want, "ready", true), append(got, "ready", n.Ready()), rest[1:]
			continue
		}
		at, ok := parseSeconds(rest[1])
		require.True(p.t, ok, "%s: %s needs a number", p.line.where, what)
		value := reflect.ValueOf(entry).FieldByName(strings.ToUpper(what[:1]) + what[1:])
		require.True(p.t, value.IsValid(), "%s: an entry has no %s", p.line.where, what)
		if d, isTime := reflect.TypeAssert[time.Duration](value); isTime {
			require.InDelta(p.t, at.Seconds(), d.Seconds(), p.slack.Seconds(), "%s: %s", p.line.where, what)
		} else {
			want, got = append(want, what, p.number(rest[1])), append(got, what, value.Interface())
		}
		rest = rest[2:]
	}
	if must {
		require.Equal(p.t, want, got, p.line.where)
	}
	return slices.Equal(want, got)
}

func (p *player) checkStat(args []string) {
	value := reflect.ValueOf(p.table.Stats()).FieldByName(args[0])
	require.True(p.t, value.IsValid(), "%s: no such counter", p.line.where)
	require.Equal(p.t, args[1], fmt.Sprint(value.Interface()), "%s: %s", p.line.where, args[0])
}

// settings are the words of a set line, by the names that sysctl has for them.
var settings = map[string]string{
	"base_reachable_time":    "BaseReachable",
	"delay_first_probe_time": "Delay",
	"retrans_time":           "Retransmit",
	"gc_stale_time":          "StaleTime",
	"locktime":               "LockTime",
	"ucast_solicit":          "UnicastProbes",
	"app_solicit":            "AppProbes",
	"mcast_solicit":          "BroadcastProbes",
	"mcast_resolicit":        "BroadcastReprobes",
	"unres_qlen_bytes":       "QueueBytes",
	"unres_qlen":             "QueuePackets",
	"arp_accept":             "AcceptUnsolicited",
	"gc_thresh1":             "GCThresh1",
	"gc_thresh2":             "GCThresh2",
	"gc_thresh3":             "GCThresh3",
	"gc_interval":            "GCInterval",
	"max_configured":         "MaxConfigured",
	"max_waiting":            "MaxWaiting",
	"max_proxies":            "MaxProxies",
}

// set changes parameters: those of the table before its first event, those of devices at any time.
func (p *player) set(device string, args []string) {
	params := &p.config.Params
	if p.table != nil {
		current := p.table.Params(0)
		if device != "" {
			current = p.table.Params(uint32(p.number(device)))
		}
		params = &current
	}
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		field := reflect.ValueOf(params).Elem().FieldByName(settings[name])
		if !field.IsValid() && p.table == nil {
			field = reflect.ValueOf(&p.config).Elem().FieldByName(settings[name])
		}
		require.True(p.t, field.IsValid(), "%s: no setting %s, or not any more", p.line.where, name)
		switch field.Interface().(type) {
		case time.Duration:
			d, err := time.ParseDuration(value)
			require.NoError(p.t, err, p.line.where)
			field.SetInt(int64(d))
		case int:
			field.SetInt(int64(p.number(value)))
		case bool:
			field.SetBool(value == "1")
		}
	}
	if p.table == nil {
		require.Empty(p.t, device, "%s: parameters of a device come after the first event", p.line.where)
		return
	}
	p.until(p.line.time)
	number := 0
	if device != "" {
		number = p.number(device)
	}
	require.NoError(p.t, p.table.SetParams(uint32(number), *params), p.line.where)
}
