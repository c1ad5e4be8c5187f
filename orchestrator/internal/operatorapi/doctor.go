package operatorapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/internal/diskspace"
	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// What a check came to.
const (
	CheckOK      = "ok"
	CheckWarning = "warning" // it works, and will not for ever
	CheckFailed  = "failed"
)

// Bounds of the checks.
const (
	caEnds     = 180 * 24 * time.Hour // replacing a CA means visiting every agent
	slowLook   = time.Second          // at one record, which takes below a millisecond
	largeLog   = 1 << 30              // bytes of SQLite's write-ahead log, which is cut at some MiB
	maxNamed   = 3                    // things that one message names
	maxRunsFor = 20                   // newest runs whose steps are looked at
)

// doctor holds the server and what it knows of its agents against what they should be.
func (o operators) doctor(ctx context.Context, c *route.Call) (any, error) {
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	checks := []Check{checkCA(o.server.CA.NotAfter(), now), o.checkDisk()}
	begin := time.Now()
	err = o.engine.View(ctx, id, func(r store.Reader) error {
		clock, err := checkClock(r, now)
		if err != nil {
			return err
		}
		checks = append(checks, clock, checkDatabase(o.server.DataDir, time.Since(begin)))
		agents, err := r.Agents()
		if err != nil {
			return err
		}
		checks = append(checks, checkAgents(agents), checkAgentCertificates(agents, now, o.server.CA.Lifetime()), checkHealth(agents))
		steps, err := checkSteps(r)
		checks = append(checks, steps)
		return err
	})
	return checks, err
}

func ok(name, message string) Check { return Check{Name: name, Status: CheckOK, Message: message} }

func checkCA(end, now time.Time) Check {
	c := ok("certificate authority", "good until "+end.Format(time.DateOnly))
	if left := end.Sub(now); left < caEnds {
		c.Status, c.Message = CheckWarning, fmt.Sprintf("ends on %s, in %d days", end.Format(time.DateOnly), int(left.Hours()/24))
		c.Remedy = "Replace it step by step while agents work: `stavily ca rotate`."
	}
	return c
}

// checkDisk looks at the space that the data has left to grow.
func (o operators) checkDisk() Check {
	if c, full := o.engine.Full(); full {
		return Check{"disk", CheckFailed, c.Message, c.Remedy}
	}
	free, total, err := diskspace.Of(o.server.DataDir)
	if err != nil {
		return Check{"disk", CheckWarning, fmt.Sprintf("the space of the data directory cannot be found out: %v", err), "Look at it by hand."}
	}
	return judgeDisk(free, total)
}

func judgeDisk(free, total int64) Check {
	const failing, low = 256 << 20, 2 << 30
	c := ok("disk", fmt.Sprintf("the data directory has %s of %s free", size(free), size(total)))
	switch {
	case free < failing:
		c.Status, c.Remedy = CheckFailed, "Free space on that file system now: without any, nothing more is stored and agents keep their events."
	case free < low || free < total/20:
		c.Status, c.Remedy = CheckWarning, "Free space on that file system, or give it more."
	}
	return c
}

func size(n int64) string {
	const unit = 1 << 10
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	value := float64(n)
	for len(units) > 1 && value >= unit {
		value, units = value/unit, units[1:]
	}
	return fmt.Sprintf("%.1f %s", value, units[0])
}

// checkClock finds a clock that was set back: what was stored last is from the future.
func checkClock(r store.Reader, now time.Time) (Check, error) {
	c := ok("clock", "later than everything that is stored")
	newest := time.Time{}
	records, err := r.AuditBefore(0, 1)
	for _, a := range records {
		newest = a.At
	}
	if err != nil {
		return c, err
	}
	events, err := r.Events(store.EventQuery{Newest: true, Limit: 1})
	for _, e := range events {
		if e.ReceivedAt.After(newest) {
			newest = e.ReceivedAt
		}
	}
	if ahead := newest.Sub(now); ahead > time.Second {
		c.Status, c.Message = CheckFailed, fmt.Sprintf("what was stored last is from %s, %s ahead of the server's clock", newest.UTC().Format(time.RFC3339), ahead.Round(time.Second))
		c.Remedy = "Set the clock of the server's host, best by NTP: schedules, cooldowns and certificates go by it."
	}
	return c, err
}

