package execution

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
)

func instruction(id string, attempt int) api.Instruction {
	return api.Instruction{ID: api.InstructionID(id), Attempt: attempt, PluginID: "p", Lease: "l-" + id}
}

func completed() api.Result {
	return api.Result{Status: api.Completed, Result: json.RawMessage(`{"n":1}`), Attempt: 1, Lease: "l"}
}

func open(t *testing.T, dir string, o Options) *Journal {
	t.Helper()
	j, damage, err := Open(dir, o)
	if err != nil || damage != "" {
		t.Fatalf("Open: %v, damage %q", err, damage)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// summary is what a caller sees of a journal: status and details of each result that
// waits, by attempt.
func summary(j *Journal) map[string]string {
	out := map[string]string{}
	for _, e := range j.Unreported() {
		out[fmt.Sprintf("%s/%d", e.ID, e.Attempt)] = string(e.Result.Status) + string(e.Result.ErrorDetails)
	}
	return out
}

func TestARestartDecidesByTheJournal(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	for _, id := range []string{"accepted", "started", "ended", "reported", "refused"} {
		must(t, j.Accept(instruction(id, 1)))
	}
	for _, id := range []api.InstructionID{"started", "ended", "reported"} {
		must(t, j.Starting(id, 1))
	}
	for _, id := range []api.InstructionID{"ended", "reported"} {
		must(t, j.Ended(id, 1, completed()))
	}
	must(t, j.Reported("reported", 1))
	must(t, j.Reported("refused", 1)) // the claim was refused: nothing to send
	must(t, j.Close())

	j = open(t, dir, Options{})
	want := map[string]string{
		"accepted/1": `interrupted{"started":false}`,
		"started/1":  `interrupted{"started":true}`,
		"ended/1":    "completed",
	}
	if diff := cmp.Diff(want, summary(j)); diff != "" {
		t.Errorf("to be reported after a restart (-want +got):\n%s", diff)
	}
	for id, want := range map[api.InstructionID]bool{"accepted": true, "started": true, "ended": true, "reported": true, "refused": false} {
		if j.Seen(id, 1) != want || j.Seen(id, 2) {
			t.Errorf("%s: seen %v, its next attempt %v; want %v, false", id, j.Seen(id, 1), j.Seen(id, 2), want)
		}
	}
	for _, e := range j.Unreported() {
		if e.Result.Attempt != 1 || e.Result.Status == api.Interrupted && e.Result.Lease != "l-"+string(e.ID) {
			t.Errorf("result of %s is not under its attempt and lease: %+v", e.ID, e.Result)
		}
	}
}

func TestInputsThatDoNotFit(t *testing.T) {
	j := open(t, t.TempDir(), Options{})
	must(t, j.Accept(instruction("a", 1)))
	for what, err := range map[string]error{
		"accept twice":         j.Accept(instruction("a", 1)),
		"start what is absent": j.Starting("b", 1),
		"end what is absent":   j.Ended("b", 1, completed()),
		"report the absent":    j.Reported("b", 1),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	must(t, j.Ended("a", 1, completed()))
	if err := j.Starting("a", 1); err == nil {
		t.Error("started after it ended")
	}
	must(t, j.Reported("a", 1))
	if err := j.Ended("a", 1, completed()); err == nil {
		t.Error("ended after it was reported")
	}
}

// The claim came too late, its lease had run out: the same attempt may be offered again
// and must then be taken, or it would be offered for ever.
func TestAnAttemptThatDidNotRunIsTakenAgain(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	must(t, j.Accept(instruction("a", 1)))
	must(t, j.Reported("a", 1))
	again := instruction("a", 1)
	again.Lease = "another"
	must(t, j.Accept(again))
	must(t, j.Close())
	j = open(t, dir, Options{})
	waits := j.Unreported()
	if len(waits) != 1 || waits[0].Result.Lease != "another" {
		t.Fatalf("to be reported: %+v, want the attempt under its new lease", waits)
	}
	must(t, j.Reported("a", 1))
	must(t, j.Accept(again))
	must(t, j.Starting("a", 1))
	must(t, j.Ended("a", 1, completed()))
	must(t, j.Reported("a", 1))
	if err := j.Accept(again); err == nil {
		t.Error("an attempt that has run was accepted again")
	}
}

// run takes an attempt through its life.
func run(t *testing.T, j *Journal, id string, r api.Result) {
	t.Helper()
	must(t, j.Accept(instruction(id, 1)))
	must(t, j.Starting(api.InstructionID(id), 1))
	must(t, j.Ended(api.InstructionID(id), 1, r))
	must(t, j.Reported(api.InstructionID(id), 1))
}

func TestRetentionAndCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, hour := t.TempDir(), Options{Retention: time.Hour}
		j := open(t, dir, hour)
		must(t, j.Accept(instruction("open", 1)))
		big := completed()
		big.ErrorMessage = strings.Repeat("x", 200<<10)
		for n := range 60 { // 12 MB: more than compactAbove
			run(t, j, fmt.Sprintf("i%d", n), big)
		}
		if size := j.log.Size(); size > 2*compactAbove {
			t.Errorf("the log has %d bytes though nearly nothing in it is needed", size)
		}
		for range 3 { // each opening lives on where the one before ended
			if !j.Seen("i0", 1) {
				t.Error("forgotten within the retention")
			}
			time.Sleep(25 * time.Minute)
			must(t, j.Accept(instruction(time.Now().Format("150405"), 1)))
			must(t, j.Close())
			j = open(t, dir, hour)
		}
		if j.Seen("i0", 1) {
			t.Error("remembered beyond the retention")
		}
		if got := summary(j)["open/1"]; got != `interrupted{"started":false}` {
			t.Errorf("what waits is %q", got)
		}
	})
}

