package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/stavily/agents/internal/limits"
)

// history is all that was seen of a run of the bench, from outside: what the plugins
// wrote down, what the driver did, and what operators were told.
type history struct {
	Began, Ended time.Time // of the load
	Target       load      // that the harness must have reached
	Accepted     []accepted
	Effects      []effect
	Faults       []fault
	Recorded     []recorded // events, in the order of their cursors
	Gaps         []string
	Runs         []run
	Seen         map[string]string   // the first final status that operators were told, by run
	Audited      map[string][]moment // when the agent's audit log had the start, by instruction
	AuditFaults  []string            // what its verification found
	Broken       []string            // what fsck found, and when
	Unsettled    []string            // what had not come to its end when the harness gave up
	Foreign      []recorded          // events of the other organisation
	ForeignRuns  []run
	ForeignSaid  []accepted     // by its sensor
	Samples      []sample       // of a soak
	Hits         map[string]int // of scenario faulty: how often a call of the store failed, by point
	Limit        time.Duration  // of a recovery, in a class of weather
}

// load is how much of what happens in a second.
type load struct{ Events, Instructions float64 }

// moment is nanoseconds since 1970, all by this machine's clock.
type moment int64

func (m moment) time() time.Time { return time.Unix(0, int64(m)) }

// accepted is an event that a plugin was told is accepted.
type accepted struct {
	Event  string
	Number int
	At     moment
}

// What an action writes down.
const (
	begin = "begin"
	end   = "end"
)

// effect is what an action did.
type effect struct {
	What, Instruction, Execution, Event string
	At                                  moment
}

// fault is something that was done to a process or to the network. Of a class of weather it lasts
// until the agent delivered again, for Recovery after the weather was clear.
type fault struct {
	What, Whom string
	From, To   moment
	Recovery   time.Duration
}

// ends reports whether the fault ends what the process was doing.
func (f fault) ends() bool {
	return f.What == faultKill || f.What == faultStop || f.What == faultPoint || f.What == faultFull
}

// recorded is an event as operators see it.
type recorded struct {
	ID     string `json:"id"`
	Type   string `json:"type"`
	Cursor int64  `json:"cursor"`
	Agent  string `json:"agent"`
	Data   struct {
		N int `json:"n"`
	} `json:"data"`
}

// run is a run as operators see it.
type run struct {
	ID       string    `json:"id"`
	Workflow string    `json:"workflow"`
	Status   string    `json:"status"`
	EventID  string    `json:"event_id"`
	Created  time.Time `json:"created_at"`
	Steps    []step    `json:"steps"`
	History  []happens `json:"history"`
}

type step struct {
	Step        string    `json:"step"`
	Instruction string    `json:"instruction"`
	Status      string    `json:"status"`
	Attempt     int       `json:"attempt"`
	Agent       string    `json:"agent"`
	Message     string    `json:"message"`
	CreatedAt   time.Time `json:"created_at"`
	StartedAt   time.Time `json:"started_at"`
	FinishedAt  time.Time `json:"finished_at"`
	Result      *result   `json:"result"`
}

type result struct {
	Status string          `json:"status"`
	Result json.RawMessage `json:"result"`
}

// execution is the one that a step's result tells of.
func (s step) execution() string {
	if s.Result == nil {
		return ""
	}
	var told struct {
		Execution string `json:"execution"`
	}
	_ = limits.UnmarshalJSON(s.Result.Result, &told) // a step that failed has no result
	return told.Execution
}

type happens struct {
	Seq     int    `json:"seq"`
	Kind    string `json:"kind"`
	Step    string `json:"step"`
	Message string `json:"message"`
}

// readAccepted reads what the sensor plugin wrote down. A last line without its end was
// cut off by a kill before anybody could rely on it.
func readAccepted(path string) ([]accepted, error) {
	var all []accepted
	err := eachLine(path, func(line string) error {
		var a accepted
		_, err := fmt.Sscan(line, &a.Event, &a.Number, &a.At)
		all = append(all, a)
		return err
	})
	return all, err
}

// readEffects reads the ledger of the action plugin.
func readEffects(path string) ([]effect, error) {
	var all []effect
	err := eachLine(path, func(line string) error {
		var e effect
		_, err := fmt.Sscan(line, &e.What, &e.Instruction, &e.Execution, &e.Event, &e.At)
		all = append(all, e)
		return err
	})
	return all, err
}

// maxLine is more than any line of a plugin of the bench has.
const maxLine = 1 << 10

func eachLine(path string, each func(string) error) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	lines := limits.NewLineReader(file, maxLine)
	for n := 1; ; n++ {
		line, cut, err := lines.Next()
		if err != nil || cut {
			return nil
		}
		if err := each(string(line)); err != nil {
			return fmt.Errorf("%s:%d: %q: %w", path, n, line, err)
		}
	}
}