// checkDatabase judges how long a look took, and what SQLite keeps beside its file.
func checkDatabase(dir string, took time.Duration) Check {
	c := ok("database", "answers in "+took.Round(10*time.Microsecond).String())
	if total, log := fileSize(filepath.Join(dir, "stavily.db")), fileSize(filepath.Join(dir, "stavily.db-wal")); total > 0 {
		c.Message += ", " + size(total) + " large"
		if log > largeLog {
			c.Status, c.Remedy = CheckWarning, "Restart the server: its write-ahead log has "+size(log)+", which something that reads for ever keeps from being cut."
		}
	}
	if took > slowLook {
		c.Status, c.Remedy = CheckWarning, "Look for what else uses the disk of the data directory, and whether it is a network file system."
	}
	return c
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err != nil {
		return 0
	}
	return info.Size()
}

// named tells of some things, and how many more there are.
func named(things []string) string {
	if more := len(things) - maxNamed; more > 0 {
		return strings.Join(things[:maxNamed], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(things, ", ")
}

func checkAgents(agents []store.Agent) Check {
	var lost, waiting []string
	live := 0
	for _, a := range agents {
		switch engine.StatusOf(a, time.Now()) {
		case engine.StatusLost:
			lost = append(lost, fmt.Sprintf("%s since %s", a.ID, a.LastSeen.UTC().Format(time.RFC3339)))
		case engine.StatusQuarantined:
			waiting = append(waiting, fmt.Sprintf("%s since %s", a.ID, a.QuarantinedAt.UTC().Format(time.RFC3339)))
		case "online", "draining":
			live++
		}
	}
	c := ok("agents", fmt.Sprintf("%d are here, none is lost", live))
	switch {
	case len(waiting) > 0:
		c.Status, c.Message = CheckWarning, "in quarantine: "+named(waiting)
		c.Remedy = "Each renewed a certificate that had ended. See on its host that it was the agent, then `stavily agents approve ID`; else `stavily agents revoke ID`."
	case len(agents) == 0:
		c.Status, c.Message, c.Remedy = CheckWarning, "none is enrolled", "Make a token with `stavily tokens create --type sensor`; it prints the command for the agent's host."
	case len(lost) > 0:
		c.Status, c.Message = CheckWarning, fmt.Sprintf("lost: %s", named(lost))
		c.Remedy = "See on their hosts whether they run (`systemctl status sensor-agent action-agent`) and what their logs say; revoke those that are gone for good."
	}
	return c
}

// checkAgentCertificates finds agents that should have renewed their certificate: they do
// when a third of its life is left.
func checkAgentCertificates(agents []store.Agent, now time.Time, life time.Duration) Check {
	var late []string
	for _, a := range agents {
		if a.State == store.Active && a.NotAfter.Sub(now) < life/6 {
			late = append(late, fmt.Sprintf("%s until %s", a.ID, a.NotAfter.UTC().Format(time.DateOnly)))
		}
	}
	c := ok("agents' certificates", "renewed in time")
	if len(late) > 0 {
		c.Status, c.Message = CheckWarning, "not renewed in time: "+named(late)
		c.Remedy = "An agent that runs renews by itself: see why it does not in its log. One whose certificate has ended enrols again with a token for its id."
	}
	return c
}

// checkHealth repeats what agents say of themselves.
func checkHealth(agents []store.Agent) Check {
	var ill []string
	for _, a := range agents {
		if a.Health == nil || a.State != store.Active || engine.StatusOf(a, time.Now()) == engine.StatusLost {
			continue
		}
		for _, condition := range a.Health.Conditions {
			ill = append(ill, fmt.Sprintf("%s: %s: %s", a.ID, condition.Name, condition.Message))
		}
	}
	c := ok("agents' health", "no agent complains")
	if len(ill) > 0 {
		c.Status, c.Message, c.Remedy = CheckWarning, named(ill), "`stavily agents show ID` has what each says to do."
	}
	return c
}

// checkSteps finds steps that no agent can take, in the newest runs.
func checkSteps(r store.Reader) (Check, error) {
	c := ok("steps", "none waits for an agent that there is not")
	runs, err := r.Runs(store.RunQuery{Status: "running", Limit: maxRunsFor})
	if err != nil {
		return c, err
	}
	var stuck []string
	for _, run := range runs {
		instructions, err := r.RunInstructions(run.ID)
		if err != nil {
			return c, err
		}
		for _, i := range instructions {
			if i.Status != api.Pending || len(stuck) > maxNamed {
				continue
			}
			why, err := engine.WhyNobody(r, i.Plugin, i.Target)
			if err != nil {
				return c, err
			}
			if why != "" {
				stuck = append(stuck, fmt.Sprintf("run %s, %s: %s", run.ID, i.Step, why))
			}
		}
	}
	if len(stuck) > 0 {
		slices.Sort(stuck)
		c.Status, c.Message = CheckWarning, named(stuck)
		c.Remedy = "Start or enrol an agent that can, give it the plugin, or cancel the run; `stavily runs show ID` has the whole story."
	}
	return c, nil
}