// A clock that is wrong while the agent starts, and is put right later, makes it forget nothing (G7).
func TestAClockThatJumps(t *testing.T) {
	for _, years := range []int{10, -10, -56} {
		t.Run(fmt.Sprint(years), func(t *testing.T) {
			dir, now := t.TempDir(), time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
			clock := Options{Now: func() time.Time { return now }}
			j := open(t, dir, clock)
			run(t, j, "before", completed())
			must(t, j.Close())
			now = now.AddDate(years, 0, 0)
			j = open(t, dir, clock)
			run(t, j, "meanwhile", completed())
			must(t, j.Close())
			now = now.AddDate(-years, 0, 0).Add(time.Minute)
			j = open(t, dir, clock)
			for _, id := range []api.InstructionID{"before", "meanwhile"} {
				if !j.Seen(id, 1) {
					t.Errorf("%s is forgotten and may run again", id)
				}
			}
		})
	}
}

// What a step says is durable also where the log could not be written anew for want of room
// (G6): who were told that it failed would take the step again, which cannot be.
func TestAStepStandsWhereNothingCanBeTidied(t *testing.T) {
	dir, now := filepath.Join(t.TempDir(), "journal"), time.Unix(1e9, 0)
	j := open(t, dir, Options{Now: func() time.Time { return now }})
	j.live = 2 * compactAbove // not yet
	big := completed()
	big.ErrorMessage = strings.Repeat("x", compactAbove/4)
	for n := range 5 {
		id := api.InstructionID(fmt.Sprintf("i%d", n))
		must(t, j.Accept(instruction(string(id), 1)))
		must(t, j.Starting(id, 1))
		must(t, j.Ended(id, 1, big))
		must(t, j.Reported(id, 1))
	}
	j.live = 0
	must(t, os.Rename(dir, dir+".away")) // the open segment takes records, and no new one can be made
	must(t, j.Accept(instruction("meanwhile", 1)))
	must(t, j.Starting("meanwhile", 1))
	if j.log.Size() < compactAbove || j.tidyFrom.IsZero() {
		t.Fatalf("%d bytes are nothing to tidy", j.log.Size())
	}
	must(t, os.Rename(dir+".away", dir))
	now = now.Add(tidyAgain)
	must(t, j.Accept(instruction("later", 1)))
	if size := j.log.Size(); size > compactAbove {
		t.Errorf("the log has %d bytes when there is room again", size)
	}
}

