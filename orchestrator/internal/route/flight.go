package route

import (
	"errors"
	"math"
	"sync"
	"time"

	"github.com/stavily/agents/orchestrator/internal/brake"
	"github.com/stavily/agents/shared/pkg/api"
)

// flight counts requests in flight by row and caller. It holds an entry only while
// a request runs, so it is as large as the number of connections at most.
type flight struct {
	mu    sync.Mutex // guards count
	count map[flightKey]int
}

type flightKey struct {
	row    ID
	caller string
}

func newFlight() *flight { return &flight{count: map[flightKey]int{}} }

// enter takes a place and returns the function that gives it back.
func (f *flight) enter(row Row, caller string) (leave func(), err error) {
	key := flightKey{row.ID, caller}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count[key] >= row.InFlight {
		busy := api.Errorf(api.CodeRateLimited, "More than %d requests of this caller to this route run at the same time; wait for an answer before the next.", row.InFlight)
		busy.RetryAfter = time.Second
		return nil, busy
	}
	f.count[key]++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.count[key]--; f.count[key] == 0 {
			delete(f.count, key)
		}
	}, nil
}

// pace is how often each caller may call each row of a listener.
type pace struct {
	requests map[ID]*brake.Brake // of rows with a Rate
	guesses  *brake.Brake        // refusals of the rows that are called with a token
}

// Refusals of tokens that are not held up, and how fast more may come, for each address. One
// may be a whole site behind one gateway, whose good tokens do not count.
const (
	guessBurst     = 20
	guessPerSecond = 1
)

func newPace(l Listener) *pace {
	p := &pace{requests: map[ID]*brake.Brake{}, guesses: brake.New(guessPerSecond, guessBurst)}
	for _, row := range table {
		if row.Rate > 0 && row.servedOn(l) {
			p.requests[row.ID] = brake.New(row.Rate, row.Burst)
		}
	}
	return p
}

// enter counts a request of a caller, or says that it comes too soon.
func (p *pace) enter(row Row, caller string, now time.Time) error {
	if row.Allows(EnrolmentToken) {
		return tooSoon(p.guesses.Look(caller, now), "Too many tokens of this address were refused; come again later with one from `stavily tokens create`.")
	}
	if b := p.requests[row.ID]; b != nil {
		return tooSoon(b.Take(caller, now), "More than %g requests a second of this caller to this route for long; wait before the next.", row.Rate)
	}
	return nil
}

// left counts a request that was refused, where somebody may be guessing.
func (p *pace) left(row Row, caller string, now time.Time, err error) {
	var refusal *api.Error
	if row.Allows(EnrolmentToken) && errors.As(err, &refusal) && refusal.Status() < 500 {
		p.guesses.Charge(caller, now)
	}
}

func tooSoon(wait time.Duration, message string, values ...any) error {
	if wait == 0 {
		return nil
	}
	refusal := api.Errorf(api.CodeRateLimited, message, values...)
	refusal.RetryAfter = time.Duration(math.Ceil(wait.Seconds())) * time.Second
	return refusal
}
