package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stavily/agents/shared/pkg/api"
)

// Any sequence of what can happen to a spool: every number above the settled ones is
// in the next batches exactly once, in order, as the event that was appended or in a
// gap that says why not.
func TestModel(t *testing.T) {
	root := t.TempDir()
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		m := &model{rt: rt, dir: filepath.Join(root, fmt.Sprint(runs)), fate: map[uint64]string{}}
		defer func() { m.fails(m.spool.Close()); os.RemoveAll(m.dir) }()
		m.start()
		rt.Repeat(map[string]func(*rapid.T){
			"append":  m.append,
			"ack":     m.ack,
			"aside":   m.setAside,
			"restart": func(*rapid.T) { m.fails(m.spool.Close()); m.start() },
			"damage":  m.damage,
			"renew":   m.renew,
			"":        func(rt *rapid.T) { m.check(rapid.IntRange(1, 5).Draw(rt, "items")) },
		})
	})
}

type model struct {
	rt    *rapid.T
	dir   string
	spool *Spool

	last, acked, base uint64
	came              Account           // what became of the settled ones
	fate              map[uint64]string // of each number: its payload, or "!" and the reason of a gap
	epochs            []string
}

func (m *model) fails(err error) {
	if err != nil {
		m.rt.Fatal(err)
	}
}

func (m *model) start() {
	s, err := Open(m.dir, Options{SegmentBytes: 200})
	m.fails(err)
	m.spool = s
	for seq, fate := range m.fate { // what was set aside is tried again
		if fate[0] == '?' {
			m.fate[seq] = fate[1:]
		}
	}
	if m.epochs == nil {
		m.epochs = []string{s.Epoch()}
	}
}

func (m *model) append(rt *rapid.T) {
	for range rapid.IntRange(1, 5).Draw(rt, "events") {
		m.last++
		m.fate[m.last] = fmt.Sprint("event ", m.last)
		seq, err := m.spool.Append(m.rt.Context(), []byte(m.fate[m.last]), false)
		m.fails(err)
		if seq != m.last {
			m.rt.Fatalf("number %d after %d", seq, m.last-1)
		}
	}
}

func (m *model) ack(rt *rapid.T) {
	through := rapid.Uint64Range(0, m.last).Draw(rt, "through")
	_, err := m.spool.Batch(1000, 1<<20) // all are sent before
	m.fails(err)
	var rejected []uint64
	for seq := max(m.acked, m.base) + 1; seq <= through; seq++ {
		switch fate := m.fate[seq]; {
		case fate[0] == '?':
			m.came.Refused++
		case fate[0] == '!':
			m.came.Corrupt++
		case rapid.IntRange(0, 3).Draw(rt, "rejected") == 0:
			m.came.Rejected++
			rejected = append(rejected, seq, seq) // the answer came twice
		default:
			m.came.Delivered++
		}
	}
	m.fails(m.spool.Ack(through, append(rejected, through+1)...))
	m.acked = max(m.acked, through)
}

func (m *model) setAside(rt *rapid.T) {
	if settled := max(m.acked, m.base); settled < m.last {
		seq := rapid.Uint64Range(settled+1, m.last).Draw(rt, "seq")
		m.fails(m.spool.SetAside(seq, ReasonRefused))
		if fate := m.fate[seq]; fate[0] == 'e' {
			m.fate[seq] = "?" + fate
		}
	}
}

func (m *model) renew(*rapid.T) {
	m.fails(m.spool.Renew())
	m.base, m.acked = max(m.acked, m.base), 0
	m.epochs = append(m.epochs, m.spool.Epoch())
}

// damage flips a bit in the payload of one event while the spool is closed.
func (m *model) damage(rt *rapid.T) {
	settled := max(m.acked, m.base)
	if settled == m.last {
		return
	}
	seq := rapid.Uint64Range(settled+1, m.last).Draw(rt, "seq")
	m.fails(m.spool.Close())
	segments, err := filepath.Glob(filepath.Join(m.dir, "log", "*.wal"))
	m.fails(err)
	payload := fmt.Sprint("event ", seq)
	for _, path := range segments {
		b, err := os.ReadFile(path)
		m.fails(err)
		for i := range b {
			if string(b[i:min(len(b), i+len(payload))]) == payload && (i+len(payload) == len(b) || b[i+len(payload)] < '0' || b[i+len(payload)] > '9') {
				b[i] ^= 1
				m.fate[seq] = "!" + ReasonCorrupt
			}
		}
		m.fails(os.WriteFile(path, b, 0o600))
	}
	m.start()
}

func (m *model) check(items int) {
	if got := m.spool.Epoch(); got != m.epochs[len(m.epochs)-1] {
		m.rt.Fatalf("epoch %s, want %s", got, m.epochs[len(m.epochs)-1])
	}
	b, err := m.spool.Batch(items, 1<<20)
	m.fails(err)
	want := Batch{Epoch: m.spool.Epoch()}
	next := m.acked + 1
	gap := func(to, count uint64, reason string) {
		want.Gaps = append(want.Gaps, api.Gap{From: next, To: to, Count: count, Reason: reason})
		next = to + 1
	}
	if next <= m.base {
		gap(m.base, 0, ReasonRenewed)
	}
	for want.Items() < items && next <= m.last {
		switch fate := m.fate[next]; fate[0] {
		case '?':
			gap(next, 1, ReasonRefused)
		case '!':
			to := next
			for to < m.last && m.fate[to+1] == fate {
				to++
			}
			gap(to, to-next+1, ReasonCorrupt)
		default:
			want.Records = append(want.Records, Record{next, []byte(fate)})
			next++
		}
	}
	if want.Items() > 0 {
		want.Through = next - 1
	}
	if diff := cmp.Diff(want, b); diff != "" {
		m.rt.Fatalf("batch of %d from %d (-want +got):\n%s", items, m.acked+1, diff)
	}
	s, err := m.spool.Stats()
	m.fails(err)
	m.came.Taken, m.came.Waiting = m.last, m.last-max(m.acked, m.base)
	if diff := cmp.Diff(m.came, s.Account); diff != "" || s.Account.Unaccounted() != 0 {
		m.rt.Fatalf("%d unaccounted for (-want +got):\n%s", s.Account.Unaccounted(), diff)
	}
	if s.Last != m.last || s.Depth != m.last-max(m.acked, m.base) {
		m.rt.Fatalf("stats %+v, want last %d and %d waiting", s, m.last, m.last-max(m.acked, m.base))
	}
}
