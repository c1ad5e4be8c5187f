package server

import (
	"log/slog"
	"sync"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store/sqlstore"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// slowEvery is how often a slow statement is written down at most: on a slow disk all are, and
// a log of them would make it slower.
const slowEvery = time.Second

// slowQueries tells of statements of the database that took long: all of them in a metric, and
// in the log as many as it bears.
type slowQueries struct {
	log   *slog.Logger
	count *telemetry.CounterVec

	mu      sync.Mutex // guards the fields below
	next    time.Time  // before it nothing is written down
	omitted int        // since what was written down last
}

func watchQueries(o Options, r *telemetry.Registry) sqlstore.Watch {
	q := &slowQueries{log: o.Logger, count: r.CounterVec("slow_statements_total", "Statements of the database that took longer than --slow-query, by what they do to which table; begin and commit are those of transactions.", "statement")}
	return sqlstore.Watch{Over: o.SlowQuery, Tell: q.tell}
}

func (q *slowQueries) tell(s sqlstore.Slow) {
	q.count.WithLabelValues(s.Name).Inc()
	omitted, due := q.due(time.Now())
	if due {
		q.log.Warn("slow query", "statement", s.Name, "ms", s.Took.Milliseconds(), "rows", s.Rows, "text", s.Text, "omitted", omitted)
	}
}

// due reports whether one is written down now, and how many were not since the last.
func (q *slowQueries) due(now time.Time) (omitted int, due bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now.Before(q.next) {
		q.omitted++
		return 0, false
	}
	omitted, q.omitted, q.next = q.omitted, 0, now.Add(slowEvery)
	return omitted, true
}
