package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stavily/agents/internal/pgtest"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/storetest"
	"github.com/stavily/agents/shared/pkg/api"
)

// One cluster for all of them: to make it takes longest.
func TestServers(t *testing.T) {
	cluster := pgtest.Start(t)
	for name, test := range map[string]func(*testing.T, *pgtest.Cluster){
		"ServersTakeTurns":        testServersTakeTurns,
		"Others":                  testOthers,
		"Numbers":                 testNumbers,
		"TerminatedConnections":   testTerminatedConnections,
		"LostAnswer":              testLostAnswer,
		"CrashOfTheDatabase":      testCrashOfTheDatabase,
		"Notices":                 testNotices,
		"OneLeads":                testOneLeads,
		"StandingStill":           testStandingStill,
		"OddText":                 testOddText,
		"OpenRefusesANewerSchema": testOpenRefusesANewerSchema,
	} {
		t.Run(name, func(t *testing.T) { test(t, cluster) })
	}
}

// count adds one to a number that it reads first, and keeps in an agent's record.
func count(tx store.Tx) error {
	a, err := tx.Agent("counter")
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	a.ID, a.Hostname = "counter", a.Hostname+"x"
	return tx.PutAgent(a)
}

func counted(t *testing.T, s *Store) (n int) {
	t.Helper()
	err := s.Org("o").View(t.Context(), func(r store.Reader) error {
		a, err := r.Agent("counter")
		n = len(a.Hostname)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What one server reads and then writes no other has changed in between.
func testServersTakeTurns(t *testing.T, cluster *pgtest.Cluster) {
	url := cluster.NewSchema(t)
	servers := []*Store{with(t, url), with(t, url), with(t, url)}
	const callers, rounds = 4, 10
	var all sync.WaitGroup
	for _, s := range servers {
		for range callers {
			all.Go(func() {
				for range rounds {
					if err := s.Org("o").Update(t.Context(), count); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	if got, want := counted(t, servers[0]), len(servers)*callers*rounds; got != want {
		t.Errorf("%d of %d are there", got, want)
	}
}

// A server learns in its transaction that another has written, and of nothing else.
func testOthers(t *testing.T, cluster *pgtest.Cluster) {
	url := cluster.NewSchema(t)
	a, b := with(t, url), with(t, url)
	others := func(s *Store, org api.OrgID) (others bool) {
		t.Helper()
		if err := s.Org(org).Update(t.Context(), func(tx store.Tx) error { others = tx.Others(); return nil }); err != nil {
			t.Fatal(err)
		}
		return others
	}
	others(a, "o")
	for _, step := range []struct {
		who  *Store
		org  api.OrgID
		want bool
	}{{a, "o", false}, {b, "p", false}, {a, "o", false}, {b, "o", true}, {b, "o", false}, {a, "o", true}, {a, "o", false}} {
		if got := others(step.who, step.org); got != step.want {
			t.Errorf("%+v: %v", step, got)
		}
	}
}

// Numbers that one server gave the other goes on from.
func testNumbers(t *testing.T, cluster *pgtest.Cluster) {
	url := cluster.NewSchema(t)
	a, b := with(t, url), with(t, url)
	for n, s := range []*Store{a, a, b, a, b, b} {
		if err := s.Org("o").Update(t.Context(), storetest.Note(fmt.Sprint(n))); err != nil {
			t.Errorf("note %d: %v", n, err)
		}
	}
	if got := fmt.Sprint(storetest.Notes(t, b)); got != "[0 1 2 3 4 5]" {
		t.Errorf("the store has %s", got)
	}
}

// Every update that was answered is there once, and no other, however often connections are
// ended in the middle of it.
func testTerminatedConnections(t *testing.T, cluster *pgtest.Cluster) {
	url := cluster.NewSchema(t)
	servers := []*Store{with(t, url), with(t, url)}
	ctx, stop := context.WithCancel(t.Context())
	var mu sync.Mutex
	answered, refused := map[string]bool{}, map[string]bool{}
	var all sync.WaitGroup
	for k, s := range servers {
		for caller := range 4 {
			all.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					id := fmt.Sprintf("%d-%d-%d", k, caller, n)
					err := s.Org("o").Update(t.Context(), storetest.Note(id))
					mu.Lock()
					if err == nil {
						answered[id] = true
					} else {
						refused[id] = true
					}
					mu.Unlock()
					if errors.Is(err, store.ErrUnknownOutcome) {
						t.Errorf("%s: %v", id, err)
					}
				}
			})
		}
	}
	for range 10 {
		time.Sleep(50 * time.Millisecond)
		cluster.Terminate(t)
	}
	stop()
	all.Wait()
	there := map[string]int{}
	for _, id := range storetest.Notes(t, servers[0]) {
		there[id]++
	}
	for id := range answered {
		if there[id] != 1 {
			t.Errorf("%s was answered and is there %d times", id, there[id])
		}
	}
	for id := range refused {
		if there[id] != 0 {
			t.Errorf("%s was refused and is there", id)
		}
	}
	if len(answered) < 20 {
		t.Errorf("only %d were answered", len(answered))
	}
	t.Logf("%d answered, %d refused", len(answered), len(refused))
}

// The answer to a COMMIT that is lost is found again, whatever it was.
func testLostAnswer(t *testing.T, cluster *pgtest.Cluster) {
	s := with(t, cluster.NewSchema(t))
	if err := s.Org("o").Update(t.Context(), storetest.Note("first")); err != nil {
		t.Fatal(err)
	}
	w := &turns{store: s, org: "o"}
	for _, committed := range []bool{true, false} {
		c, err := w.take()
		if err != nil {
			t.Fatal(err)
		}
		last := c.(*turn)
		if err := last.Begin(); err != nil {
			t.Fatal(err)
		}
		end := "ROLLBACK"
		if committed {
			end = "COMMIT"
		}
		if _, err := last.conn.Exec(t.Context(), end); err != nil { // and nobody hears of it
			t.Fatal(err)
		}
		err = last.recover(time.Now(), errors.New("lost"))
		if committed && err != nil || !committed && !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("after %s: %v", end, err)
		}
		w.give(c)
	}
}

// The database comes back, and so does the store by itself.
func testCrashOfTheDatabase(t *testing.T, cluster *pgtest.Cluster) {
	s := with(t, cluster.NewSchema(t))
	if err := s.Org("o").Update(t.Context(), storetest.Note("before")); err != nil {
		t.Fatal(err)
	}
	cluster.Crash(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Org("o").View(ctx, func(r store.Reader) error { _, err := r.Agents(); return err }); err == nil {
		t.Error("a database that is not there was read")
	}
	cluster.Resume(t)
	if err := s.Org("o").Update(t.Context(), storetest.Note("after")); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(storetest.Notes(t, s)); got != "[before after]" {
		t.Errorf("the store has %s", got)
	}
}

func testNotices(t *testing.T, cluster *pgtest.Cluster) {
	url := cluster.NewDatabase(t)
	a, b := with(t, url), with(t, url)
	heard := make(chan store.Notice, 100)
	ctx, stop := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() { b.Follow(ctx, func(n store.Notice) { heard <- n }) })
	defer following.Wait()
	defer stop()
	next := func(want string) {
		t.Helper()
		select {
		case n := <-heard:
			if got := fmt.Sprintf("%s %s %v", n.Org, n.Text, n.Deaf); got != want {
				t.Errorf("heard %q, want %q", got, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%q was not heard", want)
		}
	}
	next("  false") // it listens
	tell := func(s *Store, text string, failure error) {
		t.Helper()
		err := s.Org("o").Update(t.Context(), func(tx store.Tx) error { return errors.Join(tx.Tell([]byte(text)), failure) })
		if !errors.Is(err, failure) {
			t.Fatal(err)
		}
	}
	tell(b, "its own", nil)
	tell(a, "undone", errors.New("undone"))
	tell(a, "hello", nil)
	next("o hello false")
	tell(a, strings.Repeat("x", 9000), nil)
	next("o  false")
	cluster.Terminate(t)
	next("  true")
	next("  false")
}

func testOneLeads(t *testing.T, cluster *pgtest.Cluster) {
	url := cluster.NewSchema(t)
	a, b := openURL(t, url), with(t, url)
	lead := func(s *Store) bool {
		t.Helper()
		leads, err := s.Lead(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return leads
	}
	for _, when := range []string{"at first", "and goes on"} {
		if !lead(a) {
			t.Errorf("the first does not lead %s", when)
		}
	}
	if lead(b) {
		t.Error("two lead")
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if !lead(b) {
		t.Error("a leader that has left is still waited for")
	}
	c := with(t, url)
	if lead(c) {
		t.Error("two lead")
	}
	if _, err := c.pool.Exec(t.Context(), "UPDATE leases SET until = clock_timestamp() - interval '1 second'"); err != nil {
		t.Fatal(err)
	}
	if !lead(c) || lead(b) {
		t.Error("a leader whose lease has run out still leads")
	}
}

// A server that stops in the middle of its turn does not hold up the others for ever.
func testStandingStill(t *testing.T, cluster *pgtest.Cluster) {
	url := cluster.NewSchema(t) + "&idle_in_transaction_session_timeout=500"
	a, b := with(t, url), with(t, url)
	held, release := make(chan struct{}), make(chan struct{})
	var stuck error
	var all sync.WaitGroup
	all.Go(func() {
		stuck = a.Org("o").Update(t.Context(), func(tx store.Tx) error {
			close(held)
			<-release
			return storetest.Note("late")(tx)
		})
	})
	<-held
	if err := b.Org("o").Update(t.Context(), storetest.Note("in time")); err != nil {
		t.Error(err)
	}
	close(release)
	all.Wait()
	if got := fmt.Sprint(storetest.Notes(t, b)); stuck == nil || got != "[in time]" {
		t.Errorf("the one that stood still: %v; the store has %s", stuck, got)
	}
}

// Keys may have what PostgreSQL has not, and stay apart.
func testOddText(t *testing.T, cluster *pgtest.Cluster) {
	s := with(t, cluster.NewSchema(t))
	odd := []string{"", "plain", "a\x00b", "a\x01b", "a\x0100b", "a\xffb", "a\ufffdb", "\x01", "\x00"}
	err := s.Org("o").Update(t.Context(), func(tx store.Tx) error {
		for n, text := range odd {
			run := store.Run{ID: api.RunID(fmt.Sprint(n)), Workflow: "w", Host: text, Status: "running"}
			if err := errors.Join(tx.PutRun(run), tx.SetCooldown("w", text, time.Unix(int64(n), 0))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Org("o").View(t.Context(), func(r store.Reader) error {
		hosts, err := r.HostsWorkedOn("w")
		got := map[string]bool{}
		for _, h := range hosts {
			got[h] = true
		}
		for n, text := range odd {
			until, found, failure := r.CooldownUntil("w", text)
			if !got[text] || !found || failure != nil || until.Unix() != int64(n) {
				t.Errorf("%q: host %v, cooldown %v %v %v", text, got[text], until.Unix(), found, failure)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func testOpenRefusesANewerSchema(t *testing.T, cluster *pgtest.Cluster) {
	url := cluster.NewSchema(t)
	s := openURL(t, url)
	if _, err := s.pool.Exec(t.Context(), `INSERT INTO schema_version (version, name) VALUES (99, 'later')`); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), url); err == nil || !strings.Contains(err.Error(), "a newer stavily has written it") {
		t.Errorf("Open = %v", err)
	}
}
