package proc_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
)

// system returns a process in the default namespace of an empty network.
func system(t *testing.T) *proc.Proc {
	t.Helper()
	net, err := network.New(network.Config{Seed: 1})
	require.NoError(t, err)
	sys := &proc.System{Net: net, Sched: proc.NewScheduler(net), Table: proc.Table{}, Stderr: io.Discard}
	sys.External = func(*proc.Proc, []string) int { return 127 }
	return &proc.Proc{Node: net.Default(), Stdout: io.Discard, Stderr: sys.Stderr, Sys: sys}
}

// start makes f a task that has run until its first wait.
func start(p *proc.Proc, f func() int) *proc.Task {
	task := p.Sys.Sched.Adopt("f")
	go func() {
		task.Begin()
		task.End(f())
	}()
	p.Sys.Sched.Yield()
	return task
}

func TestTasksTakeTurns(t *testing.T) {
	p := system(t)
	var log []string
	note := func(who string) { log = append(log, fmt.Sprint(who, "@", p.Now())) }
	for _, who := range []string{"a", "b"} {
		start(p, func() int {
			for range 2 {
				note(who)
				_ = p.Sleep(time.Second) // killed in the end
			}
			return 0
		})
	}
	note("main")
	require.NoError(t, p.Sleep(1500*time.Millisecond))
	note("main")
	assert.Equal(t, []string{"a@0s", "b@0s", "main@0s", "a@1s", "b@1s", "main@1.5s"}, log)
	p.Sys.Sched.Finish()
}

func TestJoin(t *testing.T) {
	p := system(t)
	task := start(p, func() int {
		_ = p.Sleep(time.Minute)
		return 7
	})
	assert.False(t, task.Done())
	status, err := p.Sys.Sched.Join(task)
	require.NoError(t, err)
	assert.Equal(t, 7, status)
	assert.Equal(t, time.Minute, p.Now())
	again, err := p.Sys.Sched.Join(task)
	require.NoError(t, err)
	assert.Equal(t, 7, again)
}

func TestKill(t *testing.T) {
	p := system(t)
	var err, later error
	task := start(p, func() int {
		err = p.Sleep(time.Hour)
		later = p.Sleep(time.Hour)
		return p.Killed(err)
	})
	task.Kill(proc.SIGTERM)
	status, joined := p.Sys.Sched.Join(task)
	require.NoError(t, joined)
	assert.Equal(t, 143, status)
	assert.Zero(t, p.Now())
	var i *proc.Interrupted
	require.ErrorAs(t, err, &i)
	assert.Equal(t, proc.SIGTERM, i.Signal)
	assert.Error(t, later, "who was killed waits no more")
}

func TestEvent(t *testing.T) {
	p := system(t)
	var e proc.Event
	assert.ErrorIs(t, p.Wait(time.Second, &e), proc.ErrDeadline)
	p.At(3*time.Second, e.Notify)
	require.NoError(t, p.Wait(proc.Forever, &e))
	assert.Equal(t, 3*time.Second, p.Now())
}

func TestAlarm(t *testing.T) {
	p := system(t)
	status, fired := p.Alarm(time.Second, proc.SIGTERM, func() int { return p.Killed(p.Sleep(time.Hour)) })
	assert.Equal(t, 143, status)
	assert.True(t, fired)
	require.NoError(t, p.Sleep(time.Second), "the signal was for what ran")
	status, fired = p.Alarm(p.Now()+time.Hour, proc.SIGTERM, func() int { return 3 })
	assert.Equal(t, 3, status)
	assert.False(t, fired)
	require.NoError(t, p.Sleep(2*time.Hour), "nor is it late")
}

// TestNobodyComes is the user's ^C: everybody waits for what will never come.
func TestNobodyComes(t *testing.T) {
	p := system(t)
	var i *proc.Interrupted
	require.ErrorAs(t, p.Wait(proc.Forever, new(proc.Event)), &i)
	assert.Equal(t, proc.SIGINT, i.Signal)
	assert.Less(t, p.Now(), time.Hour)
	p.Sys.Sched.Current().ClearSignal()
	require.NoError(t, p.Sleep(0))
}

func TestRecv(t *testing.T) {
	p := system(t)
	server, err := p.Node.ListenUDP(netip.MustParseAddrPort("127.0.0.1:7"))
	require.NoError(t, err)
	client, err := p.Node.ListenUDP(netip.AddrPort{})
	require.NoError(t, err)
	_, err = p.Node.ListenUDP(netip.MustParseAddrPort("0.0.0.0:7"))
	require.ErrorIs(t, err, network.ErrInUse)
	var got network.Message
	task := start(p, func() int {
		got, err = p.Recv(server, proc.Forever)
		return 0
	})
	require.NoError(t, client.SendUDP(netip.MustParseAddrPort("127.0.0.1:7"), engine.Send{}, []byte("hello")))
	_, joined := p.Sys.Sched.Join(task)
	require.NoError(t, errors.Join(err, joined))
	assert.Equal(t, "hello", string(got.Data))
	assert.Equal(t, client.Local().Port(), got.SrcPort)

	server.Close()
	require.NoError(t, client.SendUDP(netip.MustParseAddrPort("127.0.0.1:7"), engine.Send{}, []byte("nobody")))
	refused, err := p.Recv(client, p.Now()+time.Second)
	require.NoError(t, err)
	require.NotNil(t, refused.Error, "port unreachable")
	assert.EqualValues(t, 7, refused.Error.DstPort)
	_, err = p.Recv(client, p.Now()+time.Second)
	assert.ErrorIs(t, err, proc.ErrDeadline)
}

func TestExec(t *testing.T) {
	p := system(t)
	p.Sys.Table["say"] = func(p *proc.Proc, args []string) int { return len(args) + len(p.Name) }
	assert.Equal(t, 5, p.Exec([]string{"say", "a", "b"}))
	assert.Equal(t, 127, p.Exec([]string{"other"}))
}