func TestDamageIsSaidAndTheRestKept(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	must(t, j.append([]Entry{{Key: Key{"../x", 1}, Phase: Ended}, {Key: Key{"cut", 1}, Phase: Ended}}))
	must(t, j.Accept(instruction("good", 1)))
	_, err := j.log.Append([]byte("no JSON"))
	must(t, err)
	must(t, j.Close())
	j, damage, err := Open(dir, Options{})
	must(t, err)
	defer j.Close()
	if !strings.Contains(damage, "3 records") {
		t.Errorf("damage %q, want 3 records", damage)
	}
	want := map[string]string{"cut/1": `interrupted{"started":true}`, "good/1": `interrupted{"started":true}`}
	if diff := cmp.Diff(want, summary(j)); diff != "" {
		t.Errorf("to be reported (-want +got):\n%s", diff)
	}
}

const envCrash = "EXECUTION_TEST_CRASH"

// TestMain is also the process that dies: it takes attempts through their lives and
// says each step that the journal has confirmed.
func TestMain(m *testing.M) {
	dir := os.Getenv(envCrash)
	if dir == "" {
		os.Exit(m.Run())
	}
	j, _, err := Open(dir, Options{})
	if err != nil {
		panic(err)
	}
	for n := 0; ; n++ {
		id := api.InstructionID(fmt.Sprintf("i%d-%d", os.Getpid(), n))
		for _, step := range []func() error{
			func() error { return j.Accept(instruction(string(id), 1)) },
			func() error { return j.Starting(id, 1) },
			func() error { return j.Ended(id, 1, completed()) },
		} {
			if err := step(); err != nil {
				panic(err)
			}
			fmt.Println(id, j.entries[Key{id, 1}].Phase)
		}
	}
}

// Killed at any moment, the journal knows at least what it had confirmed.
func TestKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	confirmed := map[api.InstructionID]Phase{}
	for round := range 8 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), envCrash+"="+dir)
		out, err := child.StdoutPipe()
		must(t, err)
		must(t, child.Start())
		lines := bufio.NewScanner(out)
		for n := 0; n < 10+7*round && lines.Scan(); n++ {
			var id, phase string
			if _, err := fmt.Sscan(lines.Text(), &id, &phase); err != nil {
				t.Fatalf("child said %q", lines.Text())
			}
			confirmed[api.InstructionID(id)] = Phase(phase)
		}
		must(t, child.Process.Kill())
		for lines.Scan() { // what it said before it died counts too
			var id, phase string
			if _, err := fmt.Sscan(lines.Text(), &id, &phase); err == nil {
				confirmed[api.InstructionID(id)] = Phase(phase)
			}
		}
		must(t, lines.Err())
		child.Wait()
	}
	j := open(t, dir, Options{})
	results := map[api.InstructionID]*api.Result{}
	for _, e := range j.Unreported() {
		results[e.ID] = e.Result
	}
	for id, phase := range confirmed {
		r := results[id]
		switch {
		case r == nil:
			t.Errorf("%s was confirmed as %s and is not known", id, phase)
		case phase == Ended && r.Status != api.Completed:
			t.Errorf("%s had ended and is now %s", id, r.Status)
		case phase == Started && string(r.ErrorDetails) == `{"started":false}`:
			t.Errorf("%s had started and is said not to have", id)
		}
	}
	if len(confirmed) < 8 {
		t.Fatalf("only %d attempts: the test proves nothing", len(confirmed))
	}
}

// What may have run and was reported is offered under another lease: that it may have run has to
// be told under that one, also by the next process, or it would be offered until it expires.
func TestAnAttemptThatMayHaveRunIsToldAgain(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	again := instruction("a", 1)
	again.Lease = "another"
	must(t, j.Again(again)) // nothing is known of it
	must(t, j.Accept(instruction("a", 1)))
	must(t, j.Again(again)) // it has not run
	must(t, j.Starting("a", 1))
	must(t, j.Again(again)) // it runs
	must(t, j.Ended("a", 1, completed()))
	must(t, j.Again(again)) // it waits
	if diff := cmp.Diff(map[string]string{"a/1": "completed"}, summary(j)); diff != "" {
		t.Errorf("before it was reported (-want +got):\n%s", diff)
	}
	must(t, j.Reported("a", 1))
	must(t, j.Again(again))
	must(t, j.Close())

	j, damage, err := Open(dir, Options{})
	must(t, err)
	t.Cleanup(func() { j.Close() })
	if diff := cmp.Diff(map[string]string{"a/1": `interrupted{"started":true}`}, summary(j)); diff != "" || damage != "" {
		t.Errorf("to be reported (-want +got):\n%s%s", diff, damage)
	}
	if waits := j.Unreported(); len(waits) == 1 && waits[0].Result.Lease != "another" {
		t.Errorf("told under lease %q", waits[0].Result.Lease)
	}
	must(t, j.Reported("a", 1))
	if n := j.Account().Unaccounted(); n != 0 || !j.Seen("a", 1) {
		t.Errorf("unaccounted %d, seen %v; want 0, true", n, j.Seen("a", 1))
	}
}

