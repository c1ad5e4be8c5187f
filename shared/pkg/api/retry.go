package api

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// Retryable reports whether the same request may succeed later without a change to
// it: an answer of 408, 425, 429 or 5xx, or no answer of the Agent API at all. It is
// false for every other 4xx, whoever gave it, and when the caller's own context ended.
func Retryable(err error) bool {
	var answer *Error
	if errors.As(err, &answer) {
		return answer.Retryable()
	}
	var u *UnreachableError
	if !errors.As(err, &u) {
		return false
	}
	return u.HTTPStatus < 400 || retryableStatus(u.HTTPStatus)
}

// TooLargeBetween reports whether something on the way to the orchestrator, and not the
// orchestrator, took no body of that size. A smaller one may pass, and the same one once
// the limit of what is in between is raised.
func TooLargeBetween(err error) bool {
	var answer *Error
	if errors.As(err, &answer) { // a gateway's document may look like ours
		return answer.Status() == http.StatusRequestEntityTooLarge && answer.Code != CodeTooLarge
	}
	var u *UnreachableError
	return errors.As(err, &u) && u.HTTPStatus == http.StatusRequestEntityTooLarge
}

// RetryAfter is how long the other side asked to wait before the next try, at most
// an hour; 0 when it did not ask.
func RetryAfter(err error) time.Duration {
	var answer *Error
	if errors.As(err, &answer) {
		return answer.RetryAfter
	}
	var u *UnreachableError
	if errors.As(err, &u) {
		return u.RetryAfter
	}
	return 0
}

// maxRetryAfter bounds Retry-After: a server that is wrong about it for a moment
// must not silence its agents for a day.
const maxRetryAfter = time.Hour

// parseRetryAfter reads the field of RFC 9110, section 10.2.3: seconds or a date. A
// date is taken relative to the answer's own Date, so that clocks need not agree.
func parseRetryAfter(h http.Header, now time.Time) time.Duration {
	field := h.Get("Retry-After")
	if field == "" {
		return 0
	}
	seconds, err := strconv.ParseUint(field, 10, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(field)
	if err != nil {
		return 0
	}
	if sent, err := http.ParseTime(h.Get("Date")); err == nil {
		now = sent
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

// Defaults of Backoff, as the configuration has them.
const (
	DefaultBackoffInitial = time.Second
	DefaultBackoffMax     = time.Minute
)

// Pace is from when on Retry-After is a pace and not a plea for a moment: the server lives,
// and knows when to come back better than pauses that double do. Those stay for a server
// that asks for a second because it has too much to do.
const Pace = 2 * time.Second

// Backoff gives the pauses between tries: random between nothing and a ceiling that
// doubles from Initial to Max ("full jitter"), so that a fleet that lost its server
// together does not come back together. The zero value is ready. It is not safe for
// concurrent use: each loop has its own.
type Backoff struct {
	Initial time.Duration                        // 0: DefaultBackoffInitial
	Max     time.Duration                        // 0: DefaultBackoffMax
	Bounds  func() (initial, most time.Duration) // what they are now, where that changes; nil: it does not
	Rand    func(n int64) int64                  // uniform in [0, n); nil: math/rand/v2
	ceiling time.Duration                        // of the next pause; 0 at the beginning
}

// Next returns the next pause. When the other side asked for one, see RetryAfter,
// it is at least that long, and the random part comes on top, of a Pace at most
// as long again.
func (b *Backoff) Next(retryAfter time.Duration) time.Duration {
	if b.Bounds != nil {
		b.Initial, b.Max = b.Bounds()
	}
	most := b.Max
	if most <= 0 {
		most = DefaultBackoffMax
	}
	if b.ceiling <= 0 {
		b.ceiling = b.Initial
	}
	if b.ceiling <= 0 {
		b.ceiling = DefaultBackoffInitial
	}
	ceiling := min(b.ceiling, most)
	b.ceiling = min(ceiling, most/2) * 2
	random := rand.Int64N
	if b.Rand != nil {
		random = b.Rand
	}
	if retryAfter >= Pace {
		ceiling = min(ceiling, retryAfter)
	}
	return max(retryAfter, 0) + time.Duration(random(int64(ceiling)))
}

// Reset starts over at Initial, after a success.
func (b *Backoff) Reset() { b.ceiling = 0 }