// Whatever comes in whatever order: the phase only grows, but where it is offered again, and a
// started attempt is never called not started.
func TestMachine(t *testing.T) {
	order := map[Phase]int{"": 0, Accepted: 1, Started: 2, Ended: 3, Reported: 4}
	rapid.Check(t, func(t *rapid.T) {
		var e Entry
		ran := false
		inputs := []Input{Accept{instruction("a", 1)}, Start{}, End{completed()}, Report{}, Restart{}, Again{instruction("a", 1)}}
		for _, n := range rapid.SliceOf(rapid.IntRange(0, len(inputs)-1)).Draw(t, "inputs") {
			next, err := Step(e, inputs[n], time.Unix(1, 0))
			if err != nil {
				if diff := cmp.Diff(e, next); diff != "" {
					t.Fatalf("an input that was refused changed the entry:\n%s", diff)
				}
				continue
			}
			_, again := inputs[n].(Again)
			if order[next.Phase] < order[e.Phase] && (next.Phase != Accepted || ran) && (!again || !ran) {
				t.Fatalf("%s became %s", e.Phase, next.Phase)
			}
			ran = ran || next.Phase == Started
			if next.Phase == Ended && ran && string(next.Result.ErrorDetails) == `{"started":false}` {
				t.Fatal("a started attempt is said not to have started")
			}
			e = next
		}
	})
}

// BenchmarkUnreported is what looking for results costs an agent that remembers as many attempts as it may.
func BenchmarkUnreported(b *testing.B) {
	j := &Journal{entries: map[Key]Entry{}, waiting: map[Key]struct{}{}}
	for n := range maxRemembered {
		key := Key{api.InstructionID(fmt.Sprint(n)), 1}
		j.put(key, Entry{Key: key, Phase: Reported})
	}
	j.put(Key{"waits", 1}, Entry{Key: Key{"waits", 1}, Phase: Ended})
	for b.Loop() {
		if n := len(j.Unreported()); n != 1 {
			b.Fatalf("%d results wait", n)
		}
	}
}

func FuzzReplay(f *testing.F) {
	good, err := json.Marshal([]Entry{{Key: Key{"a", 1}, Phase: Accepted, Instruction: new(api.Instruction)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`[{"id":"a","phase":"ended"}]`))
	f.Fuzz(func(t *testing.T, record []byte) {
		j := &Journal{entries: map[Key]Entry{}, waiting: map[Key]struct{}{}}
		j.replay(record)
		for key, e := range j.entries {
			if e.Phase != Reported && e.Instruction == nil || key.ID.Validate() != nil {
				t.Errorf("took %+v", e)
			}
			if _, waits := j.waiting[key]; waits != (e.Phase == Ended) {
				t.Errorf("%+v waits to be reported: %t", e, waits)
			}
		}
	})
}

// What the wire takes is read back from the journal, however deep it is: else a result that is on
// disk is told as interrupted, and so is what has never started.
func TestADeepResultSurvivesARestart(t *testing.T) {
	r := completed()
	r.Result = json.RawMessage(strings.Repeat("[", limits.MaxDepth) + strings.Repeat("]", limits.MaxDepth))
	dir := t.TempDir()
	j := open(t, dir, Options{})
	must(t, j.Accept(instruction("deep", 1)))
	must(t, j.Starting("deep", 1))
	must(t, j.Accept(instruction("other", 1)))
	must(t, j.Ended("deep", 1, r))
	must(t, j.Close())
	want := map[string]string{"deep/1": "completed", "other/1": `interrupted{"started":false}`}
	if diff := cmp.Diff(want, summary(open(t, dir, Options{}))); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
}
